"""Kernels of paired rows: debiased linear CKA, and what pairings at random give in closed form."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.inputs import require_pairs
from saeuniv.numerics.subspace import centred, repaired_product

_MIN_PAIRS = 4
"""HSIC_1 averages over quadruples of different rows"""

_EPS = float(np.finfo(np.float64).eps)

# Entries of a Gram matrix above which a permutation is cheaper, or smaller, through the d_a x d_b product.
_MOST_GRAM_ROWS = 8192
_GRAM_ENTRIES_PER_ROW = 60


class Moments(NamedTuple):
    """Mean and standard deviation of a statistic over all pairings, without drawing one."""

    mean: float
    """mean over all n! pairings"""

    std: float
    """standard deviation over all n! pairings, >= 0"""


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


def debiased_cka(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]) -> float | None:
    """Debiased linear CKA of paired rows: HSIC_1(x, y) / sqrt(HSIC_1(x, x) HSIC_1(y, y)), up = alike.

    1 for a rotated, shifted or isotropically scaled copy, 0 on average for independent rows (so slightly
    negative values occur; the biased estimator gives d / (n + d)); symmetric; at most 1. None where it is
    undefined: fewer than 4 rows, or a space whose rows do not differ in structure (a denominator of 0).
    Song et al. 2012, eq. 5; Nguyen et al. 2021, eq. 3. Columns are centred first: HSIC_1 is invariant to
    translation by itself, this only avoids cancellation. Cost: the cheaper of O(n^2 d) and O(n d^2).
    """
    require_pairs(x, y)
    n, d_a, d_b = len(x), x.shape[1], y.shape[1]
    if n * (d_a + d_b) <= d_a**2 + d_b**2 + d_a * d_b:
        return debiased_cka_of_grams(gram(x), gram(y))
    x, y = centred(x), centred(y)
    self_x, self_y = _self_hsic(x), _self_hsic(y)
    if self_x <= 0 or self_y <= 0:
        return None
    return _hsic(x, y) / float(np.sqrt(self_x * self_y))


def repaired_debiased_cka(
    x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]
) -> Callable[[Int[np.ndarray, " pairs"]], float | None]:
    """`debiased_cka(x, y[order])` as a function of `order`, to within 1e-7.

    What does not depend on the pairing is computed once. A call costs the cheaper of n^2 reads and one
    n x d_a x d_b product (in single precision where that is large).
    """
    require_pairs(x, y)
    n = len(x)
    if n <= _MOST_GRAM_ROWS and _GRAM_ENTRIES_PER_ROW * n < x.shape[1] * y.shape[1]:
        gram_x, gram_y = gram(x), gram(y)
        return lambda order: debiased_cka_of_grams(gram_x, gram_y, permutation=order)
    x, y = centred(x), centred(y)
    scale = float(np.sqrt(_self_hsic(x) * _self_hsic(y)))
    if scale <= 0:
        return lambda order: None
    product, a, b = repaired_product(x, y), (x**2).sum(axis=1), (y**2).sum(axis=1)

    def repaired(order: Int[np.ndarray, " pairs"]) -> float:
        return _hsic_of(float(np.linalg.norm(product(order))), a, b[order]) / scale

    return repaired


def debiased_cka_moments(n: int) -> Moments:
    """Mean 0 and standard deviation sqrt(2 / (n (n - 3))) of `debiased_cka` over pairings of any two spaces.

    Exact. A U-centred matrix has a zero diagonal and rows that sum to 0, so that in the variance of
    sum a_ij b_p(i)p(j) (Mantel 1967) every term is a multiple of sum a_ij^2 sum b_ij^2, which cancels.

    Raises:
        ValueError: fewer than 4 rows, of which there is no debiased CKA.
    """
    _require_rows(n)
    return Moments(0.0, float(np.sqrt(2 / (n * (n - 3)))))


def pc1_moments(n: int) -> Moments:
    """Mean and standard deviation of `subspace.pc1_abs_corr` over pairings, of the folded normal.

    The correlation of two fixed directions has mean 0 and variance 1 / (n - 1) over pairings, exactly, and
    is nearly normal from a few dozen rows on unless one row is most of a direction.

    Raises:
        ValueError: fewer than 4 rows.
    """
    _require_rows(n)
    return Moments(float(np.sqrt(2 / (np.pi * (n - 1)))), float(np.sqrt((1 - 2 / np.pi) / (n - 1))))


def permutation_moments(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]) -> Moments:
    """Mean and standard deviation of |X' P Y|_F^2 over all pairings P, X and Y centred; exact.

    It is the numerator of biased linear CKA, and of orthonormal bases the sum of squared canonical
    correlations. Invariant to rotation and translation of either side. O(n d^2) time, no draws.
    Kazi-Aoual et al. 1995, as in Josse, Pages and Husson 2008, section 3.

    Raises:
        ValueError: different numbers of rows, or fewer than 4.
    """
    require_pairs(x, y)
    n = len(x)
    _require_rows(n)
    (trace_x, square_x, rows_x), (trace_y, square_y, rows_y) = _invariants(x), _invariants(y)
    mean = trace_x * trace_y / (n - 1)
    spread = ((n - 1) * square_x - trace_x**2) * ((n - 1) * square_y - trace_y**2)
    tails_x = n * (n + 1) * rows_x - (n - 1) * (trace_x**2 + 2 * square_x)
    tails_y = n * (n + 1) * rows_y - (n - 1) * (trace_y**2 + 2 * square_y)
    variance = 2 * spread / ((n - 1) ** 2 * (n + 1) * (n - 2))
    variance += tails_x * tails_y / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
    return Moments(mean, float(np.sqrt(max(variance, 0.0))))


class _Invariants(NamedTuple):
    trace: float
    square: float
    """squared Frobenius norm of the kernel"""

    rows: float
    """sum of squares of its diagonal"""


def _invariants(x: Float[np.ndarray, "pairs d"]) -> _Invariants:
    x = centred(x)
    product = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    lengths = (x**2).sum(axis=1)
    return _Invariants(float(lengths.sum()), float(np.vdot(product, product)), float(lengths @ lengths))


def _require_rows(n: int) -> None:
    if n < _MIN_PAIRS:
        raise ValueError(
            f"rows: expected at least {_MIN_PAIRS} pairs of rows, got {n}; the variance over pairings needs "
            f"four different ones. Add pairs."
        )


def _hsic(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "pairs d_b"]) -> float:
    """HSIC_1 of centred columns without an n x n matrix."""
    return _hsic_of(float(np.linalg.norm(x.T @ y)), (x**2).sum(axis=1), (y**2).sum(axis=1))


def _hsic_of(norm: float, a: Float[np.ndarray, " pairs"], b: Float[np.ndarray, " pairs"]) -> float:
    """HSIC_1 from |X'Y| and the squared lengths of rows, columns centred."""
    n = len(a)
    # Rows of the full kernel sum to 0, so without its diagonal row i sums to -|x_i|^2.
    trace = norm**2 - a @ b
    total = trace + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a @ b)
    return float(total) / (n * (n - 3))


def _self_hsic(x: Float[np.ndarray, "pairs d"]) -> float:
    n = len(x)
    if n < _MIN_PAIRS:
        return 0.0
    hsic = _hsic(x, x)
    # The sums that cancel are of the order of trace^2.
    return hsic if hsic > n * _EPS * float((x**2).sum()) ** 2 / (n * (n - 3)) else 0.0
