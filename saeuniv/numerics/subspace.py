"""Subspaces spanned by paired rows: SVCCA, split into the work per space and the work per pair of spaces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Loss of orthogonality that the Gram route may cost; the canonical correlations are off by about as much.
_MAX_GRAM_ERROR = 1e-9


class Svcca(NamedTuple):
    """Similarity of two spaces with paired rows, and what it would be were the rows unrelated."""

    similarity: float
    """mean canonical correlation over min(k_a, k_b), in [0, 1], up = alike; 0 where one has no variance"""

    mean_squared: float
    """mean squared canonical correlation over min(k_a, k_b), in [0, 1]; 0 where one has no variance"""

    null_mean_squared: float
    """expected mean_squared of independent rows: max(k_a, k_b) / (n - 1), exact for k_a + k_b <= n - 1"""

    n: int
    """number of paired rows"""

    k_a: int
    """dimensions kept of A"""

    k_b: int
    """dimensions kept of B"""

    @property
    def is_defined(self) -> bool:
        """False where the value says nothing: no variance, or n <= k_a + k_b, which forces 1s."""
        return min(self.k_a, self.k_b) > 0 and self.n > self.k_a + self.k_b

    @property
    def is_rank_limited(self) -> bool:
        """True where k_a + k_b > n / 3: the null is so high that only a calibrated value means anything."""
        return 3 * (self.k_a + self.k_b) > self.n


def centred(x: Float[np.ndarray, "pairs d"]) -> Float[np.ndarray, "pairs d"]:
    """`x` minus its column means in float64; exactly zero where nothing but rounding is left."""
    x = np.asarray(x, dtype=np.float64)
    if not len(x):
        return x
    out = x - x.mean(axis=0)
    # The mean of n equal numbers is off by a few units in the last place, never by more than n of them.
    rounding = len(x) * np.finfo(np.float64).eps * np.linalg.norm(x, axis=0)
    out[:, np.linalg.norm(out, axis=0) <= rounding] = 0.0
    return out


def svcca_basis(x: Float[np.ndarray, "pairs d"], *, variance_kept: float) -> Float[np.ndarray, "pairs k"]:
    """Orthonormal basis of the leading principal components of `x`, in the space of rows.

    k is the least number of components with at least `variance_kept` of the variance; 0 where there is no
    variance or fewer than 2 rows. Rows may be re-paired afterwards (`basis[permutation]`): centring and
    k do not depend on their order. The basis is the same, up to rotation, for x Q + c and s x.
    O(n d min(n, d)) time. Raghu et al. 2017, section 2.1, step 1.

    Raises:
        ValueError: if `variance_kept` is not in (0, 1].
    """
    if not 0 < variance_kept <= 1:
        raise ValueError(
            f"variance_kept={variance_kept}: expected a fraction in (0, 1], got {variance_kept}. Choose 0.99."
        )
    x = centred(x)
    if not x.any():
        return np.zeros((len(x), 0))
    # The components dropped hold less than 1 - variance_kept, the last one kept would take them above it, so
    # it has at least (1 - variance_kept) / min(n, d) of all variance. Through the Gram matrix it is then
    # orthogonal to within eps * min(n, d) / (1 - variance_kept): 1e-12 at 0.99 and d = 64, for half
    # the time of an SVD.
    exact = np.finfo(np.float64).eps * min(x.shape) > _MAX_GRAM_ERROR * (1 - variance_kept)
    vectors, variances = _by_svd(x) if exact else _by_gram(x)
    cumulative = np.cumsum(variances)
    k = int(np.searchsorted(cumulative, variance_kept * cumulative[-1])) + 1
    if exact or x.shape[0] <= x.shape[1]:
        return vectors[:, :k]
    return x @ (vectors[:, :k] / np.sqrt(variances[:k]))


def svcca(basis_a: Float[np.ndarray, "pairs k_a"], basis_b: Float[np.ndarray, "pairs k_b"]) -> Svcca:
    """Canonical correlations of two bases made by `svcca_basis` whose rows are paired.

    Symmetric; 1 for a rotated, shifted or isotropically scaled copy; not invariant to a general linear map,
    which changes the components that are kept. Independent rows do not give 0 (see `null_mean_squared`).
    Raghu et al. 2017, section 2.1, step 2; the null is E[sum rho^2] = k_a k_b / (n - 1).
    """
    n, k_a, k_b = len(basis_a), basis_a.shape[1], basis_b.shape[1]
    if min(k_a, k_b) == 0:
        return Svcca(0.0, 0.0, 0.0, n, k_a, k_b)
    # Cosines of principal angles: rounding may put them a unit in the last place above 1.
    rho = np.minimum(np.linalg.svd(basis_a.T @ basis_b, compute_uv=False), 1.0)
    null_mean_squared = max(k_a, k_b) / (n - 1)
    return Svcca(float(rho.mean()), float((rho**2).mean()), null_mean_squared, n, k_a, k_b)


class _Spectrum(NamedTuple):
    vectors: Float[np.ndarray, "size components"]
    variances: Float[np.ndarray, " components"]


def _by_svd(x: Float[np.ndarray, "pairs d"]) -> _Spectrum:
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    return _Spectrum(left, singular**2)


def _by_gram(x: Float[np.ndarray, "pairs d"]) -> _Spectrum:
    gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    variances, vectors = np.linalg.eigh(gram)
    return _Spectrum(vectors[:, ::-1], np.maximum(variances[::-1], 0.0))
