"""Random sets of latents to compare against: as often active as a chosen set, or equally many.

A set of latents that was chosen for its meaning differs from the rest in size and in how often its latents
fire, and both change how well it matches. The null for its meaning is random sets that agree in both,
matched again by the same algorithm (docs/statistics.md C: N2).
"""

import numpy as np
from jaxtyping import Float, Int


def rate_matched_subsets(
    rates: Float[np.ndarray, " latents"],
    target: Int[np.ndarray, " chosen"],
    *,
    bins_per_decade: int,
    exclude_target: bool,
    draws: int,
    seed: int,
) -> Int[np.ndarray, "draws chosen"]:
    """Random subsets of the size of `target` with as many latents as it in every bin of log10 firing rate.

    Entry k of a subset is in the bin of target[k]. Without replacement within a subset; draw r comes from
    the generator (seed, r), so that it is the same however many are asked. Latents that never fire are in no
    bin and never drawn. With `exclude_target` the subsets tell the target from the others; without, they
    may hold some of it, which makes target and draws exchangeable and p exact.

    Args:
        rates: firing rate of every latent that may be drawn, in [0, 1].
        target: the chosen latents, each once; all must fire.
        bins_per_decade: 1: bins a factor of 10 wide; 4: a factor of 1.8.
        exclude_target: draw from the latents outside `target` only.
        draws: number of subsets.
        seed: of the generators.

    Raises:
        ValueError: rates outside [0, 1], a target that is out of range, named twice or never fires, or a bin
            with fewer latents than the target has there, with the first such bin.
    """
    _require_rates(rates, target)
    if bins_per_decade < 1:
        raise ValueError(f"bins_per_decade={bins_per_decade}: expected at least 1, got {bins_per_decade}.")
    fires = rates > 0
    bins = np.floor(np.log10(rates, where=fires, out=np.zeros_like(rates)) * bins_per_decade).astype(np.int64)
    allowed = fires.copy()
    allowed[target] &= not exclude_target
    places = {bin_: np.flatnonzero(bins[target] == bin_) for bin_ in np.unique(bins[target])}
    pools = {bin_: np.flatnonzero(allowed & (bins == bin_)) for bin_ in places}
    for bin_, pool in pools.items():
        if len(pool) < len(places[bin_]):
            low, high = 10.0 ** (np.array([bin_, bin_ + 1]) / bins_per_decade)
            raise ValueError(
                f"target: expected at least {len(places[bin_])} latents with firing rates from {low:.3g} to "
                f"{high:.3g}, as many as the target has there, got {len(pool)}"
                f"{' outside the target' if exclude_target else ''}. Use fewer bins_per_decade (now "
                f"{bins_per_decade}){' or exclude_target=False' if exclude_target else ''}."
            )
    subsets = np.empty((draws, len(target)), np.int64)
    for draw in range(draws):
        generator = np.random.default_rng([seed, draw])
        for bin_, pool in pools.items():
            subsets[draw, places[bin_]] = generator.choice(pool, size=len(places[bin_]), replace=False)
    return subsets


def equal_candidates(
    n_eligible: int, n_target: int, *, draws: int, seed: int
) -> Int[np.ndarray, "draws n_target"]:
    """Random subsamples of `n_target` out of `n_eligible` candidates, ascending; draw r from (seed, r).

    More candidates have a higher best match. Dictionaries of unequal width are comparable where each latent
    chooses among equally many: B's candidates are cut to the smallest width, and the value is the mean over
    draws (docs/statistics.md B). With n_target = n_eligible every draw is all of them.

    Raises:
        ValueError: fewer candidates than asked for.
    """
    if not 0 <= n_target <= n_eligible:
        raise ValueError(
            f"n_target={n_target}: expected between 0 and n_eligible={n_eligible}, got {n_target}. "
            f"Cut to the smallest width of those compared."
        )
    subsamples = np.empty((draws, n_target), np.int64)
    for draw in range(draws):
        generator = np.random.default_rng([seed, draw])
        subsamples[draw] = np.sort(generator.choice(n_eligible, size=n_target, replace=False))
    return subsamples


def _require_rates(rates: Float[np.ndarray, " latents"], target: Int[np.ndarray, " chosen"]) -> None:
    broken = np.flatnonzero(~((rates >= 0) & (rates <= 1)))
    if len(broken):
        raise ValueError(f"rates: expected firing rates in [0, 1], got {rates[broken[0]]} at [{broken[0]}].")
    outside = np.flatnonzero((target < 0) | (target >= len(rates)))
    if len(outside):
        raise ValueError(
            f"target: expected latents 0..{len(rates) - 1}, got {target[outside[0]]} at [{outside[0]}]."
        )
    repeated = np.setdiff1d(np.arange(len(target)), np.unique(target, return_index=True)[1])
    if len(repeated):
        raise ValueError(
            f"target: expected each latent once, got {target[repeated[0]]} again at [{repeated[0]}]."
        )
    silent = np.flatnonzero(rates[target] == 0)
    if len(silent):
        raise ValueError(
            f"target: expected latents that fire, got {target[silent[0]]} with rate 0 at [{silent[0]}]. "
            f"Leave it out: no other latent has a rate like it."
        )
