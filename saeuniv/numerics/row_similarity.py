"""Similarities among the rows of one space, a block of rows at a time and to a stated resolution."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32

from saeuniv.numerics.inputs import require_finite

_FIX = "Leave out such rows on both sides."

Inner = Literal["cosine", "pearson"]
"""cosine, or Pearson's r over dimensions: the cosine of rows whose mean over columns is taken off."""

STEPS = 1 << 22
"""Steps of the similarity between 0 and 1. Single precision resolves no more; closer ones are equal, so that
rounding, which differs between machines, breaks no tie."""

_BLOCK_BYTES = 16 << 20


class Block(NamedTuple):
    """Similarities of a few rows with others."""

    first: int
    """The first row of the block."""

    entries: Float32[np.ndarray, "block columns"]
    """Similarity of row first + i with row j (`upper`: with row first + j), in [-1, 1] up to rounding."""


def similarity_blocks(x: np.ndarray | sp.csr_array, *, inner: Inner, upper: bool) -> Iterator[Block]:
    """Similarities of all pairs of rows of `x`, in blocks of about 16 MB; single precision.

    A row without length (all zero; constant, for `pearson`) has similarity 0 with every row. Cosine is
    invariant to rotation and to the length of each row; `pearson` depends on the basis. O(n^2 d) time,
    for sparse rows the number of products of two entries in the same column.

    Args:
        x: `rows x dimensions`.
        inner: which similarity.
        upper: leave out what lies below the blocks on the diagonal, half of the work.

    Raises:
        ValueError: an entry that is not finite, or `pearson` of sparse rows.
    """
    _require_finite(x)
    unit = _unit_sparse(x, inner) if isinstance(x, sp.csr_array) else _unit_dense(x, inner)
    n = int(unit.shape[0])
    height = max(1, _BLOCK_BYTES // (4 * max(n, 1)))
    for first in range(0, n, height):
        others = unit[first if upper else 0 :]
        product = unit[first : first + height] @ others.T
        entries = product if isinstance(product, np.ndarray) else product.toarray()
        yield Block(first, np.ascontiguousarray(entries, dtype=np.float32))


def _unit_dense(x: np.ndarray, inner: Inner) -> Float32[np.ndarray, "rows dimensions"]:
    x = x.astype(np.float64)
    size = np.abs(x).max(axis=1, keepdims=True, initial=0.0)
    if inner == "pearson" and x.shape[1]:
        x = x - x.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    # What is left of a constant row is the rounding of its mean.
    alive = lengths > 1e-12 * size
    return np.divide(x, lengths, out=np.zeros_like(x), where=alive).astype(np.float32)


def _require_finite(x: np.ndarray | sp.csr_array) -> None:
    if not isinstance(x, sp.csr_array):
        return require_finite(x, "x", fix=_FIX)
    broken = np.flatnonzero(~np.isfinite(x.data))
    if len(broken):
        row = int(np.searchsorted(x.indptr, broken[0], side="right")) - 1
        raise ValueError(
            f"x: expected finite numbers, got {len(broken)} of {x.nnz} that are not, the first "
            f"{x.data[broken[0]]} at [{row}, {x.indices[broken[0]]}]. {_FIX}"
        )
    return None


def _unit_sparse(x: sp.csr_array, inner: Inner) -> sp.csr_array:
    if inner != "cosine":
        raise ValueError(f"inner={inner}: expected cosine for sparse rows, got {inner}. Pass x.toarray().")
    lengths = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
    lengths = np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(x.indptr))
    return sp.csr_array(((x.data / lengths).astype(np.float32), x.indices, x.indptr), shape=x.shape)
