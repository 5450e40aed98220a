"""Overlap of the most active latents of two models, beyond what unrelated latents of these rates give.

The latents of both sides carry the labels of a matching; each row is then two sets of labels.
"""

from typing import NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled


class TopSets(NamedTuple):
    """The labels of the most active latents of each row."""

    starts: Int[np.ndarray, " bounds"]
    """Row t has `labels[starts[t] : starts[t + 1]]`; one more bound than rows."""

    labels: Int[np.ndarray, " entries"]
    """Ascending within a row, each once."""

    n_labels: int
    """Labels are 0..n_labels-1."""

    @property
    def n_rows(self) -> int:
        """Rows, the empty ones included."""
        return len(self.starts) - 1

    def first_rows(self, n: int) -> "TopSets":
        """Those of the first n rows."""
        return TopSets(self.starts[: n + 1], self.labels[: int(self.starts[n])], self.n_labels)


def top_sets(
    latents: sp.csc_array, columns: Int[np.ndarray, " pairs"], labels: Int[np.ndarray, " pairs"], *, k: int
) -> TopSets:
    """For each row the labels of the k most active among `columns`; ties go to the earlier column.

    Fewer than k where fewer are active, or where several share a label. Time and memory as the active
    entries of these columns; nothing is made dense.

    Args:
        latents: `rows x latents`, non-negative.
        columns: the matched latents, each once.
        labels: what each of them is called on both sides, 0, 1, ...; several may share one.
        k: how many latents a row may name.

    Raises:
        ValueError: k below 1, a column twice or out of range, a label below 0, or an activation that is
            negative or not finite.
    """
    _check(latents, columns, labels, k)
    chosen = sp.csr_array(latents[:, columns])
    chosen.sort_indices()
    sizes = np.empty(chosen.shape[0], np.int64)
    found = np.empty(len(chosen.data), np.int64)
    values = chosen.data.astype(np.float64)
    _top(chosen.indptr, chosen.indices, values, labels.astype(np.int64), sizes, found, np.empty(k))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return TopSets(starts, found[: starts[-1]], int(labels.max(initial=-1)) + 1)


def chance_overlap(a: TopSets, b: TopSets) -> float | None:
    """The mean of `overlap` over all circular shifts of the rows: that of independent rows of the same rates.

    2 sum_l n_a(l) n_b(l) / T over the number of entries of both, n(l) the rows that hold label l. None where
    neither side has an entry.
    """
    entries = len(a.labels) + len(b.labels)
    if not entries:
        return None
    n_labels = max(a.n_labels, b.n_labels)
    rows_a, rows_b = (np.bincount(side.labels, minlength=n_labels) for side in (a, b))
    return 2.0 * int(rows_a @ rows_b) / (a.n_rows * entries)


def overlap(a: TopSets, b: TopSets, *, shift: int) -> float | None:
    """Twice the labels that rows share over those they have, in [0, 1]; 1 for equal sets (Dice 1945).

    Row t of A meets row t + shift of B, circularly. None where neither side has an entry.

    Raises:
        ValueError: different numbers of rows.
    """
    if a.n_rows != b.n_rows:
        raise ValueError(f"b: expected {a.n_rows} rows as in a, got {b.n_rows}. Use the same tokens.")
    entries = len(a.labels) + len(b.labels)
    if not entries:
        return None
    return 2.0 * int(_shared(a.starts, a.labels, b.starts, b.labels, shift % a.n_rows)) / entries


def corrected_overlaps(
    a: TopSets, b: TopSets, shifts: Int[np.ndarray, " shifts"]
) -> Float[np.ndarray, " shifts"] | None:
    """(overlap - chance) / (1 - chance) at each shift; 1 for equal sets, 0 on average for unrelated rows.

    Up = alike; the value itself is that at shift 0. The form of kappa (Cohen 1960): what two models share
    because the same latents are always active does not count. Below 0 where labels avoid one another; the
    mean over all T shifts is exactly 0. None where it is undefined: no entry, or a chance of 1 (every label
    in every row). O(entries) time a shift.

    Raises:
        ValueError: different numbers of rows.
    """
    observed = [overlap(a, b, shift=int(shift)) for shift in shifts]
    chance = chance_overlap(a, b)
    if chance is None or chance >= 1:
        return None
    return (np.array(observed, dtype=np.float64) - chance) / (1 - chance)


def _check(
    latents: sp.csc_array, columns: Int[np.ndarray, " pairs"], labels: Int[np.ndarray, " pairs"], k: int
) -> None:
    if k < 1:
        raise ValueError(f"k={k}: expected at least 1 latent a row, got {k}. Choose 5.")
    n = int(latents.shape[1])
    for position in np.flatnonzero((columns < 0) | (columns >= n))[:1]:
        raise ValueError(f"columns: expected latents 0..{n - 1}, got {columns[position]} at [{position}].")
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"columns: expected each once, got {len(columns) - len(np.unique(columns))} again.")
    for position in np.flatnonzero(labels < 0)[:1]:
        raise ValueError(f"labels: expected 0 or more, got {labels[position]} at [{position}].")
    for entry in np.flatnonzero(~((latents.data >= 0) & np.isfinite(latents.data)))[:1]:
        column = int(np.searchsorted(latents.indptr, entry, side="right")) - 1
        raise ValueError(
            f"latents: expected finite non-negative activations, got {latents.data[entry]} at "
            f"[{latents.indices[entry]}, {column}]."
        )


@compiled
@no_type_check
def _top(starts, columns, values, labels, sizes, found, best):
    """The labels of the k largest positive values of each row, ascending, row after row in `found`."""
    k = len(best)
    end = 0
    for row in range(len(starts) - 1):
        begin = end
        for entry in range(starts[row], starts[row + 1]):
            value = values[entry]
            if value <= 0 or (end - begin == k and value <= best[k - 1]):
                continue
            end = min(end + 1, begin + k)
            slot = end - 1 - begin
            while slot > 0 and best[slot - 1] < value:
                best[slot] = best[slot - 1]
                found[begin + slot] = found[begin + slot - 1]
                slot -= 1
            best[slot] = value
            found[begin + slot] = labels[columns[entry]]
        end = begin + _sorted_once(found[begin:end])
        sizes[row] = end - begin


@compiled
@no_type_check
def _sorted_once(labels):
    """How many different labels there are, these moved to the front in ascending order."""
    labels.sort()
    kept = 0
    for label in labels:
        if kept == 0 or labels[kept - 1] != label:
            labels[kept] = label
            kept += 1
    return kept


@compiled
@no_type_check
def _shared(starts_a, labels_a, starts_b, labels_b, shift):
    """How many labels rows of A share with the rows of B that they meet, in total."""
    total = 0
    n_rows = len(starts_a) - 1
    for row in range(n_rows):
        met = row + shift if row + shift < n_rows else row + shift - n_rows
        i, j = starts_a[row], starts_b[met]
        while i < starts_a[row + 1] and j < starts_b[met + 1]:
            left, right = labels_a[i], labels_b[j]
            total += left == right
            i += left <= right
            j += right <= left
    return total
