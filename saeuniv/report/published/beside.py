"""Our results beside the published ones: ours, theirs, the difference, and whether it is within tolerance."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from saeuniv.numerics.statistics import published_p_value
from saeuniv.report.published.measures import (
    LEAST_AGREEMENT,
    SAME_SIDE,
    Measure,
    direction_of,
    measures_of,
)
from saeuniv.report.published.tables import Comparison, Record, published_tables
from saeuniv.results import NullRow, Results, Row

_PERMUTATION = "permutation"
_NOT_ASKED = "not_requested"
_NO_NULL = "no_null"
_SOURCES = {
    "model_a": "Model of A",
    "model_b": "Model of B",
    "sae_a": "Dictionaries of A",
    "sae_b": "Dictionaries of B",
}


class Entry(NamedTuple):
    """One published number and ours."""

    comparison: str
    measure: Measure
    layer_a: int
    layer_b: int
    metric: str
    """Whose number it is."""

    ours: float | None
    """Of p by the paper's rule, k / R."""

    theirs: float
    within: bool | None
    """None where it is not judged: no tolerance, a layer pair that was not asked for, or no p."""

    reason: str
    """Why ours is empty: a code of `saeuniv.results.REASONS`."""

    own_p: float | None = None
    """p by our rule, (1 + k) / (R + 1); of p alone."""

    @property
    def difference(self) -> float | None:
        """Ours - theirs."""
        return None if self.ours is None else self.ours - self.theirs

    @property
    def is_asked(self) -> bool:
        """Whether the results have this layer pair."""
        return self.reason != _NOT_ASKED


class Reproduction(NamedTuple):
    """Results beside one published comparison."""

    comparison: Comparison
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    """What is otherwise than published, or not to be compared."""


def reproductions(results: Results) -> tuple[Reproduction, ...]:
    """The results beside every published comparison of their models; empty where there is none.

    Controls have none, and neither have results without a metric that was published, or with other pairings.
    """
    if results.summary.get("job_type") == "control" or not results.rows:
        return ()
    first, tables = results.rows[0], published_tables()
    found = [each for each in tables.comparisons if each.is_of(first.model_a, first.model_b)]
    made = ((each, tuple(_entries(results, each))) for each in found)
    return tuple(
        Reproduction(each, entries, tuple(_notes(results, each, entries)))
        for each, entries in made
        if any(entry.is_asked for entry in entries)
    )


def first_line(found: Sequence[Reproduction]) -> str:
    """How many published values ours are within tolerance of: of all, and of each quantity.

    A value that is undefined here is not within tolerance; layer pairs that were not asked for are
    counted apart.
    """
    entries = [each for one in found for each in one.entries]
    asked = [each for each in entries if each.within is not None]
    quantities = dict.fromkeys(each.measure.quantity for each in asked)
    parts = ", ".join(
        _of_quantity([each for each in asked if each.measure.quantity == q]) for q in quantities
    )
    within = sum(each.within is True for each in asked)
    elsewhere = sum(each.measure.is_judged and not each.is_asked for each in entries)
    line = f"{within} of {len(asked)} published values are within tolerance here: {parts}."
    undefined = sum(each.ours is None for each in asked)
    if undefined:
        line += f" {undefined} of them are undefined here."
    if elsewhere:
        line += f" {elsewhere} more are of layer pairs that were not asked for."
    return line


def _of_quantity(own: Sequence[Entry]) -> str:
    measure = own[0].measure
    within = sum(each.within is True for each in own)
    if measure.rule != SAME_SIDE:
        return f"{measure.quantity} {within} of {len(own)}"
    verdict = "enough" if within >= LEAST_AGREEMENT * len(own) else "too few"
    return (
        f"{measure.quantity} {within} of {len(own)} on the {measure.bound} ({verdict}: {LEAST_AGREEMENT:.0%})"
    )


def _entries(results: Results, comparison: Comparison) -> Iterable[Entry]:
    for measure in measures_of(comparison.category):
        theirs = published_tables().grid(comparison.name, measure.quantity)
        chosen = _chosen(results, measure, comparison)
        if not theirs or chosen is None:
            continue
        for record in theirs.values():
            row = results.row(chosen[0], str(record.layer_a), str(record.layer_b), chosen[1])
            yield _entry(results, measure, record, chosen[0], row)


