"""Kernels of paired rows: debiased linear CKA, split into the work per space and per pair of spaces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.subspace import centred

_MIN_PAIRS = 4
"""HSIC_1 averages over quadruples of different rows"""

_EPS = float(np.finfo(np.float64).eps)


class CentredGram(NamedTuple):
    """The U-centred linear kernel of one space, made once and used for every pairing."""

    entries: Float[np.ndarray, "pairs pairs"]
    """inner products of rows, U-centred: zero diagonal, and every row and column sums to 0"""

    self_hsic: float
    """HSIC_1 of the space with itself, > 0; 0 where it is undefined (rows alike, or fewer than 4)"""


def gram(x: Float[np.ndarray, "pairs d"]) -> CentredGram:
    """The U-centred Gram matrix of the rows of `x` (Szekely and Rizzo 2014, eq. 3.1, with the linear kernel).

    The mean entrywise product of two of them is the unbiased HSIC_1 of Song et al. 2012, eq. 5: the same
    number, but a permutation of rows is a permutation of entries. O(n^2 d) time, n^2 numbers kept.
    """
    x, n = centred(x), len(x)
    if n < _MIN_PAIRS:
        return CentredGram(np.zeros((n, n)), 0.0)
    entries = x @ x.T
    trace = np.trace(entries)
    np.fill_diagonal(entries, 0.0)
    rows = entries.sum(axis=1)
    entries -= (rows[:, None] + rows[None, :]) / (n - 2) - rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(entries, 0.0)
    squares = float(np.vdot(entries, entries))
    # Rows at equal distances of one another (orthonormal decoders) have no structure: only rounding is left.
    structured = squares > (n * _EPS * trace) ** 2
    return CentredGram(entries, squares / (n * (n - 3)) if structured else 0.0)


def debiased_cka_of_grams(
    gram_a: CentredGram, gram_b: CentredGram, *, permutation: Int[np.ndarray, " pairs"] | None = None
) -> float | None:
    """`debiased_cka` of two spaces given their Gram matrices, row i of A paired with row permutation[i] of B.

    None where a space has no structure of its own. O(n^2) time.
    """
    n, scale = len(gram_a.entries), gram_a.self_hsic * gram_b.self_hsic
    if scale <= 0:
        return None
    entries_b = gram_b.entries if permutation is None else gram_b.entries[np.ix_(permutation, permutation)]
    return float(np.vdot(gram_a.entries, entries_b)) / (n * (n - 3)) / float(np.sqrt(scale))


def debiased_cka(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "pairs d_b"]) -> float | None:
    """Debiased linear CKA of paired rows: HSIC_1(x, y) / sqrt(HSIC_1(x, x) HSIC_1(y, y)), up = alike.

    1 for a rotated, shifted or isotropically scaled copy, 0 on average for independent rows (so slightly
    negative values occur; the biased estimator gives d / (n + d)); symmetric; at most 1. None where it is
    undefined: fewer than 4 rows, or a space whose rows do not differ in structure (a denominator of 0).
    Song et al. 2012, eq. 5; Nguyen et al. 2021, eq. 3. Columns are centred first: HSIC_1 is invariant to
    translation by itself, this only avoids cancellation. Cost: the cheaper of O(n^2 d) and O(n d^2).
    """
    n, d_a, d_b = len(x), x.shape[1], y.shape[1]
    if n * (d_a + d_b) <= d_a**2 + d_b**2 + d_a * d_b:
        return debiased_cka_of_grams(gram(x), gram(y))
    x, y = centred(x), centred(y)
    self_x, self_y = _self_hsic(x), _self_hsic(y)
    if self_x <= 0 or self_y <= 0:
        return None
    return _hsic(x, y) / float(np.sqrt(self_x * self_y))


def _hsic(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "pairs d_b"]) -> float:
    """HSIC_1 of centred columns without an n x n matrix."""
    n = len(x)
    # Rows of the full kernel sum to 0, so without its diagonal row i sums to -|x_i|^2.
    a, b = (x**2).sum(axis=1), (y**2).sum(axis=1)
    trace = np.linalg.norm(x.T @ y) ** 2 - a @ b
    total = trace + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a @ b)
    return float(total) / (n * (n - 3))


def _self_hsic(x: Float[np.ndarray, "pairs d"]) -> float:
    n = len(x)
    if n < _MIN_PAIRS:
        return 0.0
    hsic = _hsic(x, x)
    # The sums that cancel are of the order of trace^2.
    return hsic if hsic > n * _EPS * float((x**2).sum()) ** 2 / (n * (n - 3)) else 0.0
