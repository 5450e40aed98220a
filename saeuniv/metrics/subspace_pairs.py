"""Latents of subspaces in pairs, as the published analysis of categories pairs them; of many at a time."""

from collections.abc import Iterable, Iterator

import numpy as np

from saeuniv.metrics.layer_pair import LatentPairs, Latents, LayerPair
from saeuniv.numerics.correlation import Evidence
from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.published import BestPartners, best_partners, one_to_one

# Latents of a side, at most, of the subspaces that are paired by one search: 8 MB of similarities.
_SEARCHED = 1024

_PEARSON = Evidence("pearson", "none")

Subspace = tuple[Latents, Latents]
"""Latents of A and of B."""


def subspace_pairs(
    pair: LayerPair, subspaces: Iterable[Subspace], *, found_on: int, first_seen: bool
) -> Iterator[LatentPairs]:
    """The latents of each subspace in pairs: each of B with its best of A, then one to one.

    Small subspaces are searched together, a large one alone, so that memory is that of 1,024 latents a side
    or of the best partners alone.

    Args:
        pair: the layers.
        subspaces: latents of each side, each once, in any order.
        found_on: half, or `WHOLE`, whose Pearson's r decides.
        first_seen: of the latents of B with one partner keep the first, else the one of largest r.
    """
    for some in _batches(subspaces):
        for (in_a, in_b), partners in zip(some, _partners(pair, some, found_on), strict=True):
            kept = one_to_one(partners, np.ones(len(in_b), bool), first_seen=first_seen)
            yield in_a[partners.index_a[kept]], in_b[kept]


def _partners(pair: LayerPair, some: list[Subspace], found_on: int) -> Iterator[BestPartners]:
    """Of each subspace the best in A of each of B, by place in it."""
    if len(some) == 1:
        yield best_partners(pair.search(*_chosen(pair, some[0], found_on), _PEARSON, top_m=1))
        return
    of_a, of_b = (np.unique(np.concatenate(latents)) for latents in zip(*some, strict=True))
    r = pair.search(*_chosen(pair, (of_a, of_b), found_on), _PEARSON, top_m=len(of_a)).matrix()
    for in_a, in_b in some:
        own = r[np.ix_(np.searchsorted(of_a, in_a), np.searchsorted(of_b, in_b))]
        yield BestPartners(own.argmax(axis=0), own.max(axis=0))


def _chosen(pair: LayerPair, subspace: Subspace, found_on: int) -> tuple[HalfLatents, HalfLatents]:
    a, b = (side.chosen(latents) for side, latents in zip(pair.sides(found_on), subspace, strict=True))
    return a, b


def _batches(subspaces: Iterable[Subspace]) -> Iterator[list[Subspace]]:
    """As many at a time as one search answers for; at least one."""
    some: list[Subspace] = []
    size = 0
    for each in subspaces:
        latents = max(map(len, each))
        if some and size + latents > _SEARCHED:
            yield some
            some, size = [], 0
        some.append(each)
        size += latents
    if some:
        yield some
