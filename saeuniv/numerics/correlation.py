"""Exact correlations of sparse latents: raw, and within groups of rows that share a token.

W_ij = sum_t (x_ti - xbar_g(t)i)(y_tj - ybar_g(t)j) = (X'Y)_ij - sum_g n_g xbar_gi ybar_gj, and
r_w = W_ij / sqrt(W_ii W_jj): the pooled within-class (fixed-effects, ANCOVA) correlation, a partial
correlation given a categorical variable (docs/statistics.md B). With one group it is Pearson's r.
A group of one row contributes exactly nothing.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.nulls import shifted_group_sums
from saeuniv.numerics.residuals import document_products
from saeuniv.numerics.top_correlations import top_correlations, top_jaccard, top_partial_correlations

# Sums of documents held at once, 128 MB: a dictionary has more pairs than fit.
_MOST_SUMS = 1 << 24


class Evidence(NamedTuple):
    """What makes two latents candidates of one another."""

    kind: str
    """pearson: r of activations; phi: r of firing (0 or 1); jaccard: share of firings in common."""

    condition: str
    """Rows of a group share this; `none` for all rows alike. jaccard knows `none` only."""


@runtime_checkable
class CandidateSearch(Protocol):
    """What `candidates` is, and what an engine for another device is."""

    def __call__(
        self, a: HalfLatents, b: HalfLatents, evidence: Evidence, *, top_m: int, shift: int = 0
    ) -> Candidates:
        """The candidates, as `candidates` defines them."""
        ...


def candidates(
    a: HalfLatents, b: HalfLatents, evidence: Evidence, *, top_m: int, shift: int = 0
) -> Candidates:
    """The `top_m` most similar latents of B for each of A, and of A for each of B, on one half.

    Args:
        a: latents of A.
        b: latents of B on the same rows.
        evidence: the similarity; correlations within groups list positive partners only.
        top_m: partners a latent.
        shift: sequences that B is shifted by: row q of A meets row q + shift of B, under A's labels.

    Raises:
        ValueError: jaccard within groups, or an unknown kind.
    """
    if evidence.kind not in ("pearson", "phi", "jaccard"):
        raise ValueError(f"evidence: expected pearson, phi or jaccard, got {evidence.kind}.")
    if evidence.kind == "jaccard" and evidence.condition != "none":
        raise ValueError(f"evidence: jaccard is not taken within groups, got {evidence.condition}; use none.")
    if evidence.kind != "pearson":
        a, b = a.binary, b.binary
    rows = shift * a.half.positions
    if evidence.kind == "jaccard":
        return top_jaccard(a.matrix, b.by_row, top_m=top_m, shift=rows)
    if evidence.condition == "none":
        return top_correlations(a.matrix, b.by_row, top_m=top_m, shift=rows)
    groups = a.half.groups[evidence.condition]
    return top_partial_correlations(
        a.matrix,
        b.by_row,
        ids=groups.ids,
        counts=groups.counts,
        sums_a=a.sums(evidence.condition),
        sums_b=shifted_group_sums(b, shift, evidence.condition) if shift else b.sums(evidence.condition),
        top_m=top_m,
        shift=rows,
    )


def document_sums(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    condition: str,
) -> Float[np.ndarray, "pairs documents"]:
    """Sum over each document of the product of residuals of each pair; documents add up to W_ij."""
    sums = (a.sums(condition), b.sums(condition))
    return document_products(a.matrix, b.matrix, a.half, condition, sums=sums, pairs=(index_a, index_b))


def pair_correlations(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    condition: str,
    *,
    cross: Float[np.ndarray, "pairs documents"] | None = None,
) -> Float[np.ndarray, " pairs"]:
    """r_w of chosen pairs, in [-1, 1]; 0 where one has no variance left.

    Args:
        a: latents of A.
        b: latents of B on the same rows.
        index_a: latent of A of each pair.
        index_b: latent of B of each pair.
        condition: rows of a group share this.
        cross: `document_sums` of these pairs, where it is at hand.
    """
    scale = a.norms(condition)[index_a] * b.norms(condition)[index_b]
    if cross is not None:
        covariance = cross.sum(axis=1)
    else:
        covariance = np.zeros(len(index_a))
        step = max(1, _MOST_SUMS // len(a.half.rows_per_document))
        for start in range(0, len(index_a), step):
            some = slice(start, start + step)
            covariance[some] = document_sums(a, b, index_a[some], index_b[some], condition).sum(axis=1)
    return _r(covariance, scale)


def block_correlations(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " chosen_a"],
    index_b: Int[np.ndarray, " chosen_b"],
    condition: str,
) -> Float[np.ndarray, "chosen_a chosen_b"]:
    """`pair_correlations` of every chosen latent of A with every one of B, in two sparse products."""
    groups = a.half.groups[condition]
    rows = np.arange(len(groups.ids))
    of_group = sp.csr_array((np.ones(len(rows)), (groups.ids, rows)), shape=(len(groups.counts), len(rows)))
    x = sp.csc_array(a.matrix[:, index_a]).astype(np.float64)
    y = sp.csc_array(b.matrix[:, index_b]).astype(np.float64)
    weighted = sp.csr_array((of_group @ x).multiply(1 / np.maximum(groups.counts, 1)[:, None]))
    covariance = (x.T @ y).toarray() - (weighted.T @ (of_group @ y)).toarray()
    scale = np.outer(a.norms(condition)[index_a], b.norms(condition)[index_b])
    return _r(covariance, scale)


def _r(
    covariance: Float[np.ndarray, "*pairs"], scale: Float[np.ndarray, "*pairs"]
) -> Float[np.ndarray, "*pairs"]:
    r = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    return np.clip(r, -1.0, 1.0)
