"""The rows on which latents are most active."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int


def peak_rows(matrix: sp.csc_array, n_peaks: int) -> Int[np.ndarray, "latents n_peaks"]:
    """The rows of the largest activations of each latent, largest first; equal activations: the first rows.

    -1 where a latent is active on fewer rows.

    Args:
        matrix: rows x latents, non-negative, rows sorted.
        n_peaks: how many rows.
    """
    found = np.full((matrix.shape[1], n_peaks), -1, np.int64)
    for latent, (start, end) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        values = matrix.data[start:end]
        least = np.partition(values, -n_peaks)[-n_peaks] if len(values) > n_peaks else 0.0
        some = np.flatnonzero((values >= least) & (values > 0))
        # Rows ascend: a stable order keeps the first of equals.
        top = some[np.argsort(-values[some], kind="stable")[:n_peaks]]
        found[latent, : len(top)] = matrix.indices[start:end][top]
    return found
