"""How large the total of a one-to-one matching of all pairs can be, when only candidates were looked at."""

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.auction import largest_profit
from saeuniv.numerics.candidate_edges import COMPARED_DECIMALS, Edges
from saeuniv.numerics.candidates import Candidates

_SHARES = (0.5, 0.75, 1.0)
"""Of what unlisted pairs could be worth: how much of it is put on the prices of B, the rest on profits of A.

Any share gives a bound. 0 would be the sum of prices and of max(profit, last candidate): 2.0, 0.6 and 0.8 %
above the candidates' optimum with 20 of 4,096, 50 of 4,096 and 50 of 32,768 candidates (Zipf latents). The
best of these is 0.3, 0.06 and 0.01 % above it.
"""


def largest_total(candidates: Candidates, edges: Edges, price: Float[np.ndarray, " latents_b"]) -> float:
    """A number that the positive similarities of no one-to-one matching exceed, pairs listed or not.

    Weak duality: a sum of prices and profits, both at least 0, that cover every pair. A listed pair is
    covered by the profit at these prices. One that neither side lists is at most as similar as the last
    candidate of either side, so profit + price >= min(last_a, last_b) covers it. The smallest of the bounds
    for several ways to share that. O(edges + latents log latents).
    """
    last_a = _last(candidates.similarity_a, candidates.n_b)
    last_b = _last(candidates.similarity_b, candidates.n_a)
    if not (len(last_a) and len(last_b)):
        return 0.0
    complete = not (last_a.any() and last_b.any())
    order = np.argsort(-last_b, kind="stable")
    n_above = np.searchsorted(-last_b[order], -last_a, side="right")
    bounds = []
    for share in (0.0,) if complete else _SHARES:
        raised = np.maximum(price, share * last_b)
        profit = largest_profit(edges, raised)
        if not complete:
            unlisted = _unlisted_profit(last_a, last_b[order], raised[order], n_above)
            profit = np.maximum(profit, unlisted)
        bounds.append(float(raised.sum() + profit.sum()))
    rounding = min(len(last_a), len(last_b)) * 0.5 * 10.0**-COMPARED_DECIMALS
    return min(bounds) + rounding if min(bounds) > 0 else 0.0


def _unlisted_profit(
    last_a: Float[np.ndarray, " latents_a"],
    last_b: Float[np.ndarray, " latents_b"],
    price: Float[np.ndarray, " latents_b"],
    n_above: Int[np.ndarray, " latents_a"],
) -> Float[np.ndarray, " latents_a"]:
    """For every latent of A the largest min(last_a, last_b) - price over the latents of B.

    These in descending order of `last_b`, the first `n_above` of which are at least `last_a`: of them it is
    the cheapest, of the others the one with the largest last_b - price.
    """
    cheapest = np.concatenate(([np.inf], np.minimum.accumulate(price)))
    others = np.concatenate((np.maximum.accumulate((last_b - price)[::-1])[::-1], [-np.inf]))
    return np.maximum(last_a - cheapest[n_above], others[n_above])


def _last(similarity: Float[np.ndarray, "latents m"], n_partners: int) -> Float[np.ndarray, " latents"]:
    """What a partner that is not listed can have at most; 0 where all positive ones are listed."""
    m = similarity.shape[1]
    if m >= n_partners:
        return np.zeros(len(similarity))
    return np.maximum(similarity[:, -1], 0.0) if m else np.full(len(similarity), np.inf)
