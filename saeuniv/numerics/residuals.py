"""Residuals of latents about their group means, of chosen latents and pairs: never of a whole layer at once.

A residual is dense where its latent is sparse: every row of a group in which the latent ever fires has one.
Sums over documents need no residual column; the document shift does, a block of latents at a time.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32, Int

from saeuniv.numerics.group_sums import GroupSums
from saeuniv.numerics.pair_kernels import residual_columns, residual_products
from saeuniv.numerics.rows import Half


def document_products(
    a: sp.csc_array,
    b: sp.csc_array,
    half: Half,
    condition: str,
    *,
    sums: tuple[GroupSums, GroupSums],
    pairs: tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]],
) -> Float[np.ndarray, "pairs documents"]:
    """Sum over each document of the product of the residuals of each pair; documents add up to W_ij.

    Group means are those of the whole half, held fixed, so that the sums add over documents.

    Args:
        a: latents of A on the half, rows sorted within a latent.
        b: latents of B on the same rows.
        half: documents and groups of the rows.
        condition: rows of a group share this.
        sums: group sums of a and b under this condition.
        pairs: latent of A and latent of B of each pair.
    """
    groups, by_group = half.groups[condition], half.documents_by_group(condition)
    out = np.zeros((len(pairs[0]), len(half.rows_per_document)))
    scratch = np.zeros((2, len(groups.counts)))
    x, y = (_arrays(matrix, each, groups.counts) for matrix, each in zip((a, b), sums, strict=True))
    by_group = (by_group.indptr, by_group.indices, by_group.data)
    residual_products(x, y, *pairs, groups.ids, half.documents, by_group, scratch, out)
    return out


def unit_residuals(
    matrix: sp.csc_array,
    half: Half,
    condition: str,
    *,
    sums: GroupSums,
    index: Int[np.ndarray, " chosen"],
    rows: int,
) -> Float32[np.ndarray, "chosen rows"]:
    """Residual columns of the chosen latents over the first `rows`, of norm 1 over all of the half.

    0 for a latent that its group determines. float32: for the document shift, whose spread is far larger.
    """
    groups = half.groups[condition]
    norms = sums.norms[index]
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    out = np.empty((len(index), rows), np.float32)
    scratch = np.zeros(len(groups.counts))
    residual_columns(_arrays(matrix, sums, groups.counts), index, groups.ids, scale, scratch, out)
    return out


def _arrays(
    matrix: sp.csc_array, sums: GroupSums, counts: Float[np.ndarray, " groups"]
) -> tuple[np.ndarray, ...]:
    means = sums.sums / counts[sums.groups]
    return matrix.indptr, matrix.indices, matrix.data, sums.indptr, sums.groups, means
