"""What is required of sparse latents before compiled code reads them, and their moments."""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled

# Rounding of a difference of sums of squares leaves about 1e-13 of the total where the truth is zero.
ROUNDING_SHARE = 1e-12
_NUMBERS = ("float32", "float64")
_MOST_LATENTS = np.iinfo(np.int32).max
_FINE, _POINTER, _RANGE, _ORDER, _VALUE = range(5)


class Compressed(NamedTuple):
    """The arrays of a checked matrix, in the types compiled code is compiled for."""

    indptr: Int[np.ndarray, " segments_plus_1"]
    """int64"""

    indices: Int[np.ndarray, " entries"]
    """int32, ascending within a segment (a latent of a csc_array, a row of a csr_array)"""

    data: Float[np.ndarray, " entries"]
    """non-negative"""


class Moments(NamedTuple):
    """Mean and centred sum of squares of each latent over all rows; float64."""

    means: Float[np.ndarray, " latents"]
    """never negative"""

    centred: Float[np.ndarray, " latents"]
    """sum of (x - mean)^2; exactly 0 for a latent that never changes"""


def require_latents(matrix: sp.csc_array | sp.csr_array, *, name: str, layout: str) -> Compressed:
    """The arrays of `matrix`, if it is what sparse latents are; one pass over its entries.

    Args:
        matrix: rows x latents.
        name: what messages call it.
        layout: `csc` or `csr`.

    Raises:
        ValueError: another layout or type of numbers; negative, infinite or missing numbers; indices that
            are out of range, not ascending, or given twice; with the first offending position.
    """
    if matrix.format != layout:
        raise ValueError(f"{name}: expected a {layout}_array, got {matrix.format}. Convert it first.")
    if matrix.data.dtype.name not in _NUMBERS:
        raise ValueError(f"{name}: expected float32 or float64, got {matrix.data.dtype}. Convert it first.")
    if max(matrix.shape) > _MOST_LATENTS:
        raise ValueError(f"{name}: expected at most {_MOST_LATENTS} rows and latents, got {matrix.shape}.")
    n_inner = matrix.shape[0 if layout == "csc" else 1]
    indptr = np.asarray(matrix.indptr, np.int64)
    fault, at = _first_fault(indptr, matrix.indices, matrix.data, n_inner)
    if fault != _FINE:
        raise ValueError(_fault_message(matrix, name, indptr, fault, at))
    return Compressed(indptr, np.asarray(matrix.indices, np.int32), matrix.data)


def require_same_rows(a: sp.csc_array | sp.csr_array, b: sp.csc_array | sp.csr_array) -> int:
    """The number of rows of both.

    Raises:
        ValueError: they differ.
    """
    if a.shape[0] != b.shape[0]:
        raise ValueError(
            f"b: expected {a.shape[0]} rows, those of a, got {b.shape[0]}. Both sides must see the same "
            f"tokens; the first row without a partner is {min(a.shape[0], b.shape[0])}."
        )
    return int(a.shape[0])


def require_groups(ids: Int[np.ndarray, " rows"], counts: Float[np.ndarray, " groups"], n_rows: int) -> None:
    """Check that every row has one of the groups that `counts` counts.

    Raises:
        ValueError: ids of another length than rows, or out of range; with the first offending position.
    """
    if len(ids) != n_rows:
        raise ValueError(f"ids: expected {n_rows} groups, one a row, got {len(ids)}.")
    outside = np.flatnonzero((ids < 0) | (ids >= len(counts)))
    if len(outside):
        raise ValueError(
            f"ids: expected groups 0..{len(counts) - 1}, those of counts, got {len(outside)} others, the "
            f"first {ids[outside[0]]} at row {outside[0]}."
        )
    rows = np.bincount(ids, minlength=len(counts))
    wrong = np.flatnonzero(rows != counts)
    if len(wrong):
        group = wrong[0]
        raise ValueError(
            f"counts: expected the rows of each group of ids, {rows[group]} in group {group}, got "
            f"{counts[group]:g}. Use np.bincount(ids)."
        )


