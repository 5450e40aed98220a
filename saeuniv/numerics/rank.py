"""Representational similarity analysis: rank correlation of the similarities within two spaces.

Kriegeskorte, Mur and Bandettini 2008. Each space is ranked once; another pairing of the same rows only reads
one of the tables of ranks in another order.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, Int16

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.row_similarity import STEPS, Inner, similarity_blocks

_MIN_ROWS = 4
"""Three rows have three similarities, whose ranks agree by chance once in six."""

_LEVELS = (1 << 16) - 1

_FEW = 1 << 16
"""Pairs of rows up to which a search among their places costs less than the pages of a table."""


class RankedGram(NamedTuple):
    """The ranked similarities of the rows of one space, made once and used for every pairing."""

    ranks: Int16[np.ndarray, "pairs pairs"]
    """Mid-rank of each similarity among those above the diagonal, from -32,768 (least) to 32,767; symmetric,
    0 on the diagonal."""

    total: int
    """Sum over the pairs of rows above the diagonal."""

    variation: int
    """Number of pairs of rows times the sum of squares, less the total squared; 0: all similarities alike."""


def rsa_basis(x: Float[np.ndarray, "pairs d"] | sp.csr_array, *, inner: Inner) -> RankedGram:
    """The similarities of the rows of `x`, ranked.

    `cosine` is the same for every rotation of the space and every length of a row. `pearson` is Pearson's r
    of two rows over dimensions, as in the code of the published analysis: not invariant to rotation.

    Ranks are those of similarities to 2^-22, ties at their mean, rounded to one of 65,536 levels.
    Roundings of different ranks average out: the correlation of N rows is off by some 1e-5 / N (measured:
    3e-8 at N = 2500), and by some 1e-5 at any N where the pairs share a few values. Levels of the
    similarity itself would not do: in 768 dimensions most lie within 0.1 of 0.
    O(N^2 d) time; 2 N^2 bytes, and twice that while they are made.

    Raises:
        ValueError: an entry that is not finite, or `pearson` of sparse rows.
    """
    n = int(x.shape[0])
    places = np.empty(n * (n - 1) // 2, np.int32)
    for block in similarity_blocks(x, inner=inner, upper=True):
        _place(block.entries, block.first, n, places)
    occupied, counts = np.unique(places, return_counts=True)
    levels = _levels(counts)
    if len(places) <= _FEW:
        places, table = np.searchsorted(occupied, places).astype(np.int32), levels.astype(np.int16)
    else:
        # As long as there are places, but only its occupied pages take memory.
        table = np.zeros(2 * STEPS + 1, np.int16)
        table[occupied] = levels
    ranks = np.zeros((n, n), np.int16)
    _spread(places, table, ranks)
    total, squares = int(counts @ levels), int(counts @ levels**2)
    return RankedGram(ranks, total, len(places) * squares - total * total)


def rsa(
    a: RankedGram, b: RankedGram, *, permutation: Int[np.ndarray, " pairs"] | None = None
) -> float | None:
    """Spearman's correlation of the similarities within A with those within B, in [-1, 1]; up = alike.

    Row i of A is paired with row `permutation[i]` of B (row i without one). Symmetric; 1 for a copy; 0 on
    average for rows paired at random. Invariant as the similarity that was ranked. None where it is
    undefined: fewer than 4 rows, or a space whose similarities are all alike. Pairs of rows are dependent:
    judge it by permuting rows, never by the t-test of a correlation. N^2 / 2 reads; integer sums, hence
    the same bits in any order. Kriegeskorte et al. 2008.

    Raises:
        ValueError: spaces of different numbers of rows, or no permutation of these.
    """
    n = len(a.ranks)
    if len(b.ranks) != n:
        raise ValueError(f"b: expected {n} rows as in a, got {len(b.ranks)}. Pair the rows first.")
    order = checked_permutation(permutation, n)
    if n < _MIN_ROWS or not a.variation or not b.variation:
        return None
    products = int(_paired_sum(a.ranks, b.ranks, order.astype(np.uint32)))
    covariation = n * (n - 1) // 2 * products - a.total * b.total
    rho = covariation / (math.sqrt(a.variation) * math.sqrt(b.variation))
    return max(-1.0, min(1.0, rho))


def checked_permutation(permutation: Int[np.ndarray, " pairs"] | None, n: int) -> Int[np.ndarray, " pairs"]:
    """`permutation`, or the identity in its place.

    Raises:
        ValueError: if it is no permutation of 0..n-1.
    """
    if permutation is None:
        return np.arange(n)
    seen = np.zeros(n, np.bool_)
    for position in np.flatnonzero((permutation < 0) | (permutation >= n))[:1]:
        raise ValueError(
            f"permutation: expected rows 0..{n - 1}, got {permutation[position]} at [{position}]."
        )
    seen[permutation] = True
    if len(permutation) != n or not seen.all():
        missing = f", without row {int(np.argmin(seen))}" if not seen.all() else ""
        raise ValueError(
            f"permutation: expected each of the {n} rows once, got {len(permutation)} entries{missing}. "
            f"Draw it by Generator.permutation({n})."
        )
    return permutation


def _levels(counts: Int[np.ndarray, " places"]) -> Int[np.ndarray, " places"]:
    """The mid-rank of what is in each place, the places in ascending order, on a scale of 65,536 levels."""
    mid_ranks = np.cumsum(counts) - (counts + 1) / 2
    spread = mid_ranks * (_LEVELS / max(int(counts.sum()) - 1, 1))
    return np.rint(spread).astype(np.int64) - (_LEVELS + 1) // 2


@compiled
@no_type_check
def _place(entries, first, n, places):
    """The place of each similarity right of the diagonal among 2 STEPS + 1."""
    for row in range(entries.shape[0]):
        i = first + row
        start = i * (n - 1) - i * (i - 1) // 2 - i - 1
        for j in range(i + 1, n):
            place = np.int32(np.rint(entries[row, j - first] * np.float32(STEPS))) + STEPS
            places[start + j] = min(max(place, 0), 2 * STEPS)


@compiled
@no_type_check
def _spread(places, table, ranks):
    """Ranks of the pairs above the diagonal, written on both sides of it."""
    n = ranks.shape[0]
    pair = 0
    for i in range(n):
        for j in range(i + 1, n):
            level = table[places[pair]]
            ranks[i, j] = level
            ranks[j, i] = level
            pair += 1


@compiled
@no_type_check
def _paired_sum(ranks_a, ranks_b, order):
    """Sum over i < j of ranks_a[i, j] * ranks_b[order[i], order[j]]."""
    n = ranks_a.shape[0]
    total = np.int64(0)
    for i in range(n):
        own, partner = ranks_a[i], ranks_b[order[i]]
        for j in range(i + 1, n):
            total += np.int32(own[j]) * np.int32(partner[order[j]])
    return total
