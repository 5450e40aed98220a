"""Held-out correlations: the match is chosen on one half of the documents and scored on the other.

Value = weighted mean over eligible latents i of s_i = r_w(i, m(i)) on the evaluation half, where m(i) is
the best partner on the match half; both halves serve in turn, and both directions (docs/statistics.md B).
Unbiased for the correlation of the chosen match: under no relation its mean is 0 at any width.
An unmatched latent (no positive partner) scores 0 and counts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.metrics.base import DOCUMENT_SHIFT, Measurement, undefined
from saeuniv.metrics.layer_pair import Draws, LayerPair
from saeuniv.numerics.assignment import Matching, max_similarity
from saeuniv.numerics.correlation import Evidence, document_sums, pair_correlations
from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.nulls import shifted_pair_correlations

MIN_SHIFTS = 99

# Share of a pair's variance on the whole half below which that of a resample is rounding.
_ROUNDING = 1e-12

# Pairs whose sums over documents and resamples are held at once: 1000 x 512 float64 are 4 MiB.
_BLOCK_PAIRS = 512


class Summary(NamedTuple):
    """How the held-out correlations of all latents become one number."""

    above: float | None = None
    """Count the latents whose r is above this instead of averaging r."""

    by_mass: bool = False
    """Weigh each latent by its activation mass on the half that is scored, instead of all alike."""

    def weights(self, side: HalfLatents) -> Float[np.ndarray, " latents"]:
        """Weight of each latent; they add up to 1."""
        if not self.by_mass:
            return np.full(side.n_latents, 1.0 / max(side.n_latents, 1))
        return side.mass / side.mass.sum()

    def of(self, r: Float[np.ndarray, "*draws pairs"]) -> Float[np.ndarray, "*draws pairs"]:
        """What each correlation counts for."""
        return r if self.above is None else (r > self.above).astype(np.float64)


MEAN = Summary()


class Scored(NamedTuple):
    """Fixed matches scored on one half."""

    value: float
    """Weighted sum over the pairs; latents without a pair add 0."""

    null: Float[np.ndarray, " shifts"]
    bootstrap: Float[np.ndarray, " draws"]
    n_matches: int


def cross_fitted(
    pair: LayerPair, condition: str, *, null: bool, summary: Summary = MEAN
) -> tuple[Measurement, ...]:
    """The held-out correlation of each latent's best match, in [-1, 1], a_to_b, b_to_a and both.

    Args:
        pair: the layers.
        condition: rows of a group share this; `none` for Pearson's r.
        null: also evaluate all document shifts (N3a).
        summary: mean over latents, share of them above a bound, or mean by activation mass.
    """
    if reason := pair.undefined(condition):
        return undefined(reason)
    folds: dict[str, list[Scored]] = {"a_to_b": [], "b_to_a": []}
    for match_half, eval_half in ((0, 1), (1, 0)):
        found = pair.candidates(match_half, Evidence("pearson", condition), top_m=1)
        forward, backward = max_similarity(found), max_similarity(found.exchanged())
        a, b = (side.halves[eval_half] for side in (pair.a, pair.b))
        weights = summary.weights(a)[forward.index_a]
        folds["a_to_b"].append(
            score(pair, forward, eval_half, condition, weights, summary=summary, null=null)
        )
        weights = summary.weights(b)[backward.index_a]
        backward = backward._replace(index_a=backward.index_b, index_b=backward.index_a)
        folds["b_to_a"].append(
            score(pair, backward, eval_half, condition, weights, summary=summary, null=null)
        )
    each = [average(direction, scored, pair.draws, null=null) for direction, scored in folds.items()]
    return (*each, average("both", [*folds["a_to_b"], *folds["b_to_a"]], pair.draws, null=null))


def score(
    pair: LayerPair,
    matching: Matching,
    half: int,
    condition: str,
    weights: Float[np.ndarray, " pairs"],
    *,
    null: bool,
    summary: Summary = MEAN,
) -> Scored:
    """Fixed matches scored on a half they were not chosen on, with null and bootstrap draws.

    Pairs are taken in blocks: memory does not grow with their number.
    """
    a, b = pair.a.halves[half], pair.b.halves[half]
    resamples = pair.draws.weights[half]
    value, bootstrap = 0.0, np.zeros(len(resamples))
    for start in range(0, len(matching.index_a), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        index_a, index_b = matching.index_a[block], matching.index_b[block]
        cross = document_sums(a, b, index_a, index_b, condition)
        r = pair_correlations(a, b, index_a, index_b, condition, cross=cross)
        value += float(weights[block] @ summary.of(r))
        if len(resamples):
            scale = a.norms(condition)[index_a] * b.norms(condition)[index_b]
            squares_a = document_sums(a, a, index_a, index_a, condition)
            squares_b = document_sums(b, b, index_b, index_b, condition)
            r = _resampled(resamples, cross, squares_a, squares_b, scale)
            bootstrap += summary.of(r) @ weights[block]
    return Scored(
        value=value,
        null=_shifted(pair, matching, half, condition, weights, summary) if null else np.empty(0),
        bootstrap=bootstrap,
        n_matches=len(matching.index_a),
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


def _shifted(
    pair: LayerPair,
    matching: Matching,
    half: int,
    condition: str,
    weights: Float[np.ndarray, " pairs"],
    summary: Summary,
) -> Float[np.ndarray, " shifts"]:
    """The statistic at every admissible document shift.

    In the data a row of a group of one is 0 on both sides at once; under a shift it meets another row, which
    drops out too. Divided by the root of the degrees of freedom left, the shifted correlations have the
    spread that those of unrelated latents have in the data.
    """
    total, done = np.zeros(len(pair.draws.shifts)), 0
    spread = np.sqrt(pair.a.halves[half].half.groups[condition].df_share)
    for r in shifted_pair_correlations(
        pair.a.halves[half],
        pair.b.halves[half],
        matching.index_a,
        matching.index_b,
        condition=condition,
        n_sequences=pair.draws.n_sequences,
    ):
        total += weights[done : done + len(r)] @ summary.of(r[:, pair.draws.shifts] / spread)
        done += len(r)
    return total


def _resampled(
    resamples: Float[np.ndarray, "draws documents"],
    cross: Float[np.ndarray, "pairs documents"],
    squares_a: Float[np.ndarray, "pairs documents"],
    squares_b: Float[np.ndarray, "pairs documents"],
    scale: Float[np.ndarray, " pairs"],
) -> Float[np.ndarray, "draws pairs"]:
    """r_w of each pair on each resample of documents; matches and type means held fixed."""
    covariance = resamples @ cross.T
    variances = np.maximum(resamples @ squares_a.T, 0.0) * np.maximum(resamples @ squares_b.T, 0.0)
    drawn = np.sqrt(variances)
    # A pair that is 0 on the whole half for want of variance stays 0: its residuals are rounding.
    varies = (scale > 0) & (drawn > _ROUNDING * scale)
    return np.divide(covariance, drawn, out=np.zeros_like(covariance), where=varies)
