"""Subspaces spanned by paired rows: SVCCA and the first component, split into the work per space and pair."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.inputs import require_finite, require_pairs

# Loss of orthogonality that the Gram route may cost; the canonical correlations are off by about as much.
_MAX_GRAM_ERROR = 1e-9

# Multiply-adds of a product from which it is taken in single precision. Its rounding is 6e-8 of an entry,
# but averages out over so many: 1e-8 of a nuclear norm is not reached. Smaller products cost nothing.
_SINGLE_FROM = 10_000_000

# Share of the largest variance by which it must exceed the second: below, rounding decides the direction.
_LEAST_GAP = 1e-9


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
    """`x` minus its column means in float64; exactly zero where nothing but rounding is left.

    Raises:
        ValueError: an entry that is not finite, with its position.
    """
    x = np.asarray(x, dtype=np.float64)
    require_finite(x, "x", fix="Leave out such rows on both sides.")
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


def svcca(basis_a: Float[np.ndarray, "pairs k_a"], basis_b: Float[np.ndarray, "rows k_b"]) -> Svcca:
    """Canonical correlations of two bases made by `svcca_basis` whose rows are paired.

    Symmetric; 1 for a rotated, shifted or isotropically scaled copy; not invariant to a general linear map,
    which changes the components that are kept. Independent rows do not give 0 (see `null_mean_squared`).
    Raghu et al. 2017, section 2.1, step 2; the null is E[sum rho^2] = k_a k_b / (n - 1).
    """
    require_pairs(basis_a, basis_b)
    n, k_a, k_b = len(basis_a), basis_a.shape[1], basis_b.shape[1]
    if min(k_a, k_b) == 0:
        return Svcca(0.0, 0.0, 0.0, n, k_a, k_b)
    # Cosines of principal angles: rounding may put them a unit in the last place above 1.
    rho = np.minimum(np.linalg.svd(basis_a.T @ basis_b, compute_uv=False), 1.0)
    null_mean_squared = max(k_a, k_b) / (n - 1)
    return Svcca(float(rho.mean()), float((rho**2).mean()), null_mean_squared, n, k_a, k_b)


def repaired_svcca(
    basis_a: Float[np.ndarray, "pairs k_a"], basis_b: Float[np.ndarray, "pairs k_b"]
) -> Callable[[Int[np.ndarray, " pairs"]], float]:
    """`svcca(basis_a, basis_b[order]).similarity` as a function of `order`, to within 1e-7.

    Rows are only re-paired, so that bases and dimensions stay. A call costs one n x k_a x k_b product (in
    single precision where that is large) and the eigenvalues of the smaller Gram matrix.
    """
    k = min(basis_a.shape[1], basis_b.shape[1])
    if k == 0:
        return lambda order: 0.0
    norm = repaired_nuclear_norm(basis_a, basis_b)
    return lambda order: min(norm(order) / k, 1.0)


def repaired_nuclear_norm(
    x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "pairs d_b"]
) -> Callable[[Int[np.ndarray, " pairs"]], float]:
    """The sum of singular values of x' y[order] as a function of `order`.

    Relative error below 1e-7 where the columns of each side are linearly independent; else those without
    variance add their rounding: take `principal_scores` first.
    """
    product = repaired_product(x, y)
    return lambda order: nuclear_norm(product(order))


def repaired_product(
    x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "pairs d_b"]
) -> Callable[[Int[np.ndarray, " pairs"]], Float[np.ndarray, "d_a d_b"]]:
    """X' Y[order] in float64 as a function of `order`, from single precision where the product is large."""
    single = len(x) * x.shape[1] * y.shape[1] >= _SINGLE_FROM
    dtype = np.float32 if single else np.float64
    left, right = np.ascontiguousarray(x.T, dtype=dtype), np.ascontiguousarray(y, dtype=dtype)
    return lambda order: (left @ right[order]).astype(np.float64)


def nuclear_norm(product: Float[np.ndarray, "d_a d_b"]) -> float:
    """The sum of singular values, by the eigenvalues of the smaller Gram matrix: d^2 D + d^3 operations.

    Three times faster than a decomposition. Singular values below about 1e-7 of the largest count as 0.
    """
    gram = product @ product.T if product.shape[0] <= product.shape[1] else product.T @ product
    squares = np.linalg.eigvalsh(gram)
    # The root of an eigenvalue that is rounding would be 1e-8 of the largest: many of them would show.
    return float(np.sqrt(squares[squares > len(gram) * np.finfo(np.float64).eps * squares[-1]]).sum())


def principal_scores(x: Float[np.ndarray, "pairs d"]) -> Float[np.ndarray, "pairs rank"]:
    """The centred rows of `x` in the axes of their principal components, those without variance left out.

    A rotation of the centred rows: products of rows are the same. O(n d min(n, d)) time.
    """
    x = centred(x)
    vectors, variances = _by_gram(x)
    rank = int((variances > max(x.shape) * np.finfo(np.float64).eps * variances[0]).sum()) if x.any() else 0
    if x.shape[0] <= x.shape[1]:
        return vectors[:, :rank] * np.sqrt(variances[:rank])
    return x @ vectors[:, :rank]


class FirstComponent(NamedTuple):
    """The first principal component of one space, in the space of rows."""

    direction: Float[np.ndarray, " pairs"]
    """first left singular vector of the centred rows: unit length and mean 0; zeros without variance"""

    gap: float
    """1 - second variance / first variance, in [0, 1]; 0 without variance: no direction is the first"""

    @property
    def is_defined(self) -> bool:
        """False where two components have the same variance: any mixture of them is as much the first."""
        return self.gap > _LEAST_GAP


def first_component(x: Float[np.ndarray, "pairs d"]) -> FirstComponent:
    """The scores of the rows of `x` on their first principal component, scaled to unit length.

    The same, up to sign, for x Q + c and s x. The smaller gap, the less does it say: it turns by about
    sqrt(1 / n) / gap from sample to sample. O(n d min(n, d)) time.
    """
    x = centred(x)
    if not x.any():
        return FirstComponent(np.zeros(len(x)), 0.0)
    vectors, variances = _by_gram(x)
    direction = vectors[:, 0] if x.shape[0] <= x.shape[1] else x @ vectors[:, 0]
    second = float(variances[1]) if len(variances) > 1 else 0.0
    gap = 1.0 - second / float(variances[0])
    return FirstComponent(np.ascontiguousarray(direction / np.linalg.norm(direction)), gap)


def pc1_abs_corr(component_a: FirstComponent, component_b: FirstComponent) -> float:
    """|Pearson correlation| of the first components of two spaces with paired rows, in [0, 1], up = alike.

    What published code computes under the name of SVCCA where its threshold keeps one component
    (`saeuniv.metrics.pc1`). 1 for a rotated, shifted or isotropically scaled copy, and nearly so for any two
    spaces that share one strong direction and nothing else. Its mean over pairings: `pc1_moments`.
    """
    return min(abs(float(component_a.direction @ component_b.direction)), 1.0)


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
