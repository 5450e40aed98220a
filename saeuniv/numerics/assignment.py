"""Which latent of A goes with which latent of B, given the most similar partners of each.

Only pairs whose similarity is above 0 are worth matching. Ties go to the lowest index; the one-to-one methods
compare to nine decimals, so that rounding (different on every machine) does not choose among equal matchings.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.assignment_bound import largest_total
from saeuniv.numerics.auction import largest_assignment
from saeuniv.numerics.candidate_edges import edges_of, listed_similarity, require_candidates
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.compiled import compiled

_TOLERANCE = 1e-9
"""Proven relative distance from the best assignment of the candidates; finer than the inputs are compared."""

_COMPLETION = 0x5AE
"""Seed of the order in which leftover latents are paired; fixed, so that equal input gives equal output."""


class Matching(NamedTuple):
    """Matches of one latent of A with one of B, in ascending order of `index_a`, then of `index_b`."""

    index_a: Int[np.ndarray, " pairs"]
    """latent of A; int64"""

    index_b: Int[np.ndarray, " pairs"]
    """latent of B; int64"""

    similarity: Float[np.ndarray, " pairs"]
    """of the pair; 0.0 for a pair of leftover latents that neither side lists as a candidate"""

    upper_bound: float | None = None
    """no one-to-one matching of all pairs, listed or not, has a larger total of positive similarities;
    None where the method makes no claim"""

    converged: bool = True
    """False for the pairs of an iteration that was stopped before its end"""


def max_similarity(candidates: Candidates) -> Matching:
    """For every latent of A its most similar latent of B; several may share one.

    A latent of A whose best similarity is not positive is unmatched and left out. Looks at one candidate a
    latent; `max_similarity_backward` is the other direction.

    Raises:
        ValueError: candidates that name no latent, or cannot be compared.
    """
    require_candidates(candidates)
    best, similarity = _best(candidates.index_a, candidates.similarity_a)
    index_a = np.flatnonzero(similarity > 0)
    return Matching(index_a, best[index_a], similarity[index_a], None)


def max_similarity_backward(candidates: Candidates) -> Matching:
    """For every latent of B its most similar latent of A, as `max_similarity` with A and B exchanged.

    Raises:
        ValueError: as `max_similarity`.
    """
    require_candidates(candidates)  # before the sides are exchanged: messages name them
    forward = max_similarity(candidates.exchanged())
    return _sorted(forward.index_b, forward.index_a, forward.similarity, None)


def mutual_nearest(candidates: Candidates) -> Matching:
    """Pairs that are each other's most similar latent, with positive similarity; one-to-one, may be empty.

    Ties go to the lowest index on both sides. Looks at one candidate a latent.

    Raises:
        ValueError: as `max_similarity`.
    """
    matching = max_similarity(candidates)
    best_a, _ = _best(candidates.index_b, candidates.similarity_b)
    mutual = best_a[matching.index_b] == matching.index_a
    return Matching(matching.index_a[mutual], matching.index_b[mutual], matching.similarity[mutual], None)


def greedy(candidates: Candidates) -> Matching:
    """One-to-one pairs taken in descending order of similarity while both latents are free.

    At least half of the largest total of these candidates. Ties: the lowest latent of A, then of B. Latents
    whose positive candidates are all taken stay unmatched. O(edges log edges).

    Raises:
        ValueError: as `max_similarity`.
    """
    edges = edges_of(candidates)
    latent_a = edges.latent_a
    order = np.lexsort((edges.partner, latent_a, -edges.similarity))
    taken = _take(latent_a[order], edges.partner[order], edges.n_a, edges.n_b)
    index_a, index_b = latent_a[order[taken]], edges.partner[order[taken]].astype(np.int64)
    return _sorted(index_a, index_b, listed_similarity(candidates, index_a, index_b), None)


def hungarian(candidates: Candidates) -> Matching:
    """min(latents_a, latents_b) one-to-one pairs with the largest total similarity of these candidates.

    The total, over positive pairs, is within 1e-9 (relative, proven by prices) of the best that the union of
    both sides' candidates allows. Latents that remain are paired in a fixed pseudo-random order: as many
    pairs in the data as in every draw of a null, and nothing that ascending order might have in store. Their
    similarity is the listed one, else 0.0: nobody looked at it. `upper_bound` concerns all pairs.
    Time and memory grow with the number of candidates.

    Raises:
        ValueError: as `max_similarity`.
    """
    edges = edges_of(candidates)
    auction = largest_assignment(edges, tolerance=_TOLERANCE)
    matched = np.flatnonzero(auction.partner >= 0)
    left_a, left_b = _leftover(candidates.n_a, candidates.n_b, matched, auction.partner[matched])
    index_a = np.concatenate((matched, left_a))
    index_b = np.concatenate((auction.partner[matched].astype(np.int64), left_b))
    similarity = listed_similarity(candidates, index_a, index_b)
    return _sorted(index_a, index_b, similarity, largest_total(candidates, edges, auction.price))


def assignment_gap(matching: Matching) -> float | None:
    """How much of the largest possible total is missing at most: 0 is proven to be the best, 1 is nothing.

    (upper bound - total of positive similarities) / upper bound: from prices, so without knowing the best.
    None where the matching comes without an upper bound, 0.0 where there is nothing to match.
    """
    bound = matching.upper_bound
    if bound is None:
        return None
    total = float(np.maximum(matching.similarity, 0.0).sum())
    return max(0.0, (bound - total) / bound) if bound > 0 else 0.0


def _leftover(
    n_a: int, n_b: int, taken_a: Int[np.ndarray, " matched"], taken_b: Int[np.ndarray, " matched"]
) -> tuple[Int[np.ndarray, " left"], Int[np.ndarray, " left"]]:
    """As many latents of each side as can still be paired, both in pseudo-random order."""
    rng = np.random.default_rng([_COMPLETION, n_a, n_b])
    left = []
    for n, taken in ((n_a, taken_a), (n_b, taken_b)):
        order = rng.permutation(n)
        left.append(order[~np.isin(order, taken)])
    n_left = min(map(len, left))
    return left[0][:n_left], left[1][:n_left]


def _best(
    index: Int[np.ndarray, "latents m"], similarity: Float[np.ndarray, "latents m"]
) -> tuple[Int[np.ndarray, " latents"], Float[np.ndarray, " latents"]]:
    if not index.shape[1]:
        return np.full(len(index), -1), np.full(len(index), -np.inf)
    return index[:, 0].astype(np.int64), similarity[:, 0].astype(np.float64)


def _sorted(
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    similarity: Float[np.ndarray, " pairs"],
    upper_bound: float | None,
) -> Matching:
    order = np.lexsort((index_b, index_a))
    return Matching(index_a[order], index_b[order], similarity[order], upper_bound)


@compiled
@no_type_check
def _take(latent_a, latent_b, n_a, n_b):
    free_a, free_b = np.ones(n_a, np.bool_), np.ones(n_b, np.bool_)
    taken = np.zeros(len(latent_a), np.bool_)
    for pair in range(len(latent_a)):
        if free_a[latent_a[pair]] and free_b[latent_b[pair]]:
            taken[pair], free_a[latent_a[pair]], free_b[latent_b[pair]] = True, False, False
    return taken
