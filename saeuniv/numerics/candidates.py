"""The most similar partners of every latent, both ways: what matchings are chosen from.

A layer pair of 131k x 131k latents has 17 billion similarities; a matching needs the few largest of each row
and column. They are found without ever holding the matrix.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.inputs import require_finite


class Candidates(NamedTuple):
    """For each latent of A its m most similar latents of B, and for each of B its m of A.

    Most similar first; ties in ascending order of the partner. Where fewer than m partners are left, the
    rest is -1 with similarity -inf. Evidence that is bounded from below by 0 (token-partialled
    correlations, whose zeros are not looked for, and co-activation) lists positive partners only.
    """

    index_a: Int[np.ndarray, "latents_a m"]
    """Partners in B of each latent of A; int32, -1 where there is none."""

    similarity_a: Float[np.ndarray, "latents_a m"]
    """Their similarity, float64; up is alike."""

    index_b: Int[np.ndarray, "latents_b m"]
    """Partners in A of each latent of B."""

    similarity_b: Float[np.ndarray, "latents_b m"]
    """Their similarity."""

    @property
    def n_a(self) -> int:
        """Latents of A."""
        return len(self.index_a)

    @property
    def n_b(self) -> int:
        """Latents of B."""
        return len(self.index_b)

    def first(self, top_m: int) -> "Candidates":
        """The first `top_m` partners of each latent."""
        return Candidates(*(each[:, :top_m] for each in self))

    def matrix(self) -> Float[np.ndarray, "latents_a latents_b"]:
        """The similarities of a search that left none out; 0 for latents that have no partners."""
        found = np.zeros((self.n_a, self.n_b))
        of_b, place = np.nonzero(self.index_b >= 0)
        found[self.index_b[of_b, place], of_b] = self.similarity_b[of_b, place]
        return found

    def exchanged(self) -> "Candidates":
        """The same with A and B exchanged."""
        return Candidates(self.index_b, self.similarity_b, self.index_a, self.similarity_a)


def candidates_of(similarity: Float[np.ndarray, "latents_a latents_b"], *, top_m: int) -> Candidates:
    """The candidates of a matrix that is small enough to be held.

    Raises:
        ValueError: `top_m` below 1, or an entry that is not finite.
    """
    if top_m < 1:
        raise ValueError(f"top_m={top_m}: expected at least 1 candidate a latent, got {top_m}.")
    require_finite(similarity, "similarity", fix="Leave out latents without variance first.")
    return Candidates(*_largest(similarity, top_m), *_largest(similarity.T, top_m))


def _largest(
    similarity: Float[np.ndarray, "rows columns"], top_m: int
) -> tuple[Int[np.ndarray, "rows m"], Float[np.ndarray, "rows m"]]:
    n_rows, n_columns = similarity.shape
    index = np.full((n_rows, top_m), -1, np.int32)
    value = np.full((n_rows, top_m), -np.inf)
    found = min(top_m, n_columns)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :found]
    index[:, :found] = order
    value[:, :found] = np.take_along_axis(similarity.astype(np.float64), order, axis=1)
    return index, value
