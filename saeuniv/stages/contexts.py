"""Where in the text latents are active: the tokens around their peaks, with the activations on them."""

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
        """The positions around a row within its sequence, and the row at each of them, -1 where none is."""
        position = int(self._position[row])
        end = min(position + window.after + 1, self.held_out.ids.shape[1])
        place = slice(max(position - window.before, 0), end)
        return place, self._row[self._sequence[row], place]

    def context(
        self,
        row: int,
        window: Window,
        *,
        of: str,
        a: sp.csc_array | None,
        b: sp.csc_array | None,
    ) -> Context:
        """The text around a row, with the activations of one latent of A and one of B (`rows x 1`)."""
        place, rows = self.around(row, window)
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
            a=_activations(a, rows),
            b=_activations(b, rows),
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
    order = np.lexsort((rows, -values))
    # The peaks stand among the first firings, unless these are of few documents.
    for first in (_FIRST_FIRINGS * n, len(order)):
        places = np.sort(np.unique(documents[order[:first]], return_index=True)[1])
        if len(places) >= n:
            break
    return rows[order[places[:n]]]


def _activations(
    latent: sp.csc_array | None, rows: Int[np.ndarray, " tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Activations on rows, 0 where the latent does not fire, NaN for -1."""
    if latent is None:
        return np.full(len(rows), np.nan)
    place = np.searchsorted(latent.indices, rows)
    # A last entry that no row has: whatever lies beyond all firings meets it.
    firings, values = np.append(latent.indices, -2), np.append(latent.data, 0.0)
    active = np.where(firings[place] == rows, values[place], 0.0)
    return np.where(rows >= 0, active, np.nan)
