"""Held-out correlations: the match is chosen on one half of the documents and scored on the other.

Value = mean over eligible latents i of s_i = r_w(i, m(i)) on the evaluation half, where m(i) is the
best partner on the match half; both halves serve in turn, and both directions (docs/statistics.md B).
Unbiased for the correlation of the chosen match: under no relation its mean is 0 at any width.
An unmatched latent (no positive partner) scores 0 and counts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.metrics.base import DOCUMENT_SHIFT, Measurement, undefined
from saeuniv.metrics.layer_pair import Draws, LayerPair
from saeuniv.numerics.assignment import Matching, max_similarity
from saeuniv.numerics.correlation import document_sums
from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.nulls import fixed_match_shifts

MIN_SHIFTS = 99

# Share of a pair's variance on the whole half below which that of a resample is rounding.
_ROUNDING = 1e-12


class Scored(NamedTuple):
    """Fixed matches scored on one half."""

    value: float
    """Sum of the pairs' correlations over the number of latents that count."""

    null: Float[np.ndarray, " shifts"]
    bootstrap: Float[np.ndarray, " draws"]
    n_matches: int


def cross_fitted(pair: LayerPair, condition: str, *, null: bool) -> tuple[Measurement, ...]:
    """The held-out correlation of each latent's best match, in [-1, 1], a_to_b, b_to_a and both.

    Args:
        pair: the layers.
        condition: rows of a group share this; `none` for Pearson's r.
        null: also evaluate all document shifts (N3a).
    """
    if reason := pair.undefined(condition):
        return undefined(reason)
    folds: dict[str, list[Scored]] = {"a_to_b": [], "b_to_a": []}
    for match_half, eval_half in ((0, 1), (1, 0)):
        chosen = pair.correlation(match_half, condition)
        forward = max_similarity(chosen)
        backward = max_similarity(np.ascontiguousarray(chosen.T))
        backward = Matching(backward.index_b, backward.index_a, backward.similarity)
        folds["a_to_b"].append(score(pair, forward, eval_half, condition, pair.a.n_eligible, null=null))
        folds["b_to_a"].append(score(pair, backward, eval_half, condition, pair.b.n_eligible, null=null))
    each = [average(direction, scored, pair.draws, null=null) for direction, scored in folds.items()]
    return (*each, average("both", [*folds["a_to_b"], *folds["b_to_a"]], pair.draws, null=null))


def score(
    pair: LayerPair, matching: Matching, half: int, condition: str, n_latents: int, *, null: bool
) -> Scored:
    """Fixed matches scored on a half they were not chosen on, with null and bootstrap draws."""
    index_a, index_b = matching.index_a, matching.index_b
    a, b = pair.a.halves[half], pair.b.halves[half]
    draws, n = pair.draws, pair.draws.n_sequences
    shifted = (
        fixed_match_shifts(a, b, index_a, index_b, condition=condition, n_sequences=n)[draws.shifts]
        if null
        else np.empty(0)
    )
    return Scored(
        value=float(pair.correlation(half, condition)[index_a, index_b].sum()) / n_latents,
        null=shifted / n_latents,
        bootstrap=_resampled(a, b, matching, condition, draws.weights[half]) / n_latents,
        n_matches=len(index_a),
    )


def average(direction: str, scored: list[Scored], draws: Draws, *, null: bool) -> Measurement:
    """The mean of scores, draw by draw: draw s of the mean is the mean of the draws s."""
    empty: dict[str, str] = {}
    if not null:
        empty["p_value"] = empty["calibrated"] = "not_requested"
    elif len(draws.shifts) < MIN_SHIFTS:
        empty["p_value"] = empty["calibrated"] = "few_shifts"
    if not len(draws.weights[0]):
        empty["ci"] = "few_documents"
    return Measurement(
        direction=direction,
        value=float(np.mean([each.value for each in scored])),
        nulls={DOCUMENT_SHIFT: np.mean([each.null for each in scored], axis=0)} if null else {},
        bootstrap=np.mean([each.bootstrap for each in scored], axis=0),
        empty=empty,
        n_matches=round(float(np.mean([each.n_matches for each in scored]))),
    )


def _resampled(
    a: HalfLatents,
    b: HalfLatents,
    matching: Matching,
    condition: str,
    weights: Float[np.ndarray, "draws documents"],
) -> Float[np.ndarray, " draws"]:
    """Sum over pairs of r_w on each resample of documents; matches and type means held fixed."""
    if not len(weights) or not len(matching.index_a):
        return np.zeros(len(weights))
    cross = weights @ document_sums(a, b, matching.index_a, matching.index_b, condition)
    squares_a = (weights @ a.document_squares(condition))[:, matching.index_a]
    squares_b = (weights @ b.document_squares(condition))[:, matching.index_b]
    scale = np.sqrt(np.maximum(squares_a, 0.0) * np.maximum(squares_b, 0.0))
    # A pair that is 0 on the whole half for want of variance stays 0: its residuals are rounding.
    norms = a.norms(condition)[matching.index_a] * b.norms(condition)[matching.index_b]
    varies = (norms > 0) & (scale > _ROUNDING * norms)
    return np.divide(cross, scale, out=np.zeros_like(cross), where=varies).sum(axis=1)
