"""How comparisons of one sweep differ from those of another: matched on equal settings, pair by pair."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.config import ConfigError
from saeuniv.numerics.statistics import percentile_interval
from saeuniv.results import Row
from saeuniv.stages.scores import Scores, load_scores
from saeuniv.stages.stored import StoredComparison, config_of
from saeuniv.store import ArtifactError

# Neither what was asked of a comparison nor where it ran tells comparisons apart.
_NO_AXES = frozenset(
    {"layers", "metrics", "primary_metric", "tracking", "sweep", "resources", "store", "allow_mixed", "nulls"}
)
_OF_ROWS = ("model_a", "model_b", "revision_a", "revision_b", "sae_a", "sae_b", "alignment")


@dataclass(frozen=True)
class Difference:
    """One metric of one layer pair in two comparisons; a row of differences.csv."""

    comparison: str
    other: str
    metric: str
    layer_a: str
    layer_b: str
    value: float | None
    other_value: float | None
    difference: float | None
    """`other_value` less `value`."""

    ci_low: float | None
    """Of the difference, by resampling the documents of both together."""

    ci_high: float | None
    reason: str
    """Why there is no difference, or no interval of it; empty where there is."""


class MatchedSweeps(NamedTuple):
    """The comparisons of two sweeps, in pairs."""

    pairs: tuple[tuple[StoredComparison, StoredComparison], ...]
    differing: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Settings that tell the two sweeps apart, and their values in each."""

    unmatched: tuple[str, ...]
    """Comparisons of either sweep without a partner."""


def axes(stored: StoredComparison) -> dict[str, str]:
    """What names a comparison: every setting but those of `_NO_AXES`, by its dotted key."""
    found: dict[str, str] = {}
    for key, value in _flat(config_of(stored.results)):
        if key.partition(".")[0] not in _NO_AXES:
            found[key] = str(value)
    aligned = [row for row in stored.results.rows if row.alignment != "-"] or stored.results.rows
    return found | {name: str(getattr(aligned[0], name)) for name in _OF_ROWS}


def matched(one: Sequence[StoredComparison], other: Sequence[StoredComparison]) -> MatchedSweeps:
    """The comparisons that are equal in every setting that has the same values in both sweeps.

    Raises:
        ConfigError: within one sweep several comparisons are alike in these; or there are no pairs.
    """
    all_axes = [[axes(each) for each in sweep] for sweep in (one, other)]
    keys = sorted({key for sweep in all_axes for each in sweep for key in each})
    values = {
        key: tuple(tuple(sorted({each.get(key, "-") for each in sweep})) for sweep in all_axes)
        for key in keys
    }
    shared = [key for key in keys if values[key][0] == values[key][1]]
    differing = {key: (values[key][0], values[key][1]) for key in keys if key not in shared}
    tables: list[dict[tuple[str, ...], StoredComparison]] = []
    for sweep, described in zip((one, other), all_axes, strict=True):
        table: dict[tuple[str, ...], StoredComparison] = {}
        for stored, each in zip(sweep, described, strict=True):
            place = tuple(each.get(key, "-") for key in shared)
            if place in table:
                several = {key: pair for key, pair in differing.items() if max(map(len, pair)) > 1}
                raise ConfigError(
                    f"expected sweeps whose comparisons can be told apart by what both have, got "
                    f"{_name(table[place])} and {_name(stored)}, which differ in "
                    f"{', '.join(several) or 'nothing'} only. Compare sweeps that have the same values there."
                )
            table[place] = stored
        tables.append(table)
    both = [place for place in tables[0] if place in tables[1]]
    if not both:
        raise ConfigError(
            f"expected comparisons that are alike in both, got none among {len(one)} and {len(other)}. "
            f"The sweeps differ in {', '.join(differing) or 'nothing'}."
        )
    alone = [_name(table[place]) for table in tables for place in table if place not in both]
    return MatchedSweeps(tuple((tables[0][p], tables[1][p]) for p in both), differing, tuple(alone))


def differences(one: StoredComparison, other: StoredComparison) -> list[Difference]:
    """Every metric and layer pair that both have (direction both), with paired intervals where they can be.

    Documents can be resampled together only where both were compared on the same token sets and rows: draw
    r of the bootstrap is then the same resample in both (statistics.md), and the interval is that of the
    differences draw by draw.
    """
    mine, theirs = (_rows(each) for each in (one, other))
    text = _text_reason(one, other)
    return [_difference(one, other, mine[place], theirs[place], text) for place in mine if place in theirs]


def _difference(
    one: StoredComparison, other: StoredComparison, row: Row, theirs: Row, text: str
) -> Difference:
    found = Difference(
        *(row.comparison, theirs.comparison, row.metric, row.layer_a, row.layer_b),
        *(row.value, theirs.value, None, None, None, ""),
    )
    if row.value is None or theirs.value is None:
        reason = row.value_reason or theirs.value_reason
        return dataclasses.replace(found, reason=reason)
    found = dataclasses.replace(found, difference=theirs.value - row.value, reason=text)
    if text:
        return found
    draws = [_bootstrap(each, row.metric, row.layer_a, row.layer_b) for each in (one, other)]
    if draws[0] is None or draws[1] is None or not len(draws[0]) or len(draws[0]) != len(draws[1]):
        return dataclasses.replace(found, reason="no_bootstrap")
    confidence = float(config_of(one.results)["bootstrap"]["confidence"])
    interval = percentile_interval(draws[1] - draws[0], confidence=confidence)
    return dataclasses.replace(found, ci_low=interval.low, ci_high=interval.high)


def _bootstrap(
    stored: StoredComparison, metric: str, layer_a: str, layer_b: str
) -> Float[np.ndarray, " draws"] | None:
    """The draws of a score; None where the store lacks it."""
    artifact = stored.scores(metric).get((layer_a, layer_b))
    if artifact is None:
        return None
    try:
        scores: Scores = load_scores(stored.store.open(artifact))
    except ArtifactError:
        return None
    return next((each.bootstrap for each in scores.measurements if each.direction == "both"), None)


def _text_reason(one: StoredComparison, other: StoredComparison) -> str:
    settings = [config_of(each.results).get("bootstrap") for each in (one, other)]
    if settings[0] != settings[1]:
        return "different_bootstrap"
    try:
        places = [each.compared_on() for each in (one, other)]
    except ArtifactError:
        return "not_stored"
    if None in places:
        return "not_stored"
    return "" if places[0] == places[1] else "different_tokens"


def _rows(stored: StoredComparison) -> dict[tuple[str, str, str], Row]:
    return {(r.metric, r.layer_a, r.layer_b): r for r in stored.results.rows if r.direction == "both"}


def _name(stored: StoredComparison) -> str:
    return stored.results.rows[0].comparison


def _flat(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(each, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
