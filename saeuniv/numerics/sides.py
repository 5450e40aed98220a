"""The two sides of a sparse product: latents, and what turns sums of products into similarities."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.group_sums import GroupSums
from saeuniv.numerics.sparse_latents import Compressed, binarised, moments, require_latents
from saeuniv.numerics.top_kernels import pack
from saeuniv.numerics.vectors import BLOCK

_PACKED = {
    np.dtype(np.float32): np.dtype([("place", np.uint32), ("value", np.float32)]),
    np.dtype(np.float64): np.dtype([("place", np.uint64), ("value", np.float64)]),
}


class Side(NamedTuple):
    """One side of the product, checked, with what turns its sums of products into similarities."""

    entries: Compressed
    scale: Float[np.ndarray, " latents"]
    """each value is multiplied by it; 0 for a latent that has no partners"""

    level: Float[np.ndarray, " latents"]
    """g = mean / sd, or the firings; inf for a latent that has no partners"""


class Placed(NamedTuple):
    """B as kernels read it: latents in the order of how often they are active, rare ones first.

    So fewer blocks are touched, and a row's strong partners, as rare as itself, come before its many
    weak ones: a fifth of the time.
    """

    names: Int[np.ndarray, " latents"]
    """latent at each place"""

    place: Int[np.ndarray, " latents"]
    """place of each latent"""

    level: Float[np.ndarray, " padded"]
    """by place, whole blocks; inf where there is nothing to be found"""

    packed: np.ndarray
    """entries: place and scaled value"""

    def bars(self, floor: float) -> Float[np.ndarray, " padded"]:
        """What a pair must reach to enter the list of each column: nothing yet, or what cannot be."""
        return np.where(np.isfinite(self.level), floor, np.inf).astype(self.level.dtype)


def placed(side: Side) -> Placed:
    """B as kernels read it."""
    n_latents = len(side.level)
    names = np.argsort(np.bincount(side.entries.indices, minlength=n_latents), kind="stable")
    place = np.empty(n_latents, np.int64)
    place[names] = np.arange(n_latents)
    level = np.full(-(-n_latents // BLOCK) * BLOCK, np.inf, side.level.dtype)
    level[:n_latents] = side.level[names]
    return Placed(names, place, level, packed_entries(side.entries, side.scale, place, level.dtype))


def packed_entries(
    entries: Compressed,
    scale: Float[np.ndarray, " latents"],
    place: Int[np.ndarray, " latents"],
    number: np.dtype[np.floating],
) -> np.ndarray:
    """Entries of B side by side with the place of their latent, scaled."""
    packed = np.empty(len(entries.data), _PACKED[number])
    pack(entries.indices, entries.data, scale, place, packed)
    return packed


def pearson_side(matrix: sp.csc_array | sp.csr_array, *, name: str, double: bool) -> Side:
    """A side of Pearson's r: values over the root of their centred sum of squares.

    Raises:
        ValueError: `matrix` does not hold latents; A (named `a`) must be csc, B csr.
    """
    entries, n_rows = _entries(matrix, name), int(matrix.shape[0])
    found = moments(entries, layout=matrix.format, n_rows=n_rows, n_latents=int(matrix.shape[1]))
    return scaled_side(entries, found.means, found.centred, n_rows, double=double)


def scaled_side(
    entries: Compressed,
    means: Float[np.ndarray, " latents"],
    centred: Float[np.ndarray, " latents"],
    n_rows: int,
    *,
    double: bool,
) -> Side:
    """A side of Pearson's r, given the moments of its latents over `n_rows` rows."""
    number = np.float64 if double else np.float32
    live = centred > 0
    scale = np.divide(1.0, np.sqrt(centred), out=np.zeros_like(centred), where=live)
    level = np.where(live, means * scale * np.sqrt(n_rows), np.inf).astype(number)
    return Side(entries._replace(data=entries.data.astype(number, copy=False)), scale, level)


def firing_side(matrix: sp.csc_array | sp.csr_array, *, name: str) -> Side:
    """A side of Jaccard's index: 1 where a latent fires, and how often it does.

    Raises:
        ValueError: as `pearson_side`.
    """
    entries = _entries(matrix, name)
    entries = entries._replace(data=(entries.data > 0).astype(np.float64))
    firings = np.asarray(binarised(matrix).sum(axis=0, dtype=np.float64)).ravel()
    level = np.where(firings > 0, firings, np.inf)
    return Side(entries, np.ones(len(firings)), level)


def within_side(matrix: sp.csc_array | sp.csr_array, sums: GroupSums, *, name: str) -> Side:
    """A side of r_w: values over the root of their within-group sum of squares.

    Raises:
        ValueError: as `pearson_side`.
    """
    entries = _entries(matrix, name)
    live = sums.norms > 0
    scale = np.divide(1.0, sums.norms, out=np.zeros_like(sums.norms), where=live)
    data = entries.data.astype(np.float64, copy=False)
    return Side(entries._replace(data=data), scale, np.where(live, 1.0, np.inf))


def rare_first(side: Side) -> Int[np.ndarray, " live"]:
    """Rare latents first: their strong partners raise the bars before the long rows come."""
    order = np.argsort(np.diff(side.entries.indptr), kind="stable")
    return order[np.isfinite(side.level[order])]


def ascending(
    level: Float[np.ndarray, " latents"], names: Int[np.ndarray, " latents"]
) -> tuple[Int[np.ndarray, " live"], Int[np.ndarray, " live"]]:
    """Latents with finite level, lowest level and then lowest name first; and where the next level begins."""
    order = np.lexsort((names, level))
    order = order[np.isfinite(level[order])]
    ends = np.append(np.flatnonzero(np.diff(level[order])) + 1, len(order))
    return order, ends[np.searchsorted(ends, np.arange(len(order)), side="right")]


def _entries(matrix: sp.csc_array | sp.csr_array, name: str) -> Compressed:
    return require_latents(matrix, name=name, layout="csc" if name == "a" else "csr")
