"""Synthetic latents of two models that read the same tokens, made fast: for measurements of cost."""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp

from saeuniv.numerics.compiled import compiled

SHARED = 0.6
"""share of concepts that both dictionaries have a latent for"""
KEPT = 0.75
"""chance that a shared concept fires in B where it fires in A"""


class Pair(NamedTuple):
    """Latents of A and B on the same rows, float32."""

    a: sp.csc_array
    b: sp.csr_array
    tokens: np.ndarray
    """Token type of each row; Zipf frequencies."""

    @property
    def macs(self) -> int:
        """Multiply-adds of the sparse product: over rows, active latents of A times those of B."""
        active_a = np.bincount(self.a.indices, minlength=self.a.shape[0])
        return int(active_a @ np.diff(self.b.indptr).astype(np.int64))


def latents(
    *, rows: int, n: int, k: int, token_share: float = 0.0, types: int = 50_000, seed: int = 0
) -> Pair:
    """Latents of Zipf frequencies, somewhat below k active a row; 60 % of the concepts are shared.

    Of the k concepts of a row, a share `token_share` on average is drawn from 2k that belong to the row's
    token type (which latents depend on the token), the rest from the Zipf law of the context. A concept
    that both dictionaries have fires in B with chance 0.75 where it fires in A, and values agree in part.
    """
    rng = np.random.default_rng(seed)
    weights = np.cumsum(1 / (np.arange(n) + 3.0))
    # Drawing by a table of quantiles is exact to 2^-20 of probability, and needs no search.
    table = np.searchsorted(weights / weights[-1], (np.arange(1 << 20) + 0.5) / (1 << 20)).astype(np.int32)
    type_weights = np.cumsum(1 / (np.arange(types) + 2.7))
    tokens = np.searchsorted(type_weights / type_weights[-1], rng.random(rows)).astype(np.int32)
    own = table[rng.integers(len(table), size=(types, 2 * k))]
    names = np.stack([rng.permutation(n), rng.permutation(n)]).astype(np.int32)
    shared = rng.random(n) < SHARED
    levels = np.exp(0.5 * rng.standard_normal((2, 1 << 12))).astype(np.float32)
    a, b = (_room(rows, k) for _ in range(2))
    _draw(tokens, own, table, names, shared, levels, token_share, k, seed, *a, *b)
    row_major = [
        sp.csr_array((data[: indptr[-1]], indices[: indptr[-1]], indptr), shape=(rows, n))
        for indptr, indices, data in (a, b)
    ]
    return Pair(row_major[0].tocsc(), row_major[1], tokens)


def _room(rows: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dtype = np.int32 if rows * k < np.iinfo(np.int32).max else np.int64
    return np.zeros(rows + 1, dtype), np.empty(rows * k, np.int32), np.empty(rows * k, np.float32)


@compiled
@no_type_check
def _draw(
    tokens, own, table, names, shared, levels, token_share, k, seed,
    a_indptr, a_indices, a_data, b_indptr, b_indices, b_data,
):  # fmt: skip
    np.random.seed(seed)
    last = levels.shape[1] - 1
    row_a, row_b = np.empty(k, np.int32), np.empty(k, np.int32)
    for row in range(len(tokens)):
        for slot in range(k):
            draw = np.random.random()
            if draw < token_share:
                concept = own[tokens[row], np.int64(draw / token_share * own.shape[1])]
            else:
                concept = table[np.random.randint(len(table))]
            kept = shared[concept] and np.random.random() < KEPT
            other = concept if kept else table[np.random.randint(len(table))]
            row_a[slot], row_b[slot] = names[0, concept], names[1, other]
        a_indptr[row + 1] = _write(row_a, a_indptr[row], a_indices, a_data, levels, row, last)
        b_indptr[row + 1] = _write(row_b, b_indptr[row], b_indices, b_data, levels, row, last)


@compiled
@no_type_check
def _write(drawn, start, indices, data, levels, row, last):
    """The sorted latents of a row, each once; values depend on the row and on the latent."""
    drawn.sort()
    end = np.int64(start)
    for slot in range(len(drawn)):
        if slot == 0 or drawn[slot] != drawn[slot - 1]:
            indices[end] = drawn[slot]
            data[end] = (
                levels[0, (row * 40503) & last] * levels[1, (row * 2654435761 + drawn[slot] * 97) & last]
            )
            end += 1
    return end
