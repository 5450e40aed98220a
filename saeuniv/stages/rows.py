"""Rows of the results contract: stored scores, joined with those of the untrained control.

What was asked for and not computed has its rows too: empty, with what other scores say of its layers.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from saeuniv.compare import summarise
from saeuniv.metrics import Measurement, MetricMethod
from saeuniv.metrics.base import DECOMPOSITIONS, DIRECTIONS, undefined
from saeuniv.numerics.statistics import benjamini_hochberg, p_value, percentile_interval
from saeuniv.results import CONTROL_NOT_COMPUTED, NOT_COMPUTED, NullRow, Row
from saeuniv.stages.described import Described
from saeuniv.stages.scores import LayerQuality, Scores


class PairScores(NamedTuple):
    """One metric of one layer pair, with that of the untrained counterparts."""

    layer_a: str
    layer_b: str
    metric: MetricMethod
    scores: Scores | None
    """None where they were not computed."""

    control: Scores | None
    has_control: bool
    """Whether there is a control: without scores here, they were not computed."""


class _Side(NamedTuple):
    """What is known of one layer's latents: that of `LayerQuality`, empty where no score of it is there."""

    d_sae: int | None = None
    l0: float | None = None
    fvu: float | None = None
    fvu_high_norm: float | None = None
    dead_fraction: float | None = None
    loss_recovered: float | None = None
    n_alive: int | None = None
    n_eligible: int | None = None
    eligible_mass: float | None = None
    context_share: float | None = None


class _Known(NamedTuple):
    """What the computed scores say of those that are missing: by layer, of all, and by metric."""

    a: dict[str, LayerQuality]
    b: dict[str, LayerQuality]
    n_tokens: int
    n_documents: int
    directions: dict[str, set[str]]


def result_rows(pairs: list[PairScores], described: Described) -> tuple[Row, ...]:
    """layer_pairs.csv: every metric of every layer pair in each direction.

    q is taken over the layer pairs that were computed and tested; those of all metrics of a family are one.

    Raises:
        ValueError: if no score was computed.
    """
    known = _known(pairs)
    rows = [row for pair in pairs for row in _rows(pair, described, known)]
    family_of = {pair.metric.name: pair.metric.family or pair.metric.name for pair in pairs}
    families: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        families.setdefault((family_of[row.metric], row.direction), []).append(index)
    for members in families.values():
        p = np.array([np.nan if rows[i].p_value is None else rows[i].p_value for i in members], dtype=float)
        for index, q in zip(members, benjamini_hochberg(p), strict=True):
            rows[index] = dataclasses.replace(rows[index], q_value=None if np.isnan(q) else float(q))
    return tuple(rows)


def null_rows(pairs: list[PairScores], described: Described) -> tuple[NullRow, ...]:
    """nulls.csv: every null of every metric and layer pair, the primary one marked."""
    return tuple(row for pair in pairs for row in _null_rows(pair, described))


def _known(pairs: list[PairScores]) -> _Known:
    computed = [(pair, pair.scores) for pair in pairs if pair.scores]
    if not computed:
        raise ValueError(f"scores: expected at least one that was computed, got none of {len(pairs)}.")
    directions: dict[str, set[str]] = {}
    for pair, scores in computed:
        directions.setdefault(pair.metric.name, set()).update(each.direction for each in scores.measurements)
    first = computed[0][1]
    return _Known(
        {pair.layer_a: scores.a for pair, scores in computed},
        {pair.layer_b: scores.b for pair, scores in computed},
        first.n_tokens,
        first.n_documents,
        directions,
    )


def _not_computed(metric: MetricMethod, known: _Known) -> tuple[Measurement, ...]:
    """Empty measurements in the directions that the metric has elsewhere, or has by itself."""
    by_itself = {"both"} if metric.aligned else set(DIRECTIONS)
    chosen = known.directions.get(metric.name, by_itself)
    return undefined(NOT_COMPUTED, tuple(each for each in DIRECTIONS if each in chosen))


def missing_scores(pairs: list[PairScores]) -> str:
    """How many scores were not computed, as a sentence; empty where all were."""
    own = sum(pair.scores is None for pair in pairs)
    control = [pair.control is None for pair in pairs if pair.has_control]
    counts = [f"{own} of {len(pairs)} scores"] if own else []
    counts += [f"{sum(control)} of {len(control)} scores of the control"] if any(control) else []
    return f"{' and '.join(counts)} were not computed; the same command goes on." if counts else ""


