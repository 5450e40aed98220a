"""Rows of the results contract: stored scores, joined with those of the untrained control."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from saeuniv.alignments import AlignmentMethod
from saeuniv.compare import summarise
from saeuniv.metrics import Measurement, MetricMethod
from saeuniv.metrics.base import DECOMPOSITIONS
from saeuniv.numerics.statistics import benjamini_hochberg, p_value, percentile_interval
from saeuniv.results import NullRow, Row
from saeuniv.stages.scores import Scores


class SideDescription(NamedTuple):
    """What a row says of the model and dictionaries of one side."""

    model: str
    revision: str
    hookpoint: str
    """Kind of hookpoint; the row adds the layer."""

    sae: str


class Described(NamedTuple):
    """What all rows of a comparison share."""

    comparison: str
    a: SideDescription
    b: SideDescription
    alignment: AlignmentMethod
    confidence: float
    seed: int


class PairScores(NamedTuple):
    """One metric of one layer pair, with that of the untrained counterparts."""

    layer_a: str
    layer_b: str
    metric: MetricMethod
    scores: Scores
    control: Scores | None


def result_rows(pairs: list[PairScores], described: Described) -> tuple[Row, ...]:
    """layer_pairs.csv: every metric of every layer pair in each direction; q over the layer pairs."""
    rows = [row for pair in pairs for row in _rows(pair, described)]
    families: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        families.setdefault((row.metric, row.direction), []).append(index)
    for members in families.values():
        p = np.array([np.nan if rows[i].p_value is None else rows[i].p_value for i in members], dtype=float)
        for index, q in zip(members, benjamini_hochberg(p), strict=True):
            rows[index] = dataclasses.replace(rows[index], q_value=None if np.isnan(q) else float(q))
    return tuple(rows)


def null_rows(pairs: list[PairScores], described: Described) -> tuple[NullRow, ...]:
    """nulls.csv: every null of every metric and layer pair, the primary one marked."""
    return tuple(row for pair in pairs for row in _null_rows(pair, described))


def _rows(pair: PairScores, described: Described) -> Iterator[Row]:
    metric, scores = pair.metric, pair.scores
    control = {each.direction: each for each in pair.control.measurements} if pair.control else {}
    for measurement in scores.measurements:
        result = summarise(metric, measurement, described.alignment, confidence=described.confidence)
        a, b = scores.a, scores.b
        difference = _difference(measurement, control.get(result.direction), described.confidence)
        yield Row(
            comparison=described.comparison,
            model_a=described.a.model,
            model_b=described.b.model,
            revision_a=described.a.revision,
            revision_b=described.b.revision,
            hookpoint_a=f"{described.a.hookpoint}[{pair.layer_a}]",
            hookpoint_b=f"{described.b.hookpoint}[{pair.layer_b}]",
            layer_a=pair.layer_a,
            layer_b=pair.layer_b,
            sae_a=described.a.sae,
            sae_b=described.b.sae,
            d_sae_a=a.d_sae,
            d_sae_b=b.d_sae,
            l0_a=a.l0,
            l0_b=b.l0,
            fvu_a=a.fvu,
            fvu_b=b.fvu,
            alignment=result.alignment,
            direction=result.direction,
            metric=result.metric,
            space=result.space,
            value=result.value,
            null=result.null,
            null_mean=result.null_mean,
            null_std=result.null_std,
            null_draws=result.null_draws,
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
            n_matches=result.n_matches,
            n_eligible_a=a.n_eligible,
            n_eligible_b=b.n_eligible,
            n_alive_a=a.n_alive,
            n_alive_b=b.n_alive,
            eligible_mass_a=a.eligible_mass,
            eligible_mass_b=b.eligible_mass,
            context_share_a=a.context_share,
            context_share_b=b.context_share,
            n_tokens=scores.n_tokens,
            n_documents=scores.n_documents,
            seed=described.seed,
            flags=";".join((*result.flags, *_unlike(scores, pair.control))),
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


def _unlike(scores: Scores, control: Scores | None) -> tuple[str, ...]:
    """The flag of a control whose dictionaries have less than half as many eligible latents."""
    if control is None:
        return ()
    few = any(
        2 * theirs.n_eligible < own.n_eligible
        for own, theirs in ((scores.a, control.a), (scores.b, control.b))
    )
    return ("unlike_controls",) if few else ()


def _null_rows(pair: PairScores, described: Described) -> Iterator[NullRow]:
    for measurement in pair.scores.measurements:
        for name, draws in measurement.nulls.items():
            is_primary = name == pair.metric.primary_null
            refused = measurement.empty.get("p_value", "") if is_primary else ""
            judged = name not in DECOMPOSITIONS and not refused and len(draws) > 0
            yield NullRow(
                comparison=described.comparison,
                layer_a=pair.layer_a,
                layer_b=pair.layer_b,
                metric=pair.metric.name,
                direction=measurement.direction,
                null=name,
                is_primary=is_primary,
                mean=float(draws.mean()) if len(draws) else None,
                std=float(draws.std(ddof=1)) if len(draws) > 1 else None,
                q95=float(np.quantile(draws, 0.95, method="higher")) if len(draws) else None,
                draws=len(draws),
                p_value=p_value(measurement.value, draws)
                if judged and measurement.value is not None
                else None,
                reason=refused or ("" if len(draws) else "no_null"),
            )
