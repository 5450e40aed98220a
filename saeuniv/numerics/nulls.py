"""Broken pairings: document shifts, selection-aware shifts, permutations, within-token shuffles.

A circular shift of B by whole sequences keeps firing rates, positions and the dependence within
documents, and breaks which text A and B saw (docs/statistics.md C: N1, N3a, N3b, N3c). Draw r of every null
comes from the generator (seed, r), whatever else is computed, so that draws of all layer pairs and of
the control belong together.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft
from jaxtyping import Float, Int

from saeuniv.numerics.latents import HalfLatents, sequence_spectrum
from saeuniv.numerics.rows import Half


def admissible_shifts(n_sequences: int, longest_document: int) -> Int[np.ndarray, " shifts"]:
    """Shifts at which no sequence meets its own document: longest .. n_sequences - longest."""
    return np.arange(longest_document, n_sequences - longest_document + 1)


def draw_shifts(
    admissible: Int[np.ndarray, " shifts"], *, draws: int, seed: int
) -> Int[np.ndarray, " draws"]:
    """`draws` shifts without replacement, draw r from the generator (seed, r).

    The first draws do not depend on how many are asked for. Fewer come back when fewer are admissible.
    """
    left = list(map(int, admissible))
    chosen = [
        left.pop(int(np.random.default_rng([seed, r]).integers(len(left))))
        for r in range(min(draws, len(left)))
    ]
    return np.array(chosen, dtype=np.int64)


def fixed_match_shifts(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    *,
    condition: str,
    n_sequences: int,
) -> Float[np.ndarray, " sequences"]:
    """Sum over pairs of the correlation of residuals when B is shifted by s = 0..n_sequences-1 (N3a).

    sum_pairs sum_(sequence, position) x[q, p] y[(q + s) mod n, p], exact for all s at once by one
    Fourier transform along sequences. The pairs must have been chosen on other documents.
    Cost: pairs x frequencies x positions complex products.
    """
    if not len(index_a):
        return np.zeros(n_sequences)
    x = a.residual_spectrum(condition, n_sequences)[index_a]
    y = b.residual_spectrum(condition, n_sequences)[index_b]
    cross = np.einsum("ifp,ifp->f", x.conj(), y)
    return np.asarray(scipy.fft.irfft(cross.astype(np.complex128), n=n_sequences))


def shifted_correlations(
    a: HalfLatents, b: HalfLatents, shifts: Int[np.ndarray, " draws"], *, condition: str
) -> Iterator[Float[np.ndarray, "latents_a latents_b"]]:
    """r_w of every latent of A with every latent of B shifted by s, for each s in `shifts` (N3b).

    Row q of A meets row q + s of B, under A's group labels: B's group means are recomputed, as the
    identity of r_w needs one label per row for both sides. The correlations of all shifts come from one
    product per frequency. Memory: `shifted_correlations_bytes`.
    """
    half, groups = a.half, a.half.groups[condition]
    n_groups, n_a = len(groups.counts), a.n_latents
    one_hot = np.zeros((len(groups.ids), n_groups), np.float32)
    one_hot[np.arange(len(groups.ids)), groups.ids] = 1.0
    left = np.concatenate([a.spectrum(), sequence_spectrum(one_hot, half.positions)])
    by_frequency = np.matmul(left.transpose(1, 0, 2).conj(), b.spectrum().transpose(1, 2, 0))
    shifted = scipy.fft.irfft(by_frequency, n=half.n_sequences, axis=0)
    squares = np.asarray(b.matrix.multiply(b.matrix).sum(axis=0)).ravel()
    weighted_a = a.sums(condition) / groups.counts[:, None]
    for shift in shifts:
        cross, sums_b = np.split(shifted[shift].astype(np.float64), [n_a])
        within_b = squares - (sums_b * sums_b / groups.counts[:, None]).sum(axis=0)
        scale = a.norms(condition)[:, None] * np.sqrt(np.maximum(within_b, 0.0))
        covariance = cross - weighted_a.T @ sums_b
        yield np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


def shifted_correlations_bytes(a: HalfLatents, b: HalfLatents, *, condition: str) -> int:
    """Memory that `shifted_correlations` needs at its peak.

    8 bytes a sequence in spectra and 4 in shifts: of A's latents and groups with each latent of B, and
    of A's latents and groups themselves at each position, which counts where the groups are many.
    """
    half, n_groups = a.half, len(a.half.groups[condition].counts)
    return 12 * half.n_sequences * (a.n_latents + n_groups) * (b.n_latents + half.positions)


def permutations(n: int, *, draws: int, seed: int) -> Iterator[Int[np.ndarray, " n"]]:
    """Permutations of n pairs (N1): they break which latent of A goes with which of B."""
    for r in range(draws):
        yield np.random.default_rng([seed, r]).permutation(n)


def within_group_shuffle(half: Half, condition: str, *, draw: int, seed: int) -> Int[np.ndarray, " rows"]:
    """A permutation of the half's rows that leaves every row in its group (N3c).

    What survives it is carried by the group (the token) alone. Rows of a group of one stay.
    """
    ids = half.groups[condition].ids
    order = np.argsort(ids, kind="stable")
    shuffled = np.lexsort((np.random.default_rng([seed, draw, half.index]).random(len(ids)), ids))
    permutation = np.empty(len(ids), np.int64)
    permutation[order] = shuffled
    return permutation
