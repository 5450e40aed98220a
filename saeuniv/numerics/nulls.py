"""Broken pairings: document shifts, selection-aware shifts, permutations, within-token shuffles.

A circular shift of B by whole sequences keeps firing rates, positions and the dependence within
documents, and breaks which text A and B saw (docs/statistics.md C: N1, N3a, N3b, N3c). Draw r of every null
comes from the generator (seed, r), whatever else is computed, so that draws of all layer pairs and of
the control belong together.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.group_sums import GroupSums, group_sums
from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.rows import Half

# Memory of the document shift, for the spectra and products of one block of pairs.
_BLOCK_BYTES = 1 << 28


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


def shifted_pair_correlations(
    a: HalfLatents,
    b: HalfLatents,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    *,
    condition: str,
    n_sequences: int,
) -> Iterator[Float[np.ndarray, "block sequences"]]:
    """Correlation of the residuals of each pair when B is shifted by s = 0..n_sequences-1 (N3a).

    sum_(sequence, position) x[q, p] y[(q + s) mod n, p], exact for all s at once by one Fourier transform
    along sequences; block after block of pairs, in their order. The pairs must have been chosen on other
    documents. Cost: pairs x rows x log(sequences); memory: 256 MiB a block.
    """
    import scipy.fft  # .2 s, which commands that compute nothing would wait for

    rows = n_sequences * a.half.positions
    step = max(_BLOCK_BYTES // (32 * rows), 1)
    for start in range(0, len(index_a), step):
        block = slice(start, start + step)
        x = a.residual_spectrum(condition, n_sequences, index_a[block])
        y = b.residual_spectrum(condition, n_sequences, index_b[block])
        cross = np.einsum("ipf,ipf->if", x.conj(), y)
        yield scipy.fft.irfft(cross.astype(np.complex128), n=n_sequences, axis=1)


def shifted_group_sums(b: HalfLatents, shift: int, condition: str) -> GroupSums:
    """Group sums of B's latents under the labels of the rows of A that they meet when B is shifted.

    Row q of A meets row q + s of B; the identity of r_w needs one label per row for both sides, A's.
    """
    groups = b.half.groups[condition]
    return group_sums(b.matrix, np.roll(groups.ids, shift * b.half.positions), groups.counts)


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
    permutation = np.empty(len(ids), np.int32)
    permutation[order] = shuffled
    return permutation
