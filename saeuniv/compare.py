"""Compare the latents of two layers: matches, metrics, and what each number means against its null.

`compare_latents` is the whole of it for people with arrays of their own: no Hydra, no models, no store.
The compare stage calls the same functions and keeps what they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.alignments import AlignmentMethod, Hungarian
from saeuniv.compare_arguments import check_groups, check_text, latents_by_row
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.matching import with_matches
from saeuniv.metrics import (
    Cka,
    MatchedCorrelation,
    Measurement,
    MetricMethod,
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationTrigram,
    RawCorrelation,
    Svcca,
)
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.semantic import row_words
from saeuniv.numerics.statistics import calibrated, excess, p_value, percentile_interval, z_score

# Level of the quantile behind `calibrated`, and the fewest draws that define it (Groeger et al. 2026).
_LEVEL = 0.05
_LEAST_DRAWS = 19

# Those of conf/config.yaml, in its order.
_METRICS: tuple[type[MetricMethod], ...] = (
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationTrigram,
    RawCorrelation,
    MatchedCorrelation,
    Cka,
    Svcca,
)


@dataclass(frozen=True)
class CompareSettings:
    """How two layers are compared; the defaults are those of the configuration."""

    alignment: AlignmentMethod = field(default_factory=Hungarian)
    metrics: tuple[MetricMethod, ...] = field(default_factory=lambda: tuple(each() for each in _METRICS))
    eligibility: Eligibility = field(default_factory=lambda: Eligibility(min_firings=100))
    nulls: Nulls = field(default_factory=Nulls)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @property
    def floors(self) -> Floors:
        """The eligibility floors as numbers."""
        chosen = self.eligibility
        firings = 100 if chosen.min_firings is None else chosen.min_firings
        return Floors(firings, chosen.max_rate, chosen.min_within_share)

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
    parameters: tuple[DictionaryParameters, DictionaryParameters] | None = None,
    token_text: Sequence[str] | None = None,
    words: Sequence[str] | None = None,
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
        decoders: decoder directions of A and B for metrics of decoders, which are left out without them.
        parameters: of the dictionaries of A and B, for alignments that read them, and for metrics that do,
            which are left out without them.
        token_text: the token of each row as text, for metrics that read it.
        words: the word that each row is a part of, "" for none, for metrics of categories of words.
        settings: alignment, metrics, floors, nulls and bootstrap.

    Raises:
        ValueError: arrays of unequal length, signed latents, sequences that span documents, labels that a
            metric needs and `groups` lacks, or no tokens or words as text for a metric that reads them.
    """
    settings = settings or CompareSettings()
    metrics = tuple(each for each in settings.metrics if decoders is not None or not each.needs_decoders)
    metrics = tuple(each for each in metrics if parameters is not None or each.reads == "tokens")
    left, right = latents_by_row(latents_a, "latents_a"), latents_by_row(latents_b, "latents_b")
    if not left.shape[0] == right.shape[0] == len(documents):
        raise ValueError(
            f"latents: expected the same tokens on both sides, got {left.shape[0]} rows of A, "
            f"{right.shape[0]} of B and {len(documents)} document numbers."
        )
    check_groups(groups, metrics, settings.alignment)
    check_text(token_text, words, metrics, len(documents))
    halves = make_halves(documents, groups, positions=positions_per_sequence)
    floors, both = settings.floors, zip(decoders or (None, None), parameters or (None, None), strict=True)
    (decoder_a, parameters_a), (decoder_b, parameters_b) = both
    a = prepare_layer(left, halves, floors=floors, decoder=decoder_a, parameters=parameters_a)
    b = prepare_layer(right, halves, floors=floors, decoder=decoder_b, parameters=parameters_b)
    a, b = replace(a, dictionary=parameters_a), replace(b, dictionary=parameters_b)
    draws, min_df_share = make_draws(halves, settings.draws), settings.eligibility.min_df_share
    of_rows = None if words is None else row_words(words)
    pair = LayerPair(a, b, draws, min_df_share, token_text=token_text, words=of_rows)
    pair = with_matches(pair, settings.alignment, metrics)
    return tuple(
        summarise(metric, measurement, settings.alignment, confidence=settings.bootstrap.confidence)
        for metric in metrics
        for measurement in metric.measure(pair)
    )


def summarise(
    metric: MetricMethod, measurement: Measurement, alignment: AlignmentMethod, *, confidence: float
) -> MetricResult:
    """The statistics of a measurement against its primary null."""
    value, empty = measurement.value, measurement.empty
    null = measurement.nulls.get(metric.primary_null, np.empty(0))
    judged = value is not None and len(null) > 0
    mean = float(null.mean()) if judged else None
    std = float(null.std(ddof=1)) if judged and len(null) > 1 else None
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
        excess=excess(value, null) if value is not None and judged else None,
        calibrated=calibrated(value, null, level=_LEVEL)
        if value is not None and enough and "calibrated" not in empty
        else None,
        z=z_score(value, null) if value is not None and std is not None else None,
        p_value=p_value(value, null) if value is not None and judged and "p_value" not in empty else None,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        n_matches=measurement.n_matches,
        flags=measurement.flags,
        reason=";".join(dict.fromkeys(filter(None, reasons))),
    )
