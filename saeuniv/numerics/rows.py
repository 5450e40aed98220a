"""The rows all layers share: which document, half and group each token belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int


class Groups(NamedTuple):
    """Rows that share a condition (the same token, the same bigram)."""

    ids: Int[np.ndarray, " rows"]
    """Group of each row, 0..groups-1, every group non-empty; int32."""

    counts: Float[np.ndarray, " groups"]
    """Rows per group."""

    @property
    def df_share(self) -> float:
        """Degrees of freedom left per row once group means are removed, (rows - groups) / rows."""
        return 1.0 - len(self.counts) / max(len(self.ids), 1)


@dataclass(frozen=True)
class Half:
    """One half of the documents: whole sequences of equal length, in document order."""

    index: int
    """0: the match half D1; 1: D2; 2: both as one."""

    rows: Int[np.ndarray, " rows"]
    """The half's rows among all rows, ascending."""

    documents: Int[np.ndarray, " rows"]
    """Document of each row, numbered 0..n_documents-1 within the half; int32."""

    positions: int
    """Rows per sequence."""

    groups: Mapping[str, Groups]
    """Group labels by condition; `none` is one group of all rows."""

    _counts: dict[str, sp.csc_array] = field(default_factory=dict[str, sp.csc_array], compare=False)

    @property
    def n_sequences(self) -> int:
        """Sequences in the half."""
        return len(self.rows) // self.positions

    @cached_property
    def rows_per_document(self) -> Int[np.ndarray, " documents"]:
        """Rows of each document."""
        return np.bincount(self.documents)

    @property
    def longest_document(self) -> int:
        """Sequences of the longest document: the least shift at which none meets itself."""
        return int(self.rows_per_document.max()) // self.positions

    def documents_by_group(self, condition: str) -> sp.csc_array:
        """Rows of each document in each group, `documents x groups`, read group by group."""
        if condition not in self._counts:
            groups = self.groups[condition]
            shape = (len(self.rows_per_document), len(groups.counts))
            ones = np.ones(len(groups.ids))
            counts = sp.csc_array(sp.coo_array((ones, (self.documents, groups.ids)), shape=shape))
            counts.sum_duplicates()
            self._counts[condition] = counts
        return self._counts[condition]


# Rows of a sequence where masks leave sequences of unequal length: short, so that little is lost at the
# end of a document, and long enough that neighbouring tokens are shifted together.
BLOCK_ROWS = 32


class Selection(NamedTuple):
    """Rows that are compared on, as sequences of equal length."""

    rows: Int[np.ndarray, " kept"]
    """Ascending, among all rows."""

    positions: int
    """Rows per sequence."""

    dropped: int
    """Rows that were left over at the ends of documents."""


