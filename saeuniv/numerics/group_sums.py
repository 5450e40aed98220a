"""What token-partialled correlation needs of each latent: its sums over groups of rows, and its norm."""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.sparse_latents import ROUNDING_SHARE, require_groups, require_latents

_SCAN_SHARE = 32
"""groups per touched group from which all groups are sorted rather than scanned"""


class GroupSums(NamedTuple):
    """Sums of every latent over the rows of every group in which it fires; sparse, float64."""

    indptr: Int[np.ndarray, " latents_plus_1"]
    """Entries of latent i are indptr[i]:indptr[i + 1]; int64."""

    groups: Int[np.ndarray, " entries"]
    """Group of each entry, ascending within a latent; int32."""

    sums: Float[np.ndarray, " entries"]
    """Sum of the latent over the rows of the group, positive."""

    squares: Float[np.ndarray, " latents"]
    """Sum of squares over all rows."""

    norms: Float[np.ndarray, " latents"]
    """Root of the within-group sum of squares W_ii; exactly 0 where only rounding is left."""

    @property
    def n_latents(self) -> int:
        """Latents."""
        return len(self.squares)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(each.nbytes for each in self)


def group_sums(
    matrix: sp.csc_array, ids: Int[np.ndarray, " rows"], counts: Float[np.ndarray, " groups"]
) -> GroupSums:
    """Sums of the latents of `matrix` (rows x latents, non-negative) over groups of rows.

    W_ii = sum_t x_ti^2 - sum_v S_i(v)^2 / n_v (docs/statistics.md B), in float64. A group of one row
    adds exactly nothing to it. O(nnz log nnz) time; memory as the entries, at most one for each non-zero.

    Args:
        matrix: sorted row indices; float32 or float64.
        ids: group of each row, an index of `counts`.
        counts: rows of each group.

    Raises:
        ValueError: a matrix that does not hold latents; ids of another length than rows or out of range;
            counts that are not those of ids; with the first offending position.
    """
    checked = require_latents(matrix, name="matrix", layout="csc")
    require_groups(ids, counts, int(matrix.shape[0]))
    n_latents = int(matrix.shape[1])
    # Never more entries than non-zeros; memory that is not written is not taken.
    groups, sums = np.empty(len(checked.data), np.int32), np.empty(len(checked.data))
    indptr = np.zeros(n_latents + 1, np.int64)
    squares, within = np.zeros((2, n_latents))
    _sum_groups(*checked, np.asarray(ids, np.int32), counts, indptr, groups, sums, squares, within)
    norms = np.sqrt(np.where(within > ROUNDING_SHARE * squares, within, 0.0))
    n_entries = int(indptr[-1])
    return GroupSums(indptr, groups[:n_entries].copy(), sums[:n_entries].copy(), squares, norms)


@compiled
@no_type_check
def _sum_groups(
    m_indptr, m_rows, m_data, ids, counts, indptr, groups, sums, squares, within
):  # arrays of the matrix, of the groups, and the results
    total = np.zeros(len(counts))
    n_entries = 0
    for latent in range(len(squares)):
        first = n_entries
        square, kept = 0.0, 0.0
        for entry in range(m_indptr[latent], m_indptr[latent + 1]):
            value = np.float64(m_data[entry])
            group = ids[m_rows[entry]]
            # A stored zero does not fire; so a sum of 0 says that the group is new.
            if total[group] == 0.0 and value > 0.0:
                groups[n_entries] = group
                n_entries += 1
            total[group] += value
            square += value * value
            # A group of one row holds nothing within itself: left out of both sums, so exactly nothing.
            if counts[group] > 1.0:
                kept += value * value
        if (n_entries - first) * _SCAN_SHARE > len(counts):
            n_entries = first
            for group in range(len(counts)):
                if total[group] > 0.0:
                    groups[n_entries] = group
                    n_entries += 1
        else:
            groups[first:n_entries].sort()
        between = 0.0
        for entry in range(first, n_entries):
            group = groups[entry]
            sums[entry] = total[group]
            if counts[group] > 1.0:
                between += total[group] * total[group] / counts[group]
            total[group] = 0.0
        indptr[latent + 1] = n_entries
        squares[latent] = square
        within[latent] = kept - between
