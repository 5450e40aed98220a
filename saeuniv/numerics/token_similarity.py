"""Similarities of two layers' latents on tokens, of their covariances alone, across two halves of documents.

Each is cross-fitted: what is chosen on one half (kernels, components, a rotation) is judged on the other.
Computed on one set of rows they measure the size of chance covariances, which is larger where documents of
both sides begin and end together than under a shift, so that a document shift is no null of theirs (measured
over 100 pairs of unrelated latents: mean p .32, p below .05 in 9 to 12). Across halves their mean is 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.numerics.token_grams import TokenGrams


class CanonicalFit(NamedTuple):
    """Canonical correlations of variates fitted on other rows."""

    similarity: float
    """mean correlation over min(k_a, k_b) pairs of variates, in [-1, 1], up = alike"""

    k_a: int
    """dimensions kept of A"""

    k_b: int
    """dimensions kept of B"""


def cross_fitted_cka(first: TokenGrams, second: TokenGrams) -> float | None:
    """<W_AB, W_AB'> / sqrt(<W_AA, W_AA'> <W_BB, W_BB'>), W of one half and W' of the other; up = alike.

    Linear CKA whose squared norms are products across halves: without the bias d / (n + d) of the usual form,
    and 0 on average for unrelated latents whatever the dependence within documents. 1 for a rotated or
    isotropically scaled copy; symmetric in sides and halves; may exceed 1 by chance where halves are small.
    None where a side has no variance in common between the halves. O(p^2) time. Kornblith et al. 2019, eq. 2,
    with products across independent parts as in the crossvalidated distances of Walther et al. 2016.
    """
    self_a, self_b = float(np.vdot(first.aa, second.aa)), float(np.vdot(first.bb, second.bb))
    if self_a <= 0 or self_b <= 0:
        return None
    return float(np.vdot(first.ab, second.ab)) / float(np.sqrt(self_a * self_b))


def cross_fitted_svcca(
    fit: TokenGrams, evaluation: TokenGrams, *, variance_kept: float
) -> CanonicalFit | None:
    """Mean correlation on `evaluation` of the canonical variates of `fit`, after keeping its components.

    Variates are those of `subspace.svcca` on the rows of `fit`: W_AA and W_BB whitened on the components with
    `variance_kept` of the variance, then singular vectors. 1 for a rotated or isotropically scaled copy,
    0 on average for unrelated latents; not invariant to a general linear map. A variate without variance
    on `evaluation` scores 0. None where a side has no variance on `fit`. O(p^3) time.

    Raises:
        ValueError: if `variance_kept` is not in (0, 1].
    """
    if not 0 < variance_kept <= 1:
        raise ValueError(
            f"variance_kept={variance_kept}: expected a fraction in (0, 1], got {variance_kept}. Choose 0.99."
        )
    whitening_a, whitening_b = (_whitening(each, variance_kept) for each in (fit.aa, fit.bb))
    k_a, k_b = whitening_a.shape[1], whitening_b.shape[1]
    if min(k_a, k_b) == 0:
        return None
    left, _, right = np.linalg.svd(whitening_a.T @ fit.ab @ whitening_b, full_matrices=False)
    variates_a, variates_b = whitening_a @ left, whitening_b @ right.T
    variance_a = np.sum(variates_a * (evaluation.aa @ variates_a), axis=0)
    variance_b = np.sum(variates_b * (evaluation.bb @ variates_b), axis=0)
    covariance = np.sum(variates_a * (evaluation.ab @ variates_b), axis=0)
    scale = np.sqrt(np.maximum(variance_a, 0.0) * np.maximum(variance_b, 0.0))
    rho = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    return CanonicalFit(float(rho.mean()), k_a, k_b)


def cross_fitted_procrustes(fit: TokenGrams, evaluation: TokenGrams) -> float | None:
    """<Q, W_AB'> / sqrt(tr W_AA' tr W_BB'), Q the best rotation on `fit`, W' of `evaluation`; in [-1, 1].

    The Procrustes similarity (`procrustes.procrustes_similarity`) of a rotation fitted on other documents:
    up = alike, 1 for a rotated or isotropically scaled copy, 0 on average for unrelated latents. None where
    a side has no variance on `evaluation`. O(p^3) time.
    """
    scale = float(np.sqrt(max(np.trace(evaluation.aa), 0.0) * max(np.trace(evaluation.bb), 0.0)))
    if scale <= 0:
        return None
    left, _, right = np.linalg.svd(fit.ab, full_matrices=False)
    return float(np.vdot(left @ right, evaluation.ab)) / scale


def _whitening(
    within: Float[np.ndarray, "latents latents"], variance_kept: float
) -> Float[np.ndarray, "latents k"]:
    variances, vectors = np.linalg.eigh(within)
    variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
    if not len(variances) or variances[0] <= 0:
        return np.zeros((len(within), 0))
    # Components that are rounding have no direction, though all of the variance be asked for.
    variances = variances[variances > len(within) * np.finfo(np.float64).eps * variances[0]]
    cumulative = np.cumsum(variances)
    k = min(int(np.searchsorted(cumulative, variance_kept * cumulative[-1])) + 1, len(variances))
    return vectors[:, :k] / np.sqrt(variances[:k])
