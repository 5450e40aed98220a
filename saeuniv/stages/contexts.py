"""Where in the text latents are active: the tokens around their peaks, with the activations on them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.adapters.token_pieces import TokenBytes, pieces
from saeuniv.stages.tokens import HeldOut, NamedDocument

_FIRST_FIRINGS = 64


class Window(NamedTuple):
    """How much text is shown around a peak."""

    before: int
    after: int


class Context(NamedTuple):
    """A piece of text around a token on which a latent is active."""

    document: str
    domain: str
    """Where the document is from; empty where the text does not say."""

    of: str
    """The side whose peak and tokens these are: a or b."""

    peak: int
    """Place of the peak among the tokens."""

    tokens: tuple[str, ...]
    """The text of each token; together they are the text. See `adapters.token_pieces.pieces`."""

    a: Float[np.ndarray, " tokens"]
    """Activation of the latent of A; NaN where a position is no row (its latents are not stored), or no
    latent of A was asked for."""

    b: Float[np.ndarray, " tokens"]
    """Activation of the latent of B on the same tokens."""


class Firings(NamedTuple):
    """Where one latent is active."""

    rows: Int[np.ndarray, " firings"]
    """Ascending."""

    values: Float[np.ndarray, " firings"]


def firings(columns: sp.csc_array, latent: int) -> Firings:
    """The firings of one latent of `columns` (`rows x latents`)."""
    its = slice(columns.indptr[latent], columns.indptr[latent + 1])
    return Firings(columns.indices[its], columns.data[its])


class Text:
    """The sequences of one side's token set, its rows, and its tokenizer."""

    def __init__(
        self, held_out: HeldOut, documents: tuple[NamedDocument, ...], token_bytes: TokenBytes
    ) -> None:
        """`documents` are those that the sequences of `held_out` name by number."""
        self.held_out = held_out
        self._documents = documents
        self._token_bytes = token_bytes
        self._sequence, self._position = np.nonzero(held_out.keep)
        self._row = np.full(held_out.keep.shape, -1, dtype=np.int64)
        self._row[held_out.keep] = np.arange(len(self._sequence))
        self.row_documents = held_out.row_documents
        self._pieces: dict[tuple[int, Window], tuple[str, ...]] = {}

    def around(self, row: int, window: Window) -> tuple[slice, Int[np.ndarray, " tokens"]]:
        """The positions around a row within its sequence, and the row at each of them, -1 where none is.

        Padding is shown around rows of padding only.
        """
        position = int(self._position[row])
        end = min(position + window.after + 1, self.held_out.ids.shape[1])
        if self.held_out.lengths is not None:
            length = int(self.held_out.lengths[self._sequence[row]])
            end = min(end, length) if position < length else end
        place = slice(max(position - window.before, 0), end)
        return place, self._row[self._sequence[row], place]

    def contexts(
        self,
        rows: Sequence[int],
        window: Window,
        *,
        of: str,
        a: Firings | None,
        b: Firings | None,
    ) -> tuple[Context, ...]:
        """The text around each row, with the activations of one latent of A and one of B."""
        around = [self.around(row, window) for row in rows]
        if not around:
            return ()
        all_rows = np.concatenate([shown for _, shown in around])
        ends = np.cumsum([len(shown) for _, shown in around])[:-1]
        of_a, of_b = (np.split(_activations(each, all_rows), ends) for each in (a, b))
        return tuple(
            self._context(row, place, window, of=of, a=in_a, b=in_b)
            for row, (place, _), in_a, in_b in zip(rows, around, of_a, of_b, strict=True)
        )

    def _context(
        self,
        row: int,
        place: slice,
        window: Window,
        *,
        of: str,
        a: Float[np.ndarray, " tokens"],
        b: Float[np.ndarray, " tokens"],
    ) -> Context:
        sequence = self._sequence[row]
        peak = int(self._position[row]) - place.start
        # Latents peak in the same places in pair after pair.
        if (row, window) not in self._pieces:
            read = [self._token_bytes(int(each)) for each in self.held_out.ids[sequence, place]]
            self._pieces[row, window] = pieces(read, peak=peak)
        document = self._documents[int(self.held_out.documents[sequence])]
        return Context(
            document=document.name,
            domain=document.domain,
            of=of,
            peak=peak,
            tokens=self._pieces[row, window],
            a=a,
            b=b,
        )


def top_rows(
    rows: Int[np.ndarray, " firings"],
    values: Float[np.ndarray, " firings"],
    documents: Int[np.ndarray, " firings"],
    *,
    n: int,
) -> Int[np.ndarray, " peaks"]:
    """The rows with the largest activations, at most one a document, largest first; ties: the first row.

    Fewer than `n` where the latent is active in fewer documents.
    """
    active = values > 0
    rows, values, documents = rows[active], values[active], documents[active]
    # The peaks stand among the largest firings, unless these are of few documents.
    for first in (_FIRST_FIRINGS * n, len(rows)):
        least = np.partition(values, -first)[-first] if 0 < first < len(rows) else 0.0
        some = np.flatnonzero(values >= least)
        order = some[np.lexsort((rows[some], -values[some]))]
        places = np.sort(np.unique(documents[order], return_index=True)[1])
        if len(places) >= n:
            break
    return rows[order[places[:n]]]


def _activations(latent: Firings | None, rows: Int[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
    """Activations on rows, 0 where the latent does not fire, NaN for -1."""
    if latent is None:
        return np.full(len(rows), np.nan)
    found = np.zeros(len(rows))
    if len(latent.rows):
        place = np.minimum(np.searchsorted(latent.rows, rows), len(latent.rows) - 1)
        found = np.where(latent.rows[place] == rows, latent.values[place], 0.0).astype(np.float64)
    return np.where(rows >= 0, found, np.nan)
