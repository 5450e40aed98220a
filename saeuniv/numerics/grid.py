"""Statements over a whole grid of layer pairs: is some cell aligned, is the diagonal, which is the best.

Cells of one comparison share their draws: draw s of each is the same document shift, draw r the same resample
of documents. So the dependence of cells, which share layers, is in the draws (docs/statistics.md H).
"""

import itertools
import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeuniv.numerics.inputs import require_finite
from saeuniv.numerics.statistics import Interval, percentile_interval

# Sums of the same numbers in another order differ by this much at most: they are ties.
_ROUNDING = 1e-12

# cells / level is often a whole number that floating point puts just above.
_WHOLE = 1e-9


class MaxStatistic(NamedTuple):
    """The largest studentised value of a grid against the largest of each null draw."""

    p: Float[np.ndarray, " cells"]
    """adjusted p of each cell, in (0, 1]; NaN where the cell is no member"""

    p_any: float
    """p of "no cell at all is aligned": the smallest of `p`"""

    z: Float[np.ndarray, " cells"]
    """the value, studentised by draws and value together; NaN where the cell is no member"""

    critical: float | None
    """cells with z above it have p <= level; None where there are too few draws for any rejection"""

    members: int
    """cells that have a value and null draws; the others are left out"""


class Mantel(NamedTuple):
    """How much more alike layers of like depth are."""

    correlation: float
    """of similarity with minus the depth difference, beyond effects of single layers; in [-1, 1]"""

    p: float
    """share of permutations of one side's layers that reach it, itself counted; one-sided"""

    permutations: int
    """all n! of them where they are few, otherwise as many as were drawn"""


class BestCell(NamedTuple):
    """Which cell is the largest, and how sure that is over documents."""

    best: int
    """the largest value; of equals the first"""

    shares: Float[np.ndarray, " cells"]
    """share of the bootstrap draws in which the cell is the largest (equals share a draw); sums to 1"""

    runner_up: int
    """the second largest value; of equals the first"""

    difference: float
    """of the largest to the second"""

    interval: Interval
    """of that difference"""

    not_excluded: Bool[np.ndarray, " cells"]
    """cells that may be the best: a confidence set, `best` always in it"""


def max_statistic(
    values: Float[np.ndarray, " cells"], draws: Float[np.ndarray, "draws cells"], *, level: float
) -> MaxStatistic:
    """Single-step adjusted p of each cell under draws that all cells share (Westfall and Young 1993, 2.8).

    Each cell is studentised, z = (value - mean) / sd, by the mean and standard deviation of its draws AND its
    value: the value is then one of R + 1 exchangeable numbers, and p = (1 + #{draws s: max over cells of
    z_s >= z}) / (1 + R) is exact at any R. Studentised by its draws alone, the value would stick out of an
    sd that it was no part of, and p would be too small. Rejecting p <= a keeps the probability of any false
    rejection <= a, also where other cells are aligned: their draws enter the maximum and can only raise p.
    Not studentised, the maximum would be that of the noisiest cell. Unchanged by shifting or scaling any
    one cell. Says that a cell is aligned, not which is best: `argmax_stability`.

    A cell whose value, or all of whose draws, are NaN is no member. Cost: draws x cells.

    Raises:
        ValueError: no draw, no member, an infinite number, or a cell with draws of which some are NaN.
    """
    member = _members(values, draws)
    pooled = np.vstack([draws[:, member], values[member]])
    spread = pooled.std(axis=0)
    # The mean of equal numbers may differ from them by rounding, which is no deviation.
    varies = np.ptp(pooled, axis=0) > 0
    z = np.where(varies, pooled - pooled.mean(axis=0), 0.0) / np.where(varies, spread, 1.0)
    largest = np.sort(z[:-1].max(axis=1))
    n_draws = len(largest)
    p = (1 + n_draws - np.searchsorted(largest, z[-1], side="left")) / (1 + n_draws)
    allowed = math.floor(level * (1 + n_draws) + _WHOLE) - 1
    spread_out = np.full((2, len(values)), np.nan)
    spread_out[:, member] = p, z[-1]
    return MaxStatistic(
        p=spread_out[0],
        p_any=float(p.min()),
        z=spread_out[1],
        critical=float(largest[n_draws - 1 - allowed]) if 0 <= allowed < n_draws else None,
        members=int(member.sum()),
    )


