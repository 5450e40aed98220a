"""Which latents of a layer are comparable: floors that each must reach in both halves of the documents."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float

from saeuniv.numerics.group_sums import group_sums
from saeuniv.numerics.rows import Half


class Floors(NamedTuple):
    """What a latent must reach in EACH half to be compared (docs/statistics.md B); 0, 1 and 0: all are."""

    min_firings: int
    """Firings inside token types seen at least twice."""

    max_rate: float
    """Firing rate at most."""

    min_within_share: float
    """Share of the latent's variance within token types, at least."""


class Eligibility(NamedTuple):
    """The latents compared, and what share of the dictionary they are."""

    eligible: Bool[np.ndarray, " latents"]
    """Passes every floor in both halves."""

    alive: Bool[np.ndarray, " latents"]
    """Fires at all."""

    mass_share: float
    """Share of the activation mass that lies on eligible latents, 0..1."""

    context_share: float | None
    """Mean over eligible latents of within-type variance / variance; None where none of them varies."""


def eligibility_of(
    split: tuple[sp.csc_array, sp.csc_array], halves: tuple[Half, Half], floors: Floors
) -> Eligibility:
    """The latents that reach every floor, and what share they are; `split`: all of each half, rows sorted."""
    eligible = np.ones(split[0].shape[1], bool)
    within_total, variance_total, mass = np.zeros((3, len(eligible)))
    for matrix, half in zip(split, halves, strict=True):
        groups, one = half.groups["token"], half.groups["none"]
        repeated = groups.counts[groups.ids] >= 2
        active = np.diff(matrix.indptr) > 0
        firings = np.zeros(len(eligible), np.int64)
        firings[active] = np.add.reduceat(
            repeated[matrix.indices], matrix.indptr[:-1][active], dtype=np.int64
        )
        everything = group_sums(matrix, one.ids, one.counts)
        within, variance = group_sums(matrix, groups.ids, groups.counts).norms ** 2, everything.norms**2
        rate = np.diff(matrix.indptr) / len(half.rows)
        eligible &= (firings >= floors.min_firings) & (rate <= floors.max_rate)
        eligible &= within >= floors.min_within_share * np.maximum(variance, 1e-300)
        within_total += within
        variance_total += variance
        mass[active] += everything.sums
    # Latents that never vary are eligible where there is no floor; they have no share.
    varies = eligible & (variance_total > 0)
    shares: Float[np.ndarray, " varying"] = within_total[varies] / variance_total[varies]
    return Eligibility(
        eligible=eligible,
        alive=mass > 0,
        mass_share=float(np.sum(mass[eligible]) / max(float(np.sum(mass)), 1e-300)),
        context_share=float(shares.mean()) if varies.any() else None,
    )
