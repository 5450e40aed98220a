"""The table at the end of a run, and the one console that writes to stdout."""

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saeuniv.report.layer_pairs import LayerPair, equal_depth, row_at, shown
from saeuniv.report.meaning import HEADLINE, TRAINED, training
from saeuniv.report.numbers import number, p_value
from saeuniv.results import NOT_COMPUTED, Results, Row

# Where there is no terminal (a pipe, a job's log) a line has this many columns.
_PIPED_WIDTH = 120
# What the counterparts are, where they are not simply what a model of that configuration begins with.
_CONTROLS = {
    "step0": "the models' own revision step0",
    "rerandomized": "the trained weights drawn anew by module type, embeddings kept",
    "rerandomized_all": "the trained weights drawn anew by module type, embeddings too",
}
NAMES = {
    "partial_correlation": "given token",
    "partial_correlation_bigram": "given bigram",
    "partial_correlation_trigram": "given trigram",
    "raw_correlation": "raw correlation",
}


@cache
def console() -> Console:
    """The one console of the program; logs go to stderr, results here."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def primary_metric(results: Results) -> str:
    """The metric claims are made with: the summary's `primary_metric`, else the headline, else the first."""
    named = (results.summary.get("primary_metric"), HEADLINE)
    return next(
        (name for name in named if isinstance(name, str) and name in results.metrics), results.metrics[0]
    )


def summary_table(results: Results, control: Results | None) -> Table:
    """Layer by layer: the primary metric and its stricter and cruder relatives, FVU and counts.

    `control` holds the untrained counterparts. Layers are the layer pairs of equal number, else the best
    layer of B for each layer of A.
    """
    row = results.rows[0]
    table = Table(
        title=f"{row.model_a} (A) and {row.model_b} (B)",
        caption=escape("\n".join(caption(results, control))),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for place, header in enumerate(summary_header(results)):
        justify = "left" if place == 0 or "[" in header else "right"
        table.add_column(escape(header), justify=justify, no_wrap=True)
    for section in summary_rows(results, control):
        for cells in section:
            table.add_row(*(escape(cell) for cell in cells))
        table.add_section()
    return table


def summary_header(results: Results) -> tuple[str, ...]:
    """The columns of the table."""
    own = "trained" if training(results) == TRAINED else "value"
    return "", "layer", f"{own} [interval]", "untrained [interval]", "null mean", "p"


def summary_rows(results: Results, control: Results | None) -> list[list[tuple[str, ...]]]:
    """The cells of the table, a section a quantity; its name stands at the first of its layers."""
    primary = primary_metric(results)
    pairs = shown(results, primary)
    sections: list[list[tuple[str, ...]]] = []
    for metric in dict.fromkeys((primary, *NAMES)):
        if metric in results.metrics:
            name = NAMES.get(metric, metric)
            sections.append([_cells(results, control, metric, pair, name) for pair in pairs])
    for name, text in _SIDES:
        quality = [
            (text(row_at(results, primary, pair)), text(row_at(control, primary, pair))) for pair in pairs
        ]
        sections.append(
            [(name, str(pair), *texts, "", "") for pair, texts in zip(pairs, quality, strict=True)]
        )
    return [[*section[:1], *(("", *cells[1:]) for cells in section[1:])] for section in sections]


def _cells(
    results: Results, control: Results | None, metric: str, pair: LayerPair, name: str
) -> tuple[str, ...]:
    row = row_at(results, metric, pair)
    return (
        name,
        str(pair),
        _value(row),
        _value(row_at(control, metric, pair)),
        "-" if row is None or row.null_mean is None else number(row.null_mean, 3),
        "-" if row is None or row.p_value is None else p_value(row.p_value),
    )


def _value(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.value is None:
        return f"- ({row.value_reason.replace('_', ' ')})"
    if row.ci_low is None or row.ci_high is None:
        return number(row.value, 3)
    return f"{number(row.value, 3)} [{number(row.ci_low, 3)}, {number(row.ci_high, 3)}]"


def _fvu(row: Row | None) -> str:
    return "-" if row is None else _beside(row.fvu_a, row.fvu_b)


def _context(row: Row | None) -> str:
    return "-" if row is None else _beside(row.context_share_a, row.context_share_b)


def _mass(row: Row | None) -> str:
    return "-" if row is None else _beside(row.eligible_mass_a, row.eligible_mass_b)


def _beside(a: float | None, b: float | None) -> str:
    return f"{'-' if a is None else number(a, 3)}, {'-' if b is None else number(b, 3)}"


def _counts(row: Row | None) -> str:
    if row is None:
        return "-"
    sides = ((row.n_eligible_a, row.n_alive_a, row.d_sae_a), (row.n_eligible_b, row.n_alive_b, row.d_sae_b))
    return ", ".join("-" if e is None else f"{e}/{alive}/{total}" for e, alive, total in sides)


# Rows that say what the two dictionaries are like; those of the control stand beside them.
_SIDES: tuple[tuple[str, Callable[[Row | None], str]], ...] = (
    ("FVU", _fvu),
    ("context share", _context),
    ("eligible mass", _mass),
    ("eligible/alive/all", _counts),
)


def caption(results: Results, control: Results | None) -> list[str]:
    """What the table's columns and words mean in this run, a line each."""
    primary = primary_metric(results)
    n_a, n_b = len(results.layers_a), len(results.layers_b)
    which = "of equal number" if equal_depth(results, primary) else "best for each layer of A,"
    lines = [f"Layer pairs {which} from a grid of {n_a} x {n_b}; primary metric: {primary}."]
    lines += _incomplete(results, "Incomplete")
    lines += _incomplete(control, "Incomplete control") if control else []
    row = max((row for row in results.rows if row.metric == primary), key=lambda row: row.null_draws or 0)
    if row.null and row.null_draws:
        least = p_value(1 / (1 + row.null_draws))
        draws = f"{row.null_draws} draws, smallest possible p {least}"
        lines.append(f"null: {row.null.replace('_', ' ')} of B ({draws}).")
    lines.append(
        "[interval]: bootstrap over documents, for these models and dictionaries. Two numbers: A, B."
    )
    lines += _floors(results)
    if control is None:
        lines.append("No untrained control.")
        return lines
    if kind := _CONTROLS.get(str(results.summary.get("control"))):
        lines.append(f"untrained: {kind}.")
    if any("unlike_controls" in row.flags.split(";") for row in results.rows):
        lines.append("unlike_controls: untrained dictionaries have less than half the eligible latents.")
    return lines


def _incomplete(results: Results, what: str) -> list[str]:
    """How many scores were computed, where not all were."""
    both = [row for row in results.rows if row.direction == "both"]
    missing = Counter(row.metric for row in both if row.value_reason == NOT_COMPUTED)
    if not missing:
        return []
    by_metric = ", ".join(f"{metric} {count}" for metric, count in missing.items())
    return [
        f"{what}: {len(both) - missing.total()} of {len(both)} scores computed, missing: {by_metric}. "
        f"The same command goes on."
    ]


def _floors(results: Results) -> list[str]:
    """What eligible means in this run, and what the numbers are not adjusted for."""
    floors = results.summary.get("eligibility")
    if not isinstance(floors, dict):
        return []
    return [
        f"eligible: in each half {floors['min_firings']} firings or more on tokens seen twice, on at most "
        f"{floors['max_rate']} of the rows, within-token share {floors['min_within_share']} or more.",
        "context share: variance within tokens. Not adjusted for width: more candidates, higher best match.",
    ]
