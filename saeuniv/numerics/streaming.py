"""The most correlated partners of every latent where the tokens do not fit in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.sides import Side, packed_entries, placed, scaled_side
from saeuniv.numerics.sparse_latents import (
    ROUNDING_SHARE,
    Compressed,
    Moments,
    moments,
    require_latents,
    require_same_rows,
)
from saeuniv.numerics.top_kernels import add_rows, search_totals
from saeuniv.numerics.top_lists import empty_lists
from saeuniv.numerics.vectors import BLOCK


class TokenChunk(NamedTuple):
    """Latents of A and B on the same consecutive tokens."""

    a: sp.csr_array
    """rows x latents of A"""

    b: sp.csr_array
    """rows x latents of B"""


Chunks = Callable[[], Iterable[TokenChunk]]


def streamed_top_correlations(
    chunks: Chunks, *, n_a: int, n_b: int, top_m: int, max_bytes: int, double: bool = True
) -> Candidates:
    """What `top_correlations` gives for all tokens of `chunks`, however they are cut.

    Equal to 1e-10 with `double`. The chunks are read once for means and variances, and once more for every
    block of latents of A whose totals with all of B fit into `max_bytes`: 1 + n_a n_b 8 / max_bytes times (4
    instead of 8 without `double`). Where tokens fit in memory, `top_correlations` is faster and needs less.

    Memory: `max_bytes` bound the totals. Beside them there are the candidates (12 top_m bytes a latent of
    either side), 100 bytes a latent, and of one chunk at a time its latents and a packed copy of them (at
    most 16 bytes a non-zero of A and of B).

    Args:
        chunks: gives the same chunks at every call; a chunk may be empty.
        n_a: latents of A.
        n_b: latents of B.
        top_m: partners listed.
        max_bytes: of the totals.
        double: add in float64.

    Raises:
        ValueError: `max_bytes` below one row of totals; a chunk that does not hold the latents expected (it
            is named by its number); chunks that change between calls; `top_m` below 1.
    """
    if top_m < 1:
        raise ValueError(f"top_m={top_m}: expected at least 1, got {top_m}.")
    row_bytes = -(-n_b // BLOCK) * BLOCK * (8 if double else 4)
    if max_bytes < row_bytes:
        raise ValueError(
            f"max_bytes={max_bytes}: expected at least {row_bytes}, the totals of one latent with {n_b}, got "
            f"{max_bytes}. Raise it."
        )
    n_rows, moments_a, moments_b = _moments(chunks, n_a, n_b)
    nothing = Compressed(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    side_a, side_b = (
        scaled_side(nothing, each.means, each.centred, n_rows, double=double)
        for each in (moments_a, moments_b)
    )
    # Of a side without entries: the latents of B keep their order.
    placed_b = placed(side_b)
    bar, rows, columns = placed_b.bars(-np.inf), empty_lists(n_a, top_m), empty_lists(n_b, top_m)
    per_block = min(max_bytes // max(row_bytes, 1), n_a) or 1
    totals = np.empty((per_block, len(placed_b.level)), placed_b.level.dtype)
    for first in range(0, n_a, per_block):
        block = totals[: min(per_block, n_a - first)]
        _add_block(chunks, first, block, side_a, side_b, n_rows)
        search_totals(
            block, first, side_a.level, placed_b.level, bar, placed_b.names, bar.dtype.type(-np.inf),
            *rows, *columns,
        )  # fmt: skip
    return Candidates(rows.indices, rows.values, columns.indices, columns.values)


def _checked(chunks: Chunks, n_a: int, n_b: int) -> Iterator[tuple[TokenChunk, int]]:
    """Each chunk and its rows.

    Raises:
        ValueError: it does not hold the latents expected.
    """
    for number, chunk in enumerate(chunks()):
        for name, matrix, n_latents in (("a", chunk.a, n_a), ("b", chunk.b, n_b)):
            if matrix.shape[1] != n_latents:
                raise ValueError(
                    f"chunks: expected n_{name}={n_latents} latents, got {matrix.shape[1]} in chunk {number}."
                )
            require_latents(matrix, name=f"chunk {number}, {name}", layout="csr")
        yield chunk, require_same_rows(chunk.a, chunk.b)


def _moments(chunks: Chunks, n_a: int, n_b: int) -> tuple[int, Moments, Moments]:
    n_rows = 0
    found = [Moments(np.zeros(n), np.zeros(n)) for n in (n_a, n_b)]
    for chunk, more in _checked(chunks, n_a, n_b):
        if more:
            found = [_joined(one, n_rows, matrix, more) for one, matrix in zip(found, chunk, strict=True)]
            n_rows += more
    for each in found:
        squares = each.centred + n_rows * each.means**2
        each.centred[each.centred <= ROUNDING_SHARE * squares] = 0.0
    return n_rows, found[0], found[1]


def _joined(before: Moments, n_before: int, matrix: sp.csr_array, n_more: int) -> Moments:
    """Moments of both sets of rows, without cancellation (Chan, Golub and LeVeque 1983, eq. 2.1)."""
    entries = require_latents(matrix, name="chunk", layout="csr")
    more = moments(entries, layout="csr", n_rows=n_more, n_latents=int(matrix.shape[1]))
    n_rows = n_before + n_more
    step = more.means - before.means
    return Moments(
        before.means + step * (n_more / n_rows),
        before.centred + more.centred + step * step * (n_before * n_more / n_rows),
    )


def _add_block(
    chunks: Chunks, first: int, totals: np.ndarray, side_a: Side, side_b: Side, n_rows: int
) -> None:
    """Fill `totals` with those of the latents of A from `first` on, in one pass over the chunks."""
    end = first + len(totals)
    totals[:] = 0
    # Marked by the kernel, and of no use here: all pairs of a block are looked at.
    touched = np.zeros(totals.shape[1] // BLOCK, np.uint8)
    place = np.arange(len(side_b.level))
    n_read = 0
    for chunk, more in _checked(chunks, len(side_a.level), len(side_b.level)):
        n_read += more
        a = sp.csc_array(chunk.a[:, first:end])
        a.sort_indices()
        entries = require_latents(a, name="a", layout="csc")
        data = entries.data.astype(totals.dtype, copy=False)
        b = require_latents(chunk.b, name="b", layout="csr")
        packed = packed_entries(b, side_b.scale, place, totals.dtype)
        add_rows(
            entries.indptr, entries.indices, data, side_a.scale[first:end], b.indptr, packed, totals, touched
        )
    if n_read != n_rows:
        raise ValueError(
            f"chunks: expected the {n_rows} rows of the first call, got {n_read}. Give the same."
        )
