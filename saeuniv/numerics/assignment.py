"""Which latent of A goes with which latent of B, given how similar each pair is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

# Latents that share no token correlate exactly 0, so that many matchings have the same total. Rounding of
# other entries (1e-16, different on every machine) would choose among them; here it cannot.
_COMPARED_DECIMALS = 9


class Matching(NamedTuple):
    """Matches of one latent of A with one of B, in ascending order of `index_a`."""

    index_a: Int[np.ndarray, " pairs"]
    """row of the similarity matrix, each at most once; int64"""

    index_b: Int[np.ndarray, " pairs"]
    """column of the similarity matrix; int64"""

    similarity: Float[np.ndarray, " pairs"]
    """entry of the matrix at (index_a, index_b)"""


def hungarian(similarity: Float[np.ndarray, "latents_a latents_b"]) -> Matching:
    """The one-to-one matching of min(latents_a, latents_b) pairs with the largest total similarity.

    Non-positive pairs are kept, so that the number of pairs is the same for the data and for every
    draw of a null. O(n^3) time (Crouse 2016, the algorithm in scipy). Compared to nine decimals: equal
    input gives equal output, also where several matchings have the same total and beside rounding.

    Raises:
        ValueError: if an entry is not finite.
    """
    _require_finite(similarity)
    index_a, index_b = linear_sum_assignment(np.round(similarity, _COMPARED_DECIMALS), maximize=True)
    return _matching(similarity, index_a, index_b)


def max_similarity(similarity: Float[np.ndarray, "latents_a latents_b"]) -> Matching:
    """For every latent of A its most similar latent of B; several may share one.

    A latent of A whose best similarity is not positive is unmatched and left out. Ties go to the lowest
    index. The transposed matrix gives the other direction (with the two index fields exchanged).

    Raises:
        ValueError: if an entry is not finite.
    """
    _require_finite(similarity)
    index_a = np.arange(similarity.shape[0] if similarity.size else 0)
    index_b = _best(similarity, axis=1)
    positive = similarity[index_a, index_b] > 0
    return _matching(similarity, index_a[positive], index_b[positive])


def mutual_nearest(similarity: Float[np.ndarray, "latents_a latents_b"]) -> Matching:
    """Pairs that are each other's most similar latent, with positive similarity; one-to-one, may be empty.

    Ties go to the lowest index on both sides.

    Raises:
        ValueError: if an entry is not finite.
    """
    _require_finite(similarity)
    index_a = np.arange(similarity.shape[0] if similarity.size else 0)
    best_b, best_a = _best(similarity, axis=1), _best(similarity, axis=0)
    mutual = (best_a[best_b] == index_a) & (similarity[index_a, best_b] > 0)
    return _matching(similarity, index_a[mutual], best_b[mutual])


def _require_finite(similarity: Float[np.ndarray, "latents_a latents_b"]) -> None:
    broken = np.argwhere(~np.isfinite(similarity))
    if len(broken):
        row, column = broken[0]
        raise ValueError(
            f"similarity: expected finite numbers, got {len(broken)} of {similarity.size} that are not, the "
            f"first {similarity[row, column]} at [{row}, {column}]. Leave out latents without variance first."
        )


def _best(similarity: Float[np.ndarray, "latents_a latents_b"], *, axis: int) -> Int[np.ndarray, " latents"]:
    # numpy's argmax returns the first of equals, which is the rule for ties, but refuses an empty axis.
    return similarity.argmax(axis=axis) if similarity.size else np.zeros(0, dtype=np.int64)


def _matching(
    similarity: Float[np.ndarray, "latents_a latents_b"],
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
) -> Matching:
    return Matching(index_a.astype(np.int64), index_b.astype(np.int64), similarity[index_a, index_b])
