"""Exact correlations of sparse latents: raw, and within groups of rows that share a token.

W_ij = sum_t (x_ti - xbar_g(t)i)(y_tj - ybar_g(t)j) = (X'Y)_ij - sum_g n_g xbar_gi ybar_gj, and
r_w = W_ij / sqrt(W_ii W_jj): the pooled within-class (fixed-effects, ANCOVA) correlation, a partial
correlation given a categorical variable (docs/statistics.md B). With one group it is Pearson's r.
A group of one row contributes exactly nothing.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.latents import HalfLatents, by_document


def products(a: HalfLatents, b: HalfLatents) -> Float[np.ndarray, "latents_a latents_b"]:
    """X'Y of the latents of A and B over the rows of a half; every condition starts from it."""
    return np.asarray((sp.csr_array(a.matrix.T) @ b.matrix.tocsr()).toarray())


def within_group_correlation(
    a: HalfLatents, b: HalfLatents, condition: str, cross: Float[np.ndarray, "latents_a latents_b"]
) -> Float[np.ndarray, "latents_a latents_b"]:
    """r_w of every latent of A with every latent of B, in [-1, 1]; 0 where one has no variance left.

    Args:
        a: latents of A on one half.
        b: latents of B on the same rows.
        condition: what rows of a group share; `none` gives Pearson's r.
        cross: `products(a, b)`, or that of rows of B permuted within the groups.
    """
    counts = a.half.groups[condition].counts
    covariance = cross - a.sums(condition).T @ (b.sums(condition) / counts[:, None])
    return _normalise(covariance, a.norms(condition), b.norms(condition))


def document_sums(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    condition: str,
) -> Float[np.ndarray, "documents pairs"]:
    """Sum over each document of the product of residuals of each pair; documents add up to W_ij.

    Group means are those of the whole half, held fixed, so that the sums add over documents.
    """
    x, y = sp.csc_array(a.matrix[:, index_a]), sp.csc_array(b.matrix[:, index_b])
    mean_x, mean_y = a.means(condition)[:, index_a], b.means(condition)[:, index_b]
    ids = a.half.groups[condition].ids
    total = by_document(sp.csc_array(x.multiply(y)), a.half)
    total -= by_document(_times_group(x, mean_y, ids), a.half)
    total -= by_document(_times_group(y, mean_x, ids), a.half)
    return total + a.half.counts_by_document(condition) @ (mean_x * mean_y)


def _times_group(
    matrix: sp.csc_array, means: Float[np.ndarray, "groups pairs"], ids: Int[np.ndarray, " rows"]
) -> sp.csc_array:
    """Each entry times the mean that the partner has in the entry's group."""
    columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    data = matrix.data * means[ids[matrix.indices], columns]
    return sp.csc_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _normalise(
    covariance: Float[np.ndarray, "latents_a latents_b"],
    norms_a: Float[np.ndarray, " latents_a"],
    norms_b: Float[np.ndarray, " latents_b"],
) -> Float[np.ndarray, "latents_a latents_b"]:
    scale = norms_a[:, None] * norms_b
    r = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    return np.clip(r, -1.0, 1.0)
