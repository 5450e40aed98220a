"""Lists of the m largest similarities of each latent, as compiled code keeps them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled


class TopLists(NamedTuple):
    """A list of the m most similar partners found so far, for each latent."""

    values: Float[np.ndarray, "latents m"]
    """Largest first; -inf where there is none."""

    indices: Int[np.ndarray, "latents m"]
    """The partners, the lower first where values are equal; -1 where there is none."""


def empty_lists(n_latents: int, top_m: int) -> TopLists:
    """Lists without an entry."""
    return TopLists(np.full((n_latents, top_m), -np.inf), np.full((n_latents, top_m), -1, np.int32))


def found_by_threads(search: Callable[[int], TopLists], threads: int) -> TopLists:
    """The m largest of what `search` finds as thread 0..threads-1, each among partners of its own."""
    if threads == 1:
        return search(0)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(search, range(threads)))
    values = np.concatenate([part.values for part in parts], axis=1)
    indices = np.concatenate([part.indices for part in parts], axis=1)
    order = np.lexsort((indices, -values), axis=1)[:, : parts[0].values.shape[1]]
    return TopLists(np.take_along_axis(values, order, axis=1), np.take_along_axis(indices, order, axis=1))


@compiled
@no_type_check
def insert(values, indices, value, index):
    """Put a partner where it belongs in one list: the larger value first, then the lower index.

    The order is total, so that lists do not depend on the order in which partners come. Returns whether
    it entered: it does not where it is below the last of a full list.
    """
    at = len(values) - 1
    if value < values[at] or (value == values[at] and index > indices[at]):
        return False
    while at > 0 and (values[at - 1] < value or (values[at - 1] == value and indices[at - 1] > index)):
        values[at] = values[at - 1]
        indices[at] = indices[at - 1]
        at -= 1
    values[at] = value
    indices[at] = index
    return True
