"""What each correction of the published analysis does: comparisons that differ in `compat` alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from rich import box
from rich.table import Table

from saeuniv.report.layer_pairs import shown
from saeuniv.report.meaning import HEADLINE, RAW
from saeuniv.report.numbers import number
from saeuniv.results import Results

PUBLISHED = ("published_svcca", "published_rsa", "published_mean_correlation")

_WITHOUT = {
    "pc1": "all components with 99 % of the variance",
    "first_seen": "of one partner the largest correlation",
    "unfiltered": "non-concepts left out",
    "in_sample": "scored on other documents",
    "dead_latents": "dead latents left out",
    "padding": "padding left out",
    "pre_acts": "latents after TopK",
    "hidden_state_off_by_one": "the output of the block",
}
"""What stands in the place of each fault."""


class Means(NamedTuple):
    """Means over the layer pairs that are shown."""

    trained: float
    untrained: float | None
    """None where there is no control, or it lacks a value."""

    pairs: float
    """Matches a layer pair."""


def are_corrections(comparisons: Sequence[Results]) -> bool:
    """Whether the published analysis is there, and the same without some of its faults."""
    found = _by_switches(comparisons)
    return any(all(on.values()) for on, _ in found) and len(found) > 1


def corrections_table(comparisons: Sequence[Results]) -> Table:
    """A row a comparison: all faults, all but one, none; the last rows show what the token's identity does.

    Values are means over the layer pairs of equal number, of the untrained control in brackets, and in the
    last columns how many pairs were kept.
    """
    table = Table(
        title="the published analysis, one correction at a time: trained (untrained control)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("corrected")
    for name in (*PUBLISHED, "pairs"):
        table.add_column(name.removeprefix("published_").replace("_", " "), justify="right")
    found = _by_switches(comparisons)
    for on, results in found:
        means = [_means(results, metric) for metric in PUBLISHED]
        pairs = next((f"{each.pairs:.0f}" for each in means if each), "-")
        table.add_row(_corrected(on), *map(_cell, means), pairs)
    table.add_section()
    # With everything corrected, where that is among them; else as published.
    fewest, corrected = found[-1]
    last = found[0][1] if any(fewest.values()) else corrected
    for metric, name in ((RAW, "raw, whatever the token"), (HEADLINE, "given the token")):
        means = _means(last, metric)
        if means:
            table.add_row(f"{name} ({metric})", "", "", _cell(means), "")
    return table


def corrections_line(comparisons: Sequence[Results]) -> str:
    """Which single correction moves `published_svcca` most, and how far trained and untrained are apart."""
    found = _by_switches(comparisons)
    metric = PUBLISHED[0]
    start = next((_means(results, metric) for on, results in found if all(on.values())), None)
    if start is None:
        return f"{metric} is not defined as published: nothing can be said of its corrections."
    single = [
        (means.trained - start.trained, _corrected(on))
        for on, results in found
        if sum(not each for each in on.values()) == 1 and (means := _means(results, metric))
    ]
    sentences: list[str] = []
    if single:
        change, what = max(single, key=lambda each: abs(each[0]))
        sentences.append(
            f"Of single corrections of {metric} ({number(start.trained)}) the largest change is "
            f"{change:+.2f}: {what}."
        )
    if start.untrained is not None:
        apart = number(start.trained - start.untrained)
        sentences.append(f"As published, trained and untrained networks are {apart} apart.")
    end = next((_means(results, metric) for on, results in found if not any(on.values())), None)
    if end and end.untrained is not None:
        sentences.append(f"With everything corrected they are {number(end.trained - end.untrained)} apart.")
    return " ".join(sentences)


def _by_switches(comparisons: Sequence[Results]) -> list[tuple[Mapping[str, bool], Results]]:
    """Comparisons of the first models found, those with most faults first; controls have no place here."""
    found = [
        (cast(Mapping[str, bool], each.summary["compat"]), each)
        for each in comparisons
        if each.summary.get("compat") and each.summary.get("job_type") != "control" and each.rows
    ]
    models = {(each.rows[0].model_a, each.rows[0].model_b) for _, each in found}
    if len(models) != 1:
        return []
    return sorted(found, key=lambda each: -sum(each[0].values()))


def _corrected(on: Mapping[str, bool]) -> str:
    off = [name for name, is_on in on.items() if not is_on]
    if not off:
        return "nothing: as published"
    return "everything" if len(off) == len(on) else "; ".join(_WITHOUT.get(name, name) for name in off)


def _means(results: Results, metric: str) -> Means | None:
    """None where a value is missing: a mean over other layer pairs could not be compared."""
    rows = [results.row(metric, *pair) for pair in shown(results, metric)]
    values = [row.value for row in rows if row and row.value is not None]
    control = [row.control for row in rows if row and row.control is not None]
    if not values or len(values) < len(rows):
        return None
    untrained = sum(control) / len(control) if len(control) == len(rows) else None
    kept = [row.n_matches or 0 for row in rows if row]
    return Means(sum(values) / len(values), untrained, sum(kept) / len(kept))


def _cell(means: Means | None) -> str:
    if means is None:
        return "-"
    beside = "" if means.untrained is None else f" ({number(means.untrained)})"
    return f"{number(means.trained)}{beside}"
