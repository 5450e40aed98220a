"""Which layer of B goes with each layer of A: the best one, and the best path that never goes back."""

import numpy as np
from jaxtyping import Float, Int

NO_LAYER = -1
"""Stands where a layer of A has no defined entry."""


def best_layers(matrix: Float[np.ndarray, "layers_a layers_b"]) -> Int[np.ndarray, " layers_a"]:
    """The column of the largest entry of each row, the first of equal ones; NaN is undefined."""
    defined = ~np.isnan(matrix).all(axis=1)
    best = np.where(np.isnan(matrix), -np.inf, matrix).argmax(axis=1)
    return np.where(defined, best, NO_LAYER)


def monotone_path(matrix: Float[np.ndarray, "layers_a layers_b"]) -> Int[np.ndarray, " layers_a"]:
    """The columns, one a row and never decreasing, with the largest sum of entries (dynamic programming).

    As in dynamic time warping, but with exactly one layer of B for each of A. Of paths of equal sum the one
    whose last layers are the earliest. Rows without a defined entry are left out (NO_LAYER); undefined
    entries are never on the path.

    Raises:
        ValueError: undefined entries leave no such path.
    """
    path = np.full(len(matrix), NO_LAYER)
    rows = np.flatnonzero(~np.isnan(matrix).all(axis=1))
    if not len(rows):
        return path
    entries = np.where(np.isnan(matrix[rows]), -np.inf, matrix[rows])
    sums = np.empty_like(entries)
    came_from = np.zeros(entries.shape, dtype=np.int64)
    sums[0] = entries[0]
    for row in range(1, len(rows)):
        # For each column the best sum so far at or before it, and the first column that has it.
        best = np.maximum.accumulate(sums[row - 1])
        is_first = np.concatenate([[True], best[1:] > best[:-1]])
        came_from[row] = np.maximum.accumulate(np.where(is_first, np.arange(len(best)), 0))
        sums[row] = entries[row] + best
    column = int(sums[-1].argmax())
    if not np.isfinite(sums[-1, column]):
        raise ValueError(
            "expected a path of defined entries that never goes back, and there is none. "
            "Choose a metric that is defined at more layer pairs."
        )
    for row in range(len(rows) - 1, -1, -1):
        path[rows[row]] = column
        column = int(came_from[row, column])
    return path