def select_rows(
    keep: Bool[np.ndarray, "sequences context"],
    documents: Int[np.ndarray, " sequences"],
    masked: Bool[np.ndarray, " rows"],
    *,
    n_rows: int | None,
) -> Selection:
    """The rows that are compared on: the first `n_rows` of those not masked, in sequences of equal length.

    Where all sequences keep the same positions and nothing is masked, they are the sequences themselves,
    so that a shift pairs equal positions. Else the rows of each document are cut into blocks of 32 in
    reading order; what is left over at its end is dropped. Selections of fewer rows are prefixes of those
    of more.

    Args:
        keep: the positions that are rows.
        documents: document of each sequence, non-decreasing.
        masked: rows that are left out.
        n_rows: rounded up to a whole sequence; None: all.

    Raises:
        ValueError: there are fewer rows than `n_rows`, or none.
    """
    per_sequence = keep.sum(1)
    if not masked.any() and (keep == keep[:1]).all():
        chosen, positions, dropped = np.arange(len(masked)), int(per_sequence[0]), 0
    else:
        kept = np.flatnonzero(~masked)
        of_row = np.repeat(documents, per_sequence)[kept]
        starts = np.append(0, np.flatnonzero(np.diff(of_row)) + 1)
        place = np.arange(len(kept)) - np.repeat(starts, np.diff(np.append(starts, len(kept))))
        lengths = np.diff(np.append(starts, len(kept)))
        whole = np.repeat(lengths // BLOCK_ROWS * BLOCK_ROWS, lengths)
        chosen, positions = kept[place < whole], BLOCK_ROWS
        dropped = len(kept) - len(chosen)
    if (n_rows is not None and n_rows > len(chosen)) or not len(chosen):
        raise ValueError(
            f"data.n_tokens={n_rows}: expected at most the rows there are to compare on, which are "
            f"{len(chosen)} ({int(masked.sum())} masked, {dropped} left over at the ends of documents), got "
            f"{n_rows}. Choose fewer, or give more text."
        )
    if n_rows is not None:
        chosen = chosen[: -(-n_rows // positions) * positions]
    return Selection(chosen, positions, dropped)


def split_documents(rows_per_document: Int[np.ndarray, " documents"]) -> Int[np.ndarray, " documents"]:
    """The half (0 or 1) of each document: in the order given, each to the lighter half, ties to 0.

    The order must not depend on the text in any other way than its hash (docs/statistics.md A).
    """
    weight = [0, 0]
    half = np.empty(len(rows_per_document), np.int64)
    for document, rows in enumerate(rows_per_document):
        half[document] = int(weight[1] < weight[0])
        weight[half[document]] += int(rows)
    return half


def make_halves(
    documents: Int[np.ndarray, " rows"], groups: Mapping[str, Int[np.ndarray, " _"]], *, positions: int
) -> tuple[Half, Half]:
    """D1 and D2 of rows in document order, whole sequences of `positions` rows each.

    Args:
        documents: document of each row, non-decreasing; hash order decides the halves.
        groups: any integer label per row, by condition; `none` is added.
        positions: rows per sequence.

    Raises:
        ValueError: rows that are no whole sequences, sequences that span documents, documents out of
            order, labels of another length, or fewer than two documents.
    """
    n_rows = len(documents)
    if n_rows == 0 or n_rows % positions:
        raise ValueError(
            f"positions_per_sequence={positions}: expected whole sequences, got {n_rows} rows. "
            f"Drop incomplete sequences or set positions_per_sequence=1."
        )
    by_sequence = documents.reshape(-1, positions)
    spans = np.flatnonzero((by_sequence != by_sequence[:, :1]).ravel())
    falls = np.flatnonzero(np.diff(documents) < 0) + 1
    if len(spans) or len(falls):
        row = int(min(*spans[:1], *falls[:1])) if len(spans) and len(falls) else int([*spans, *falls][0])
        raise ValueError(
            "documents: expected non-decreasing document numbers that are constant within each sequence "
            f"of {positions} rows, got a sequence that spans documents or documents out of order, the first "
            f"{documents[row]} after {documents[row - 1]} at row {row}."
        )
    for condition, labels in groups.items():
        if len(labels) != n_rows:
            raise ValueError(f"groups[{condition}]: expected {n_rows} labels, one a row, got {len(labels)}.")
    numbers, compact, rows_per_document = np.unique(documents, return_inverse=True, return_counts=True)
    if len(numbers) < 2:
        raise ValueError(
            f"documents: expected at least two (one to match on, one to evaluate on), got {len(numbers)}. "
            f"Add text, or split it into documents (data.document=line)."
        )
    half_of_row = split_documents(rows_per_document)[compact]
    labels = {"none": np.zeros(n_rows, np.int64), **groups}
    first, second = (
        _half(index, np.flatnonzero(half_of_row == index), documents, labels, positions) for index in (0, 1)
    )
    return first, second


def united(halves: tuple[Half, Half]) -> Half:
    """Both halves as one, rows ascending; of the groups only `none`, as others are numbered within a half."""
    rows = np.concatenate([half.rows for half in halves])
    offset = len(halves[0].rows_per_document)
    documents = np.concatenate([halves[0].documents, halves[1].documents + offset])
    order = np.argsort(rows)
    starts = np.flatnonzero(np.diff(documents[order])) + 1
    numbers = np.zeros(len(rows), np.int32)
    numbers[starts] = 1
    one = Groups(np.zeros(len(rows), np.int32), np.full(1, float(len(rows))))
    return Half(2, rows[order], np.cumsum(numbers, dtype=np.int32), halves[0].positions, {"none": one})


def _half(
    index: int,
    rows: Int[np.ndarray, " rows"],
    documents: Int[np.ndarray, " all"],
    labels: Mapping[str, Int[np.ndarray, " all"]],
    positions: int,
) -> Half:
    groups: dict[str, Groups] = {}
    for condition, each in labels.items():
        ids, counts = np.unique(each[rows], return_inverse=True, return_counts=True)[1:]
        groups[condition] = Groups(ids.astype(np.int32), counts.astype(np.float64))
    own = np.unique(documents[rows], return_inverse=True)[1].astype(np.int32)
    return Half(index, rows, own, positions, groups)