def _chosen(results: Results, measure: Measure, comparison: Comparison) -> tuple[str, str] | None:
    """The metric and direction that stand beside a published quantity; None where none does."""
    for metric in measure.metrics:
        if metric not in results.metrics or (measure.is_of_one_component and _keeps_more(results, metric)):
            continue
        alignment = next(row.alignment for row in results.rows if row.metric == metric)
        direction = direction_of(metric, alignment, comparison.pairing)
        if direction and any((row.metric, row.direction) == (metric, direction) for row in results.rows):
            return metric, direction
    return None


def _keeps_more(results: Results, metric: str) -> bool:
    """Whether it is SVCCA of several components a side (pc1=false), which flags say of: `k=57/61`."""
    rows = (row for row in results.rows if row.metric == metric)
    return any(flag.startswith("k=") for row in rows for flag in row.flags.split(";"))


def _entry(results: Results, measure: Measure, record: Record, metric: str, row: Row | None) -> Entry:
    place = (record.comparison, measure, record.layer_a, record.layer_b, metric)
    if row is None:
        return Entry(*place, None, record.value, None, _NOT_ASKED)
    ours, own_p = _number(results, measure, row), None
    if measure.column == "p_value" and ours is not None:
        own_p, ours = ours, published_p_value(ours, draws=cast(int, _draws(results, row)))
    if ours is None:
        # A null that was not drawn is no disagreement; a value that is undefined is one.
        is_fault = measure.is_judged and row.value is None
        return Entry(*place, None, record.value, False if is_fault else None, row.value_reason or _NO_NULL)
    return Entry(*place, ours, record.value, measure.is_within(ours, record.value), "", own_p)


def _number(results: Results, measure: Measure, row: Row) -> float | None:
    """Ours, as it stands in layer_pairs.csv; of the null, that of shuffled pairs."""
    match measure.column:
        case "value":
            return row.value
        case "n_matches":
            return None if row.n_matches is None else float(row.n_matches)
        case "null_mean" if row.null == _PERMUTATION:
            return row.null_mean
        case "p_value" if row.null == _PERMUTATION:
            return row.p_value if row.null_draws else None
        case _:
            null = _shuffled(results, row)
            if null is None:
                return None
            return null.mean if measure.column == "null_mean" else null.p_value if null.draws else None


def _draws(results: Results, row: Row) -> int | None:
    if row.null == _PERMUTATION:
        return row.null_draws
    null = _shuffled(results, row)
    return null.draws if null else None


def _shuffled(results: Results, row: Row) -> NullRow | None:
    """The null of shuffled pairs, where it is not the metric's primary one."""
    wanted = (row.layer_a, row.layer_b, row.metric, row.direction, _PERMUTATION)
    for each in results.null_rows:
        if (each.layer_a, each.layer_b, each.metric, each.direction, each.null) == wanted:
            return each
    return None


def _notes(results: Results, comparison: Comparison, entries: Sequence[Entry]) -> Iterable[str]:
    row = results.rows[0]
    read = {each.measure.quantity: each.metric for each in entries}
    if comparison.category:
        yield "Words: the categories are of our own making, so that latents are in part others."
    yield "Read: " + ", ".join(f"{quantity} from {metric}" for quantity, metric in read.items()) + "."
    if instead := sorted(
        {metric for metric in read.values() if not metric.startswith(("published_", "semantic_"))}
    ):
        yield f"{', '.join(instead)}: of other rows and pairs than published; see docs/from_the_paper.md."
    published = set(published_tables().quantities(comparison.name))
    if left := sorted(published - set(read)):
        yield f"Published and not compared, for nothing here computes it: {', '.join(left)}."
    for column, what in _SOURCES.items():
        ours, theirs = getattr(row, column), getattr(comparison, column)
        if ours.rsplit("/", 1)[-1] != theirs.rsplit("/", 1)[-1]:
            yield f"{what}: {ours}; published: {theirs}."
    if isinstance(switches := results.summary.get("compat"), dict) and switches:
        said = (f"{name} {'on' if on else 'off'}" for name, on in switches.items())
        yield f"Switches of compat: {', '.join(said)}."
    yield from _undefined(entries)


def _undefined(entries: Iterable[Entry]) -> Iterable[str]:
    """Layer pairs without a value here, by reason."""
    places: dict[str, list[str]] = {}
    for each in entries:
        if each.ours is None:
            why = f"{each.measure.quantity} is undefined here ({each.reason.replace('_', ' ')})"
            pair = f"{each.layer_a}-{each.layer_b}"
            places.setdefault(why if each.is_asked else "Not asked for", []).append(pair)
    for why, found in places.items():
        yield f"{why}: layer pairs (A-B) {', '.join(dict.fromkeys(found))}."
