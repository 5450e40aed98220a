"""Mutual nearest neighbours: whether a row has the same neighbours in two spaces.

Huh, Cheung, Wang and Isola 2024 (arXiv 2405.07987), section 3.1 and appendix A. The neighbours of each space
are looked for once; another pairing of the same rows only renames those of one space.
"""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, Int32

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.rank import checked_permutation
from saeuniv.numerics.row_similarity import STEPS, similarity_blocks


class Neighbours(NamedTuple):
    """The k nearest rows of every row of one space, made once and used for every pairing."""

    nearest: Int32[np.ndarray, "pairs k"]
    """Nearest first; -1 where a row has fewer than k candidates."""

    n_candidates: Int[np.ndarray, " pairs"]
    """How many rows each row could choose from."""

    distinct: Bool[np.ndarray, " pairs"]
    """Whether the k nearest of a row are nearer than all others; False where a tie was cut."""

    @property
    def chance(self) -> float | None:
        """What `mutual_knn` gives on average where the spaces are unrelated: mean of k / candidates.

        Exact where both spaces leave out the same rows. None where some row has no choice.
        """
        k = self.nearest.shape[1]
        return float((k / self.n_candidates).mean()) if _has_choice(self) else None


def neighbours(
    x: Float[np.ndarray, "pairs d"] | sp.csr_array,
    *,
    k: int,
    labels: Int[np.ndarray, " labels"] | None,
) -> Neighbours:
    """The k rows of largest cosine with each row, the row itself left out.

    Invariant to rotation and to the length of each row, and to every increasing function of the cosine.
    Cosines that agree to 2^-22 are ties: the lowest index comes first, and `distinct` says where that decided
    who is among the k. O(n^2 d) time and n k numbers.

    Args:
        x: `rows x dimensions`; a row of zeros has cosine 0 with every row.
        k: neighbours of each row.
        labels: rows of the same label (document) are no neighbours; None: any row is.

    Raises:
        ValueError: k below 1, labels of another number of rows, or an entry that is not finite.
    """
    n = int(x.shape[0])
    if k < 1:
        raise ValueError(f"k={k}: expected at least 1 neighbour, got {k}. Choose 10.")
    if labels is not None and len(labels) != n:
        raise ValueError(f"labels: expected {n}, one a row, got {len(labels)}.")
    own = np.arange(n) if labels is None else np.unique(labels, return_inverse=True)[1]
    index, distinct = np.full((n, k), -1, np.int32), np.zeros(n, bool)
    for block in similarity_blocks(x, inner="cosine", upper=False):
        _nearest(block.entries, block.first, own, index, distinct, np.empty(k, np.int64))
    return Neighbours(index, n - np.bincount(own, minlength=1)[own], distinct)


def mutual_knn(
    a: Neighbours, b: Neighbours, *, permutation: Int[np.ndarray, " pairs"] | None = None
) -> float | None:
    """Mean over rows of the share of their k neighbours that they have in both spaces, in [0, 1]; up = alike.

    Row i of A is paired with row `permutation[i]` of B (row i without one). Symmetric; 1 for a copy;
    `a.chance` for unrelated spaces, never 0. Over the rows whose neighbours are distinct in both spaces: a
    tie that is cut by index is cut alike in both, which unrelated sparse rows would share. None where it is
    undefined: no such row, or at most k candidates for some row, whose neighbours are then all of them
    (n <= k + 1 rows). O(n k) time. Huh et al. 2024; leaving out tied rows is ours.

    Raises:
        ValueError: spaces of different numbers of rows or neighbours, or no permutation of the rows.
    """
    if a.nearest.shape != b.nearest.shape:
        raise ValueError(
            f"b: expected (rows, k) = {a.nearest.shape} as in a, got {b.nearest.shape}. Pair the rows first."
        )
    n, k = a.nearest.shape
    order = checked_permutation(permutation, n)
    if not (_has_choice(a) and _has_choice(b)):
        return None
    name_in_a = np.empty(n, np.int64)
    name_in_a[order] = np.arange(n)
    counted = a.distinct & b.distinct[order]
    if not counted.any():
        return None
    shared = _shared(a.nearest, b.nearest, order, name_in_a, counted, np.full(n, -1))
    return int(shared) / (int(counted.sum()) * k)


def _has_choice(space: Neighbours) -> bool:
    n, k = space.nearest.shape
    return n > 0 and int(space.n_candidates.min()) > k


@compiled
@no_type_check
def _nearest(entries, first, labels, index, distinct, places):
    """The k largest of each row of similarities among rows of other labels, by insertion."""
    k = len(places)
    for row in range(entries.shape[0]):
        i = first + row
        found = 0
        # Candidates that are left out although they are as near as the last that is kept.
        tied = 0
        for j in range(entries.shape[1]):
            place = np.int64(np.rint(entries[row, j] * np.float32(STEPS)))
            # Not greater than the last: of equals the first seen, the lowest index, stays.
            if labels[j] == labels[i]:
                continue
            if found == k and place <= places[k - 1]:
                tied += place == places[k - 1]
                continue
            dropped = places[k - 1]
            full = found == k
            found = min(found + 1, k)
            slot = found - 1
            while slot > 0 and places[slot - 1] < place:
                places[slot] = places[slot - 1]
                index[i, slot] = index[i, slot - 1]
                slot -= 1
            places[slot] = place
            index[i, slot] = j
            if full:
                tied = tied + 1 if places[k - 1] == dropped else 0
        distinct[i] = tied == 0


@compiled
@no_type_check
def _shared(index_a, index_b, order, name_in_a, counted, seen_by):
    """How many neighbours the counted rows have in both spaces; `seen_by` is -1 for every row."""
    total = 0
    for i in range(len(order)):
        if not counted[i]:
            continue
        for j in index_a[i]:
            seen_by[j] = i
        for j in index_b[order[i]]:
            total += seen_by[name_in_a[j]] == i
    return total
