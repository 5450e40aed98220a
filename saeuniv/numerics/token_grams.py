"""Covariances of all latents of two layers on the same tokens, within groups, for any shift of one side.

W_AA, W_BB and W_AB are p x p matrices of within-group sums, from which CKA, SVCCA, Procrustes and ridge
regression between the spaces of latents follow (`token_similarity`, `predictivity`) without a row being
looked at again, and without a matching.
"""

from itertools import pairwise
from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled

# Products of pairs of active latents, as a share of those of all pairs, from which dense matrices are faster
# (measured at 512 and 1,024 latents a side), and the most entries of one.
_DENSE_FROM = 0.02
_MOST_DENSE = 4_000_000

# Share of a sum of squares below which what group means leave of it is rounding: a latent that its group
# determines, as in `latents`.
_ROUNDING = 1e-12


class TokenGrams(NamedTuple):
    """Within-group sums of products of the latents of two sides on the same rows."""

    aa: Float[np.ndarray, "latents_a latents_a"]
    """W_AA, sum over rows of products of residuals about the group's means"""

    bb: Float[np.ndarray, "latents_b latents_b"]
    """W_BB"""

    ab: Float[np.ndarray, "latents_a latents_b"]
    """W_AB"""

    mean_a: Float[np.ndarray, " latents_a"]
    """mean of each latent over all rows"""

    mean_b: Float[np.ndarray, " latents_b"]
    """mean of each latent over all rows"""

    n: int
    """rows"""

    def exchanged(self) -> "TokenGrams":
        """The same with A and B exchanged."""
        return TokenGrams(self.bb, self.aa, self.ab.T, self.mean_b, self.mean_a, self.n)


class TokenSides:
    """Two sides' latents on the same rows, and their Grams for any shift of B; what stays is made once."""

    def __init__(
        self, a: sp.csc_array, b: sp.csc_array, ids: Int[np.ndarray, " rows"], *, n_groups: int
    ) -> None:
        """Keep latents of A and of B and the group of each row, 0..n_groups-1.

        Raises:
            ValueError: sides or labels of different numbers of rows.
        """
        if not a.shape[0] == b.shape[0] == len(ids):
            raise ValueError(
                f"b: expected the same rows on both sides and a label for each, got {a.shape[0]} rows of a, "
                f"{b.shape[0]} of b and {len(ids)} ids. Cut them to the same rows."
            )
        self._a, self._b = (sp.csr_array(side).astype(np.float64) for side in (a, b))
        self._ids = ids
        self._counts = np.bincount(ids, minlength=n_groups).astype(np.float64)
        products_a, products_b = _products(self._a, self._a), _products(self._b, self._b)
        self._squares_b = np.diag(products_b).copy()
        self._sums_a, self._sums_b = self._scaled_sums(self._a, ids), self._scaled_sums(self._b, ids)
        within_a = products_a - _products(self._sums_a, self._sums_a)
        self._varies_a = np.diag(within_a) > _ROUNDING * np.diag(products_a)
        self._within_a = within_a * np.outer(self._varies_a, self._varies_a)
        self._within_b = products_b - _products(self._sums_b, self._sums_b)
        self._means = [np.asarray(side.sum(axis=0)).ravel() / max(len(ids), 1) for side in (self._a, self._b)]

    def grams(self, shift: int) -> TokenGrams:
        """The Grams when row t of A meets row t + shift of B, the last rows the first, under A's groups.

        B enters by its residuals about the means of its OWN groups, which are then centred under the groups
        of the rows they meet. Without a shift that is the same; with one, what its own groups explain of B
        stays out. Else B would have another spectrum under the null than in the data, and p of a statistic
        that depends on it (Procrustes, SVCCA) would not be uniform where groups explain much of B.
        Cost: one pass over pairs of active latents, and products of group sums.
        """
        n = len(self._ids)
        shift %= max(n, 1)
        # Row r of B takes the group of row r - shift of A, which it meets; row t of A that of t + shift of B.
        ids_b, ids_a = np.roll(self._ids, shift), np.roll(self._ids, -shift)
        sums_b = sp.csr_array(self._scaled_sums(self._b, ids_b) - self._met(ids_b) @ self._sums_b)
        between = _products(self._a, self._b, shift)
        between -= _products(self._scaled_sums(self._a, ids_a), self._sums_b) + _products(
            self._sums_a, sums_b
        )
        within_b = self._within_b - _products(sums_b, sums_b)
        varies_b = np.diag(within_b) > _ROUNDING * self._squares_b
        return TokenGrams(
            aa=self._within_a,
            bb=within_b * np.outer(varies_b, varies_b),
            ab=between * np.outer(self._varies_a, varies_b),
            mean_a=self._means[0],
            mean_b=self._means[1],
            n=n,
        )

    def _met(self, ids_b: Int[np.ndarray, " rows"]) -> sp.csr_array:
        """Rows of B's groups that meet each group of A, over the roots of both groups' rows."""
        roots = np.sqrt(self._counts)
        entries = (1 / (roots[ids_b] * roots[self._ids]), (ids_b, self._ids))
        return sp.csr_array(sp.coo_array(entries, shape=(len(roots), len(roots))))

    def _scaled_sums(self, latents: sp.csr_array, ids: Int[np.ndarray, " rows"]) -> sp.csr_array:
        """Sum of each latent over each group over the root of the group's rows."""
        entries = (1 / np.sqrt(self._counts[ids]), (ids, np.arange(len(ids))))
        return sp.csr_array(
            sp.csr_array(sp.coo_array(entries, shape=(len(self._counts), len(ids)))) @ latents
        )


def _products(a: sp.csr_array, b: sp.csr_array, shift: int = 0) -> Float[np.ndarray, "latents_a latents_b"]:
    if _is_dense(a, b):
        return _dense_products(a, b, shift)
    out = np.zeros((a.shape[1], b.shape[1]))
    # Index types are cast because the kernel is compiled anew for each combination of them.
    rows_a, rows_b = (
        (each.indptr.astype(np.int64), each.indices.astype(np.int32), each.data) for each in (a, b)
    )
    _add_products(*rows_a, *rows_b, shift, out)
    return out


def _is_dense(a: sp.csr_array, b: sp.csr_array) -> bool:
    return a.nnz * b.nnz > _DENSE_FROM * a.shape[0] * a.shape[1] * b.shape[0] * b.shape[1]


def _dense_products(
    a: sp.csr_array, b: sp.csr_array, shift: int = 0
) -> Float[np.ndarray, "latents_a latents_b"]:
    """As `_add_products`, a block of rows at a time: neurons are active on half of the rows."""
    n, out = int(a.shape[0]), np.zeros((a.shape[1], b.shape[1]))
    step = max(_MOST_DENSE // max(out.shape), 1)
    # A block ends where the last row of B comes, so that one of B is one, too.
    ends = sorted({*range(step, n, step), n - shift, n})
    for first, last in pairwise([0, *ends]):
        met = (first + shift) % n
        out += a[first:last].toarray().T @ b[met : met + last - first].toarray()
    return out


@compiled
@no_type_check
def _add_products(starts_a, latents_a, values_a, starts_b, latents_b, values_b, shift, out):
    """Add the outer products of row t of A and row t + shift of B, modulo the number of rows."""
    n = len(starts_a) - 1
    for row in range(n):
        other = row + shift
        if other >= n:
            other -= n
        for i in range(starts_a[row], starts_a[row + 1]):
            target, value = out[latents_a[i]], values_a[i]
            for j in range(starts_b[other], starts_b[other + 1]):
                target[latents_b[j]] += value * values_b[j]
