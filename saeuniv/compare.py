"""Compare the latents of two layers: matches, metrics, and what each number means against its null.

`compare_latents` is the whole of it for people with arrays of their own: no Hydra, no models, no store.
The compare stage calls the same functions and keeps what they return.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.alignments import AlignmentMethod, Hungarian
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.metrics import METRICS, Measurement, MetricMethod
from saeuniv.metrics.base import SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, Matches, make_draws
from saeuniv.numerics.correlation import products, within_group_correlation
from saeuniv.numerics.latents import Floors, HalfLatents, prepare_layer
from saeuniv.numerics.nulls import shifted_correlations, shifted_correlations_bytes
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.statistics import calibrated, p_value, percentile_interval

# Level of the quantile behind `calibrated`, and the fewest draws that define it (Groeger et al. 2026).
_LEVEL = 0.05
_LEAST_DRAWS = 19

MATCH_HALF = 0


@dataclass(frozen=True)
class CompareSettings:
    """How two layers are compared; the defaults are those of the configuration."""

    alignment: AlignmentMethod = field(default_factory=Hungarian)
    metrics: tuple[MetricMethod, ...] = field(default_factory=lambda: tuple(metric() for metric in METRICS))
    eligibility: Eligibility = field(default_factory=lambda: Eligibility(min_firings=100))
    nulls: Nulls = field(default_factory=Nulls)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @property
    def floors(self) -> Floors:
        """The eligibility floors as numbers."""
        chosen = self.eligibility
        return Floors(chosen.min_firings or 100, chosen.max_rate, chosen.min_within_share)

    @property
    def draws(self) -> DrawSettings:
        """Numbers and seeds of the draws."""
        nulls, boot = self.nulls, self.bootstrap
        return DrawSettings(
            nulls_seed=nulls.seed,
            null_draws=nulls.draws,
            shuffle_draws=nulls.shuffle_draws,
            bootstrap_seed=boot.seed,
            bootstrap_draws=boot.draws,
            min_documents=boot.min_documents,
            min_effective_documents=boot.min_effective_documents,
        )


class MetricResult(NamedTuple):
    """One metric of one layer pair in one direction. Similarities: up is alike."""

    metric: str
    direction: str
    space: str
    """tokens or decoder"""

    alignment: str
    """The alignment's name; `-` for a metric that needs none."""

    value: float | None
    null: str
    """The primary null's name."""

    null_mean: float | None
    null_std: float | None
    null_draws: int
    excess: float | None
    """value - null_mean: the effect size, signed."""

    calibrated: float | None
    """max(0, (value - q) / (1 - q)), q the null's 95 % quantile: for display, clipped."""

    z: float | None
    """excess / null_std; no effect size."""

    p_value: float | None
    """(1 + draws >= value) / (1 + draws), never 0."""

    ci_low: float | None
    ci_high: float | None
    """Document bootstrap, conditional on these models and dictionaries."""

    n_matches: int
    flags: tuple[str, ...]
    reason: str
    """Why what is empty here is empty; the value's reason first."""


def compare_latents(
    latents_a: sp.csr_array | Float[np.ndarray, "rows_a latents_a"],
    latents_b: sp.csr_array | Float[np.ndarray, "rows_b latents_b"],
    *,
    groups: Mapping[str, Int[np.ndarray, " _"]],
    documents: Int[np.ndarray, " _"],
    positions_per_sequence: int,
    decoders: tuple[Float[np.ndarray, "latents_a d_a"], Float[np.ndarray, "latents_b d_b"]] | None = None,
    settings: CompareSettings | None = None,
) -> tuple[MetricResult, ...]:
    """Every metric of two layers' latents on the same tokens, each with its null, p and interval.

    Args:
        latents_a: activations of A, non-negative, one row a token.
        latents_b: activations of B on the same tokens in the same order.
        groups: integer labels: `token`, and `token_bigram` and `token_trigram` (equal where the last two
            or three tokens are) for the metrics that are given these.
        documents: document of each row, non-decreasing; in hash order, as their halves match and evaluate.
        positions_per_sequence: rows per sequence; document shifts move whole sequences.
        decoders: decoder directions of A and B for cka and svcca, which are left out without them.
        settings: alignment, metrics, floors, nulls and bootstrap.

    Raises:
        ValueError: arrays of unequal length, signed latents, sequences that span documents, or labels
            that a metric needs and `groups` lacks.
    """
    settings = settings or CompareSettings()
    metrics = tuple(each for each in settings.metrics if decoders is not None or not each.needs_decoders)
    left, right = sp.csr_array(latents_a), sp.csr_array(latents_b)
    if not left.shape[0] == right.shape[0] == len(documents):
        raise ValueError(
            f"latents: expected the same tokens on both sides, got {left.shape[0]} rows of A, "
            f"{right.shape[0]} of B and {len(documents)} document numbers."
        )
    _check_groups(groups, metrics)
    halves = make_halves(documents, groups, positions=positions_per_sequence)
    decoder_a, decoder_b = decoders or (None, None)
    pair = LayerPair(
        prepare_layer(left, halves, floors=settings.floors, decoder=decoder_a),
        prepare_layer(right, halves, floors=settings.floors, decoder=decoder_b),
        make_draws(halves, settings.draws),
        settings.eligibility.min_df_share,
    )
    pair = with_matches(pair, settings.alignment, metrics)
    return tuple(
        summarise(metric, measurement, settings.alignment, confidence=settings.bootstrap.confidence)
        for metric in metrics
        for measurement in metric.measure(pair)
    )