def binarised(matrix: sp.csc_array | sp.csr_array) -> sp.csc_array | sp.csr_array:
    """The same latents with 1 where they fire; shares the indices of `matrix`.

    Pearson's r of binarised latents is phi (the mean square contingency coefficient, Yule 1912).
    """
    return type(matrix)(
        ((matrix.data > 0).astype(matrix.data.dtype), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def moments(matrix: Compressed, *, layout: str, n_rows: int, n_latents: int) -> Moments:
    """Moments of the latents of a checked matrix by two passes, which does not cancel."""
    means, centred = np.zeros((2, n_latents))
    kernel = _moments_by_latent if layout == "csc" else _moments_by_row
    kernel(matrix.indptr, matrix.indices, matrix.data, n_rows, means, centred)
    squares = centred + n_rows * means * means
    centred[centred <= ROUNDING_SHARE * squares] = 0.0
    return Moments(means, centred)


def _fault_message(
    matrix: sp.csc_array | sp.csr_array, name: str, indptr: Int[np.ndarray, " _"], fault: int, at: int
) -> str:
    if fault == _POINTER:
        return (
            f"{name}: expected pointers that ascend from 0 to the {len(matrix.data)} entries, got another at "
            f"indptr[{at}]."
        )
    segment, inner = int(np.searchsorted(indptr, at, side="right")) - 1, int(matrix.indices[at])
    row, latent = (inner, segment) if matrix.format == "csc" else (segment, inner)
    place = f"row {row}, latent {latent}"
    if fault == _RANGE:
        return f"{name}: expected indices within {matrix.shape}, got {place} (entry {at})."
    if fault == _ORDER:
        return (
            f"{name}: expected ascending indices, each once, got {place} after a larger or the same one "
            f"(entry {at}). Call sum_duplicates() first."
        )
    return f"{name}: expected finite non-negative latents, got {matrix.data[at]} at {place}."


@compiled
@no_type_check
def _first_fault(indptr, indices, data, n_inner):
    """What is wrong first, and with which entry (or pointer)."""
    if indptr[0] != 0:
        return _POINTER, 0
    for segment in range(len(indptr) - 1):
        if indptr[segment + 1] < indptr[segment] or indptr[segment + 1] > len(data):
            return _POINTER, segment + 1
        last = np.int64(-1)
        for entry in range(indptr[segment], indptr[segment + 1]):
            index = np.int64(indices[entry])
            if index < 0 or index >= n_inner:
                return _RANGE, entry
            if index <= last:
                return _ORDER, entry
            if not (data[entry] >= 0 and data[entry] < np.inf):
                return _VALUE, entry
            last = index
    return _FINE, 0


@compiled
@no_type_check
def _moments_by_latent(indptr, indices, data, n_rows, means, centred):
    for latent in range(len(means)):
        total = 0.0
        for entry in range(indptr[latent], indptr[latent + 1]):
            total += data[entry]
        mean = total / n_rows if n_rows else 0.0
        squares = 0.0
        for entry in range(indptr[latent], indptr[latent + 1]):
            squares += (data[entry] - mean) ** 2
        means[latent] = mean
        centred[latent] = squares + (n_rows - (indptr[latent + 1] - indptr[latent])) * mean * mean


@compiled
@no_type_check
def _moments_by_row(indptr, indices, data, n_rows, means, centred):
    stored = np.zeros(len(means), np.int64)
    for entry in range(len(indices)):
        means[indices[entry]] += data[entry]
        stored[indices[entry]] += 1
    for latent in range(len(means)):
        means[latent] = means[latent] / n_rows if n_rows else 0.0
    for entry in range(len(indices)):
        centred[indices[entry]] += (data[entry] - means[indices[entry]]) ** 2
    for latent in range(len(means)):
        centred[latent] += (n_rows - stored[latent]) * means[latent] * means[latent]
