"""What of a correlation the token's identity gives, in closed form (docs/statistics.md C: N6).

A raw correlation is the sum of what group means share and what is shared within groups:
r = B_ij / sqrt(V_ii V_jj) + sqrt(c_i c_j) r_w, with B_ij = sum_v S_i(v) S_j(v) / n_v - S_i S_j / T and the
context share c = W_ii / V_ii (the law of total covariance). No latent needs to be seen again: group sums do.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.group_sums import GroupSums
from saeuniv.numerics.sparse_latents import ROUNDING_SHARE

# Pairs whose group sums are multiplied at a time: bounds memory by so many latents' sums, twice.
_PAIRS_AT_A_TIME = 1024


class TokenIdentity(NamedTuple):
    """The parts of each pair's raw correlation, all in units of r."""

    between: Float[np.ndarray, " pairs"]
    """what the group means share; the raw correlation if nothing is shared within groups"""

    context_a: Float[np.ndarray, " pairs"]
    """share of the variance of A's latent that is within groups, 0..1"""

    context_b: Float[np.ndarray, " pairs"]
    """the same of B's latent"""

    def raw(self, within: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
        """Pearson's r of pairs whose within-group correlation r_w is `within`: exact, not a model."""
        return self.between + np.sqrt(self.context_a * self.context_b) * within


def token_identity_split(
    a: GroupSums,
    b: GroupSums,
    counts: Float[np.ndarray, " groups"],
    *,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
) -> TokenIdentity:
    """Between-group part and context shares of fixed pairs: raw r = between + sqrt(c_a c_b) r_w.

    `between` is in [-1, 1]; up: group means rise and fall together. All unchanged by scaling a latent. A
    latent without variance has between 0 and context 0, as its correlations are 0.
    Cost: the group sums of each pair once. docs/statistics.md B; Searle et al. 1992, section 2.

    Raises:
        ValueError: indices out of range, or counts that lack a group of the sums.
    """
    _require_pairs(a, b, index_a, index_b)
    n_rows = float(counts.sum())
    variances, sums, weighted = zip(*(_moments(each, counts, n_rows) for each in (a, b)), strict=True)
    shared = np.zeros(len(index_a))
    for start in range(0, len(index_a), _PAIRS_AT_A_TIME):
        block = slice(start, start + _PAIRS_AT_A_TIME)
        left, right = weighted[0][:, index_a[block]], weighted[1][:, index_b[block]]
        shared[block] = np.asarray(left.multiply(right).sum(axis=0)).ravel()
    between = shared - sums[0][index_a] * sums[1][index_b] / n_rows
    scale = np.sqrt(variances[0][index_a] * variances[1][index_b])
    return TokenIdentity(
        between=np.divide(between, scale, out=np.zeros_like(between), where=scale > 0),
        context_a=_context(a, variances[0])[index_a],
        context_b=_context(b, variances[1])[index_b],
    )


def token_identity_ceiling(
    sums: GroupSums, counts: Float[np.ndarray, " groups"], *, adjusted: bool
) -> Float[np.ndarray, " latents"]:
    """Correlation of each latent with the best function of its group: sqrt(1 - c), in [0, 1].

    The best single partner that a dictionary of one-hot tokens, in any linear combination, can offer: what a
    match reaches that knows the token and nothing else. Unchanged by scaling a latent; 0 for one without
    variance. In sample it is too high, above all where many groups have few rows: of latents unrelated to
    the group the mean of its square is (groups - 1) / (rows - 1). `adjusted` removes that, as
    sqrt(max(0, 1 - c (rows - 1) / (rows - groups))) (epsilon squared, Kelley 1935).

    Raises:
        ValueError: counts that lack a group of the sums, or adjusted although every group has one row.
    """
    n_rows = float(counts.sum())
    variance = _moments(sums, counts, n_rows)[0]
    if adjusted and n_rows <= len(counts):
        raise ValueError(
            f"adjusted=True: expected a group of two rows or more, got {len(counts)} groups in {n_rows:.0f} "
            f"rows. Groups of one row leave nothing to adjust by; condition on something coarser."
        )
    factor = (n_rows - 1) / (n_rows - len(counts)) if adjusted else 1.0
    ceiling = np.sqrt(np.maximum(1.0 - factor * _context(sums, variance), 0.0))
    return np.where(variance > 0, ceiling, 0.0)


def _moments(
    sums: GroupSums, counts: Float[np.ndarray, " groups"], n_rows: float
) -> tuple[Float[np.ndarray, " latents"], Float[np.ndarray, " latents"], sp.csc_array]:
    """T x variance (0 where only rounding is), sum over rows, and S(v) / sqrt(n_v) as groups x latents."""
    outside = np.flatnonzero(sums.groups >= len(counts))
    if len(outside):
        raise ValueError(
            f"counts: expected a count for every group of the sums, got {len(counts)} counts and group "
            f"{sums.groups[outside[0]]} at entry {outside[0]}. Pass the counts the sums were made with."
        )
    weighted = sp.csc_array(
        (sums.sums / np.sqrt(counts[sums.groups]), sums.groups, sums.indptr),
        shape=(len(counts), sums.n_latents),
    )
    columns = np.repeat(np.arange(sums.n_latents), np.diff(sums.indptr))
    total = np.bincount(columns, weights=sums.sums, minlength=sums.n_latents)
    variance = sums.squares - total * total / n_rows
    return np.where(variance > ROUNDING_SHARE * sums.squares, variance, 0.0), total, weighted


def _context(sums: GroupSums, variance: Float[np.ndarray, " latents"]) -> Float[np.ndarray, " latents"]:
    share = np.divide(sums.norms**2, variance, out=np.zeros_like(variance), where=variance > 0)
    return np.minimum(share, 1.0)


def _require_pairs(
    a: GroupSums, b: GroupSums, index_a: Int[np.ndarray, " _"], index_b: Int[np.ndarray, " _"]
) -> None:
    for name, index, sums in (("index_a", index_a, a), ("index_b", index_b, b)):
        outside = np.flatnonzero((index < 0) | (index >= sums.n_latents))
        if len(outside):
            raise ValueError(
                f"{name}: expected latents 0..{sums.n_latents - 1}, got {index[outside[0]]} at "
                f"[{outside[0]}]. Number latents as the sums do."
            )