def with_matches(pair: LayerPair, alignment: AlignmentMethod, metrics: tuple[MetricMethod, ...]) -> LayerPair:
    """The pair with the alignment's matches and the matched-again nulls that the metrics need."""
    if not any(metric.aligned for metric in metrics):
        return pair
    pair = dataclasses.replace(pair, matches=align(pair, alignment))
    nulls: dict[str, tuple[Matches, ...]] = {}
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(null for metric in metrics for null in metric.needs_nulls):
        if reason := null_reason(pair, alignment, name):
            reasons[name] = reason
        else:
            nulls[name] = align_null(pair, alignment, name)
    return dataclasses.replace(pair, null_matches=nulls, null_reasons=reasons)


def align(pair: LayerPair, alignment: AlignmentMethod) -> Matches:
    """The alignment's matches on the match half; none where no correlation is defined."""
    if pair.undefined(alignment.condition.value):
        return {}
    return alignment.match(pair.correlation(MATCH_HALF, alignment.condition.value))


def null_reason(pair: LayerPair, alignment: AlignmentMethod, null: str) -> str:
    """Why a matched-again null is not drawn; empty where it is."""
    if not pair.matches:
        return pair.undefined(alignment.condition.value)
    if null != SELECTION_SHIFT:
        return ""
    if not alignment.fixed_size:
        return "matching_size_varies"
    a, b = pair.a.halves[MATCH_HALF], pair.b.halves[MATCH_HALF]
    bytes_needed = shifted_correlations_bytes(a, b, condition=alignment.condition.value)
    return "too_many_latents" if bytes_needed > pair.draws.max_null_bytes else ""


def align_null(pair: LayerPair, alignment: AlignmentMethod, null: str) -> tuple[Matches, ...]:
    """The same alignment on broken pairings of the match half, one matching a draw."""
    a, b = pair.a.halves[MATCH_HALF], pair.b.halves[MATCH_HALF]
    condition = alignment.condition.value
    if null == SELECTION_SHIFT:
        shifted = shifted_correlations(a, b, pair.draws.selection_shifts, condition=condition)
        return tuple(alignment.match(correlation) for correlation in shifted)
    assert null == WITHIN_TOKEN_SHUFFLE
    drawn: list[Matches] = []
    for shuffle in pair.draws.shuffles:
        permuted = HalfLatents(b.matrix[shuffle[MATCH_HALF]], b.half)
        drawn.append(alignment.match(within_group_correlation(a, permuted, condition, products(a, permuted))))
    return tuple(drawn)


def summarise(
    metric: MetricMethod, measurement: Measurement, alignment: AlignmentMethod, *, confidence: float
) -> MetricResult:
    """The statistics of a measurement against its primary null."""
    value, empty = measurement.value, measurement.empty
    null = measurement.nulls.get(metric.primary_null, np.empty(0))
    judged = value is not None and len(null) > 0
    mean = float(null.mean()) if judged else None
    std = float(null.std(ddof=1)) if judged and len(null) > 1 else None
    excess = value - mean if value is not None and mean is not None else None
    enough = judged and len(null) >= _LEAST_DRAWS
    drawn = measurement.bootstrap if value is not None else np.empty(0)
    interval = percentile_interval(drawn, confidence=confidence) if len(drawn) else None
    reasons = [measurement.reason] if value is None else list(empty.values())
    return MetricResult(
        metric=metric.name,
        direction=measurement.direction,
        space=metric.space,
        alignment=alignment.name if metric.aligned else "-",
        value=value,
        null=metric.primary_null,
        null_mean=mean,
        null_std=std,
        null_draws=len(null) if judged else 0,
        excess=excess,
        calibrated=calibrated(value, null, level=_LEVEL)
        if value is not None and enough and "calibrated" not in empty
        else None,
        z=excess / std if excess is not None and std else None,
        p_value=p_value(value, null) if value is not None and judged and "p_value" not in empty else None,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        n_matches=measurement.n_matches,
        flags=measurement.flags,
        reason=";".join(dict.fromkeys(filter(None, reasons))),
    )


def _check_groups(groups: Mapping[str, object], metrics: tuple[MetricMethod, ...]) -> None:
    needed = {"token", *(getattr(metric, "condition", "token") for metric in metrics)} - {"none"}
    if missing := sorted(needed - set(groups)):
        raise ValueError(
            f"groups: expected labels for {sorted(needed)}, got {sorted(groups)}. Add {missing} or leave the "
            f"metrics that need them out of settings.metrics."
        )