def mantel_diagonality(
    values: Float[np.ndarray, "layers_a layers_b"],
    depth_a: Float[np.ndarray, " layers_a"],
    depth_b: Float[np.ndarray, " layers_b"],
    *,
    draws: int,
    seed: int,
) -> Mantel | None:
    """Correlation of similarity with -|depth_a - depth_b|, and its p under permuted layers (Mantel 1967).

    Row and column means are removed from both first: middle layers have the smallest mean depth difference,
    so middle layers that are alike with everything would look like a diagonal. Unchanged by adding a number
    to a row or column, by scaling all values, and by the unit of depth. None where nothing is left of
    either: a side with one layer, or values that are sums of row and column effects.

    Layers of the longer side (of equals, B) are permuted: all n! orders where these are at most `draws` + 1,
    else `draws` of them, draw r from the generator (seed, r), and p = (1 + number reaching) / (1 + draws).
    Layers of one model are not exchangeable, as neighbours share a residual stream: p is descriptive, and
    too small for values that vary smoothly over layers (docs/statistics.md H).

    Cost: draws x layers after one product of layers^3.

    Raises:
        ValueError: a value or depth that is not finite.
    """
    require_finite(values, "values", fix="Leave out layers with undefined cells first.")
    require_finite(depth_a, "depth_a", fix="Give every layer a depth.")
    require_finite(depth_b, "depth_b", fix="Give every layer a depth.")
    similarity = _interaction(values)
    nearness = _interaction(-np.abs(depth_a[:, None] - depth_b[None, :]))
    scale = math.sqrt(float((similarity**2).sum() * (nearness**2).sum()))
    if scale == 0:
        return None
    # Entry (k, l): the part of the sum when layer k stands in place of layer l.
    swapped = nearness.T @ similarity if values.shape[1] >= values.shape[0] else nearness @ similarity.T
    orders, is_exact = _orders(len(swapped), draws=draws, seed=seed)
    permuted = swapped[np.arange(len(swapped)), orders].sum(axis=1) / scale
    correlation = float(np.trace(swapped)) / scale
    reaching = int((permuted >= correlation - _ROUNDING).sum())
    p = reaching / len(orders) if is_exact else (1 + reaching) / (1 + len(orders))
    return Mantel(max(-1.0, min(1.0, correlation)), p, len(orders))


def argmax_stability(
    values: Float[np.ndarray, " cells"], draws: Float[np.ndarray, "draws cells"], *, confidence: float
) -> BestCell:
    """Which cell has the largest value, and how stable that is over bootstrap draws that all cells share.

    The interval is of the lead over the runner-up alone. `not_excluded` is over all: cell c is in it unless
    the lead of another cell, max_j (v_j - v_c), exceeds the `confidence` quantile of
    max_j ((d_j - v_j) - (d_c - v_c)). It holds the truly best cell with about that probability, whatever
    the dependence of cells (multiple comparisons with the best, Hsu 1981, by bootstrap). Both are
    conditional on what is resampled: documents, not models. Unchanged by adding a number to all cells.

    Cost: draws x cells.

    Raises:
        ValueError: fewer than two cells, no draw, or a number that is not finite.
    """
    if len(values) < 2 or not len(draws):
        raise ValueError(
            f"values, draws: expected at least 2 cells and 1 draw, got {len(values)} cells and {len(draws)} "
            f"draws. There is no runner-up, or nothing to resample."
        )
    require_finite(values, "values", fix="Leave out undefined cells first.")
    require_finite(draws, "draws", fix="Leave out cells without bootstrap draws first.")
    best, runner_up = map(int, np.argsort(-values, kind="stable")[:2])
    winners = draws == draws.max(axis=1, keepdims=True)
    error = draws - values
    # max_j of the difference of errors: the largest error does not depend on the cell it is compared with.
    lead = np.quantile(error.max(axis=1, keepdims=True) - error, confidence, axis=0)
    return BestCell(
        best=best,
        shares=(winners / winners.sum(axis=1, keepdims=True)).mean(axis=0),
        runner_up=runner_up,
        difference=float(values[best] - values[runner_up]),
        interval=percentile_interval(draws[:, best] - draws[:, runner_up], confidence=confidence),
        not_excluded=values.max() - values <= lead,
    )


def draws_needed(cells: int, level: float, *, dependence: Literal["positive", "any"]) -> int:
    """The fewest null draws with which one cell of `cells` can be rejected at false discovery rate `level`.

    The smallest p is 1 / (R + 1). Benjamini-Hochberg (positive dependence) needs it <= level / cells;
    Benjamini-Yekutieli (any dependence) divides further by the sum of 1 / i. 319 for 16 cells at .05.

    Raises:
        ValueError: no cell, or a level outside (0, 1).
    """
    if cells < 1 or not 0 < level < 1:
        raise ValueError(f"cells={cells}, level={level}: expected at least 1 cell and a level in (0, 1).")
    harmonic = sum(1 / i for i in range(1, cells + 1)) if dependence == "any" else 1.0
    return math.ceil(cells * harmonic / level - 1 - _WHOLE)


def _members(
    values: Float[np.ndarray, " cells"], draws: Float[np.ndarray, "draws cells"]
) -> Bool[np.ndarray, " cells"]:
    """Cells with a value and draws; refuses what is neither a cell nor none."""
    if not len(draws):
        raise ValueError("draws: expected at least 1, got 0; a p-value needs one. Ask for more draws.")
    member = ~np.isnan(values) & ~np.isnan(draws).all(axis=0)
    if not member.any():
        raise ValueError(
            f"values: expected at least 1 cell with a value and null draws, got none of {len(values)}."
        )
    for name, numbers in (("values", values), ("draws", draws)):
        require_finite(np.where(member, numbers, 0.0), name, fix="Set all of a cell to NaN to leave it out.")
    return member


def _interaction(matrix: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """What is left without row and column means; exactly 0 where only rounding is."""
    rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0, keepdims=True)
    left = matrix - rows - columns + matrix.mean()
    return np.where(np.abs(left) > _ROUNDING * np.abs(matrix).max(initial=0.0), left, 0.0)


def _orders(n: int, *, draws: int, seed: int) -> tuple[Int[np.ndarray, "orders n"], bool]:
    """Orders of n layers, and whether these are all there are."""
    if n < 20 and math.factorial(n) <= draws + 1:
        return np.array(list(itertools.permutations(range(n)))), True
    return np.array([np.random.default_rng([seed, r]).permutation(n) for r in range(draws)]), False
