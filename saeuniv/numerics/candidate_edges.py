"""The pairs that a matching may choose from, as a sparse graph: candidates of positive similarity."""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int, Shaped

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.compiled import compiled

COMPARED_DECIMALS = 9
"""Rounding of the inputs (1e-16, different on every machine) cannot choose among equal matchings."""


class Edges(NamedTuple):
    """Positive pairs by latent of A: those of latent i are [start[i], start[i + 1])."""

    start: Int[np.ndarray, " latents_a_and_1"]
    """where the pairs of each latent of A begin, and their number at the end; int64"""

    partner: Int[np.ndarray, " edges"]
    """latent of B, int32; within a latent of A first its own candidates, most similar first"""

    similarity: Float[np.ndarray, " edges"]
    """positive, rounded to nine decimals"""

    n_b: int
    """latents of B, with or without a pair"""

    @property
    def n_a(self) -> int:
        """Latents of A, with or without a pair."""
        return len(self.start) - 1

    @property
    def latent_a(self) -> Int[np.ndarray, " edges"]:
        """The latent of A of each pair."""
        return np.repeat(np.arange(self.n_a), np.diff(self.start))

    def exchanged(self) -> "Edges":
        """The same pairs by latent of B, those of each in ascending order of A."""
        matrix = sp.csr_array((self.similarity, self.partner, self.start), shape=(self.n_a, self.n_b)).tocsc()
        return Edges(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data, self.n_a)


def edges_of(candidates: Candidates) -> Edges:
    """The union of both sides' candidates whose similarity, rounded to nine decimals, is positive.

    A pair that both sides list counts once, with the similarity that A lists. O(latents m^2) comparisons.

    Raises:
        ValueError: as `require_candidates`.
    """
    require_candidates(candidates)
    rounded = [
        np.ascontiguousarray(np.round(values, COMPARED_DECIMALS), np.float64)
        for values in (candidates.similarity_a, candidates.similarity_b)
    ]
    indices = [np.ascontiguousarray(each, np.int32) for each in (candidates.index_a, candidates.index_b)]
    start, partner, similarity = _union(indices[0], rounded[0], indices[1], rounded[1])
    return Edges(start, partner, similarity, candidates.n_b)


def require_candidates(candidates: Candidates) -> None:
    """Check that partners exist and similarities can be compared.

    Raises:
        ValueError: a partner out of range, a similarity that is NaN or +inf (-inf stands for "no partner"),
            or arrays of different shapes.
    """
    sides = (
        ("a", candidates.index_a, candidates.similarity_a, candidates.n_b),
        ("b", candidates.index_b, candidates.similarity_b, candidates.n_a),
    )
    for side, index, similarity, n_partners in sides:
        if index.shape != similarity.shape:
            raise ValueError(
                f"candidates: expected one similarity a partner, got index_{side} of shape {index.shape} and "
                f"similarity_{side} of {similarity.shape}."
            )
        _require(
            (index >= -1) & (index < n_partners),
            index,
            name=f"index_{side}",
            expected=f"partners of 0 to {n_partners - 1}, or -1 for none",
        )
        _require(
            similarity < np.inf,  # false for NaN, too
            similarity,
            name=f"similarity_{side}",
            expected="finite numbers, or -inf for no partner (leave out latents without variance first)",
        )


def listed_similarity(
    candidates: Candidates, index_a: Int[np.ndarray, " pairs"], index_b: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    """The similarity of each pair as A lists it, else as B does, else 0.0: nobody looked at that pair."""
    similarity = np.zeros(len(index_a))
    for index, values, latent, partner in (
        (candidates.index_b, candidates.similarity_b, index_b, index_a),
        (candidates.index_a, candidates.similarity_a, index_a, index_b),
    ):
        pair, place = np.nonzero(index[latent] == partner[:, None])
        similarity[pair] = values[latent[pair], place]
    return similarity


def _require(
    valid: Bool[np.ndarray, "latents m"],
    values: Shaped[np.ndarray, "latents m"],
    *,
    name: str,
    expected: str,
) -> None:
    if not valid.all():
        row, place = np.argwhere(~valid)[0]
        raise ValueError(
            f"candidates.{name}: expected {expected}, got {values[row, place]} at [{row}, {place}], "
            f"and {int((~valid).sum())} such entries in all."
        )


@compiled
@no_type_check
def _union(index_a, similarity_a, index_b, similarity_b):
    n_a, m = index_a.shape
    start = np.zeros(n_a + 1, np.int64)
    for a in range(n_a):
        for place in range(m):
            start[a + 1] += index_a[a, place] >= 0 and similarity_a[a, place] > 0
    is_new = np.zeros(index_b.shape, np.bool_)
    for b in range(index_b.shape[0]):
        for place in range(index_b.shape[1]):
            a, listed = index_b[b, place], 0
            if a >= 0 and similarity_b[b, place] > 0:
                while listed < m and index_a[a, listed] != b:
                    listed += 1
                is_new[b, place] = listed == m
                start[a + 1] += listed == m
    start = np.cumsum(start)
    partner, similarity = np.empty(start[-1], np.int32), np.empty(start[-1])
    end = start[:-1].copy()
    for a in range(n_a):
        for place in range(m):
            if index_a[a, place] >= 0 and similarity_a[a, place] > 0:
                partner[end[a]], similarity[end[a]] = index_a[a, place], similarity_a[a, place]
                end[a] += 1
    for b in range(index_b.shape[0]):
        for place in range(index_b.shape[1]):
            if is_new[b, place]:
                a = index_b[b, place]
                partner[end[a]], similarity[end[a]] = b, similarity_b[b, place]
                end[a] += 1
    return start, partner, similarity
