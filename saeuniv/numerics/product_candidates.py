"""The most similar partners both ways where similarity is a function of a dense product, block by block."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from saeuniv.numerics.candidates import Candidates

_BLOCK_BYTES = 64 * 2**20
"""Of similarities held at once."""


def product_candidates(
    x: Float[np.ndarray, "latents_a d"],
    y: Float[np.ndarray, "latents_b d"],
    similarity: Callable[[Float[np.ndarray, "rows columns"]], Float[np.ndarray, "rows columns"]],
    *,
    top_m: int,
) -> Candidates:
    """The candidates of `similarity(x y')`, as `candidates_of` would give them for the whole matrix.

    latents_a x latents_b x d operations in the precision of `x` and `y`, 64 MiB of similarities at once (and
    a few times that to rank them).
    """
    n_a, n_b = len(x), len(y)
    index_a, similarity_a = _empty(n_a, top_m)
    index_b, similarity_b = _empty(n_b, top_m)
    for rows in _blocks(n_a, n_b):
        block = similarity(x[rows] @ y.T)
        row, column = np.nonzero(_among_largest(block, top_m))
        _rank(index_a[rows], similarity_a[rows], row, column, block[row, column])
        enters = similarity_b[:, -1:] < block.T  # strictly: of equal partners the first stay
        if np.isneginf(similarity_b[:, -1]).any():
            enters &= _among_largest(block.T, top_m)
        column, row = np.nonzero(enters)
        known, place = np.nonzero(index_b >= 0)
        latent = np.concatenate((known, column))
        partner = np.concatenate((index_b[known, place], row + rows.start))
        values = np.concatenate((similarity_b[known, place], block[row, column]))
        _rank(index_b, similarity_b, latent, partner, values)
    return Candidates(index_a, similarity_a, index_b, similarity_b)


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // (8 * max(n_columns, 1)))
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def _empty(n: int, top_m: int) -> tuple[Int[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    return np.full((n, top_m), -1, np.int32), np.full((n, top_m), -np.inf)


def _among_largest(block: Float[np.ndarray, "rows columns"], top_m: int) -> Bool[np.ndarray, "rows columns"]:
    """Entries that are not below the m-th largest of their row: m, and more where it is tied."""
    n_columns = block.shape[1]
    if n_columns <= top_m:
        return np.ones(block.shape, np.bool_)
    place = n_columns - top_m
    return block >= np.partition(block, place, axis=1)[:, place : place + 1]


def _rank(
    index: Int[np.ndarray, "latents m"],
    similarity: Float[np.ndarray, "latents m"],
    latent: Int[np.ndarray, " entries"],
    partner: Int[np.ndarray, " entries"],
    values: Float[np.ndarray, " entries"],
) -> None:
    """Write the m largest entries of each latent, in place; ties in ascending order of the partner."""
    order = np.lexsort((partner, -values, latent))
    latent, partner, values = latent[order], partner[order], values[order]
    first = np.searchsorted(latent, np.arange(len(index)))
    place = np.arange(len(latent)) - first[latent]
    kept = place < index.shape[1]
    index[latent[kept], place[kept]] = partner[kept]
    similarity[latent[kept], place[kept]] = values[kept]