def _rows(pair: PairScores, described: Described, known: _Known) -> Iterator[Row]:
    metric, scores = pair.metric, pair.scores
    control = {each.direction: each for each in pair.control.measurements} if pair.control else {}
    qualities = (scores.a, scores.b) if scores else (known.a.get(pair.layer_a), known.b.get(pair.layer_b))
    known_of_sides: dict[str, Any] = {
        f"{name}_{side}": value
        for side, each in zip("ab", qualities, strict=True)
        for name, value in (_Side(**each._asdict()) if each else _Side())._asdict().items()
    }
    for measurement in scores.measurements if scores else _not_computed(metric, known):
        result = summarise(metric, measurement, described.alignment, confidence=described.confidence)
        difference = _difference(measurement, control.get(result.direction), described.confidence)
        yield Row(
            comparison=described.comparison,
            model_a=described.a.model,
            model_b=described.b.model,
            revision_a=described.a.revision,
            revision_b=described.b.revision,
            hookpoint_a=described.a.place(pair.layer_a),
            hookpoint_b=described.b.place(pair.layer_b),
            layer_a=pair.layer_a,
            layer_b=pair.layer_b,
            sae_a=described.a.sae,
            sae_b=described.b.sae,
            **known_of_sides,
            alignment=result.alignment,
            direction=result.direction,
            metric=result.metric,
            space=result.space,
            value=result.value,
            null=result.null,
            null_mean=result.null_mean,
            null_std=result.null_std,
            null_draws=result.null_draws if scores else None,
            control=difference.control,
            calibrated=result.calibrated,
            excess=result.excess,
            z=result.z,
            diff_control=difference.value,
            diff_ci_low=difference.ci_low,
            diff_ci_high=difference.ci_high,
            p_value=result.p_value,
            q_value=None,
            ci_low=result.ci_low,
            ci_high=result.ci_high,
            n_matches=result.n_matches if scores else None,
            n_tokens=known.n_tokens,
            n_documents=known.n_documents,
            seed=described.seed,
            flags=";".join((*result.flags, *_control_flags(pair))),
            reason=result.reason,
        )


class Difference(NamedTuple):
    """A value against that of the untrained counterparts."""

    control: float | None = None
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


def _difference(measurement: Measurement, control: Measurement | None, confidence: float) -> Difference:
    """Value of the control and the difference to it, with the interval of shared bootstrap draws."""
    if control is None or control.value is None:
        return Difference()
    if measurement.value is None:
        return Difference(control.value)
    difference = Difference(control.value, measurement.value - control.value)
    if not len(measurement.bootstrap) or len(measurement.bootstrap) != len(control.bootstrap):
        return difference
    interval = percentile_interval(measurement.bootstrap - control.bootstrap, confidence=confidence)
    return difference._replace(ci_low=interval.low, ci_high=interval.high)


def _control_flags(pair: PairScores) -> tuple[str, ...]:
    """That the control is missing, or that its dictionaries have less than half the eligible latents."""
    scores, control = pair.scores, pair.control
    if control is None:
        return (CONTROL_NOT_COMPUTED,) if pair.has_control else ()
    few = scores is not None and any(
        2 * theirs.n_eligible < own.n_eligible
        for own, theirs in ((scores.a, control.a), (scores.b, control.b))
    )
    return ("unlike_controls",) if few else ()


def _null_rows(pair: PairScores, described: Described) -> Iterator[NullRow]:
    for measurement in pair.scores.measurements if pair.scores else ():
        named = NullRow(
            comparison=described.comparison,
            layer_a=pair.layer_a,
            layer_b=pair.layer_b,
            metric=pair.metric.name,
            direction=measurement.direction,
            null="",
            is_primary=False,
            mean=None,
            std=None,
            q95=None,
            draws=None,
            p_value=None,
            reason="",
        )
        for name, draws in measurement.nulls.items():
            is_primary = name == pair.metric.primary_null
            refused = measurement.empty.get("p_value", "") if is_primary else ""
            judged = name not in DECOMPOSITIONS and not refused and len(draws) > 0
            value = measurement.value if judged else None
            yield dataclasses.replace(
                named,
                null=name,
                is_primary=is_primary,
                mean=float(draws.mean()) if len(draws) else None,
                std=float(draws.std(ddof=1)) if len(draws) > 1 else None,
                q95=float(np.quantile(draws, 0.95, method="higher")) if len(draws) else None,
                draws=len(draws),
                p_value=p_value(value, draws) if value is not None else None,
                reason=refused or ("" if len(draws) else "no_null"),
            )
        for name, moments in measurement.moments.items():
            yield dataclasses.replace(named, null=name, mean=moments.mean, std=moments.std)
