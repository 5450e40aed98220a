"""One text as the sequences of two tokenizers, with rows where both models have read the same characters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from saeuniv.adapters.character_ends import CharacterReader, Reading, word_ends
from saeuniv.adapters.documents import Document


class AlignedSide(NamedTuple):
    """The sequences that one of the two models reads."""

    ids: Int[np.ndarray, "sequences context"]
    """int32; filled up on the right with an id that is never a row."""

    keep: Bool[np.ndarray, "sequences context"]
    """The positions that are rows, in reading order; as many in a sequence as on the other side."""

    n_read: int
    """Tokens of text in all sequences: neither padding nor what the tokenizer puts before a text."""

    masked: dict[str, int]
    """Tokens of text that are no rows, by reason: `first_positions`, `not_aligned`."""

    @property
    def kept_fraction(self) -> float:
        """The share of the tokens of text that are rows."""
        return int(self.keep.sum()) / self.n_read


class AlignedTokens(NamedTuple):
    """Two token sets; row r of A and row r of B end at the same character of the same document."""

    a: AlignedSide
    b: AlignedSide
    documents: Int[np.ndarray, " sequences"]
    """Index into `names` (int32), non-decreasing."""

    names: tuple[str, ...]
    """The documents that gave at least one sequence."""

    domains: tuple[str, ...]
    """Where each of them is from, empty where the text does not say."""

    ends: Int[np.ndarray, " rows"]
    """The characters of its document that are read at each row."""

    n_word_ends: int
    """Ends of words in these documents, up to the last sequence of each."""

    @property
    def kept_word_ends(self) -> float:
        """The share of those word ends that are rows."""
        return len(self.ends) / self.n_word_ends


def aligned_token_sets(
    documents: Sequence[Document],
    tokenizer_a: Any,
    tokenizer_b: Any,
    *,
    context_length: int,
    max_sequences_per_document: int,
    skip_first: int,
) -> AlignedTokens:
    """Sequences of both tokenizers over the same stretches of text, with a row at each word that both end.

    A row is where both tokenizations have a token that ends with the last character of a word: both models
    have then read the same text since the start of their sequence. Inside a word they mostly have not:
    what follows decides where its tokens are cut.

    The first pair of sequences starts with the document, each further one where the pair before ends: the
    last such word end that takes at most `context_length` tokens on either side. What lies between two of
    them and takes more is left out. Ids are those of the document tokenized as a whole, behind what the
    tokenizer puts before a text. The first `skip_first` positions of either side are no rows.

    Raises:
        ValueError: a tokenizer is a slow one, or no document gives a row.
    """
    readers = CharacterReader(tokenizer_a), CharacterReader(tokenizer_b)
    texts = [document.text for document in documents]
    room_a, room_b = (context_length - len(reader.prefix) for reader in readers)
    pairs: list[_Pair] = []
    names: list[str] = []
    domains: list[str] = []
    n_word_ends = 0
    for document, *readings in zip(documents, *(reader.read(texts) for reader in readers), strict=True):
        words = word_ends(document.text)
        common = _common_ends(words, *readings)
        cuts = _cuts(common, room_a, room_b)[:max_sequences_per_document]
        found = [_pair(cut, common, readers, readings, skip_first, len(names)) for cut in cuts]
        found = [pair for pair in found if len(pair.ends)]
        if found:
            names.append(document.name)
            domains.append(document.domain)
            pairs += found
            n_word_ends += int(np.searchsorted(words, common.ends[cuts[-1].stop - 1], side="right"))
    if not pairs:
        raise ValueError(
            f"expected documents with words that both tokenizers end a token with, behind the first "
            f"{skip_first} tokens of a sequence (data.skip_first) and within {context_length} "
            f"(data.context_length), got none in {len(documents)} documents. Give longer text."
        )
    a, b = (
        _side([(pair.ids[i], pair.rows[i]) for pair in pairs], reader, context_length, skip_first)
        for i, reader in enumerate(readers)
    )
    index = np.array([pair.document for pair in pairs], dtype=np.int32)
    ends = np.concatenate([pair.ends for pair in pairs])
    return AlignedTokens(a, b, index, tuple(names), tuple(domains), ends, n_word_ends)


class _Common(NamedTuple):
    """Ends of words at which both sides have a token end, and these tokens."""

    ends: Int[np.ndarray, " ends"]
    tokens_a: Int[np.ndarray, " ends"]
    tokens_b: Int[np.ndarray, " ends"]


class _Cut(NamedTuple):
    """A stretch of text: one sequence on each side."""

    start: int
    """The first common end in it; its first tokens are those after the end before."""

    stop: int
    """The first common end behind it."""


class _Pair(NamedTuple):
    """A sequence of each side."""

    ids: tuple[Int[np.ndarray, " tokens_a"], Int[np.ndarray, " tokens_b"]]
    rows: tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]
    """The positions that are rows."""

    ends: Int[np.ndarray, " rows"]
    document: int


def _common_ends(words: Int[np.ndarray, " words"], a: Reading, b: Reading) -> _Common:
    ends = np.intersect1d(np.intersect1d(words, a.ends), b.ends)
    return _Common(ends, a.tokens[np.searchsorted(a.ends, ends)], b.tokens[np.searchsorted(b.ends, ends)])


def _cuts(common: _Common, room_a: int, room_b: int) -> list[_Cut]:
    """The stretches of a document, in order, as long as fits."""
    cuts: list[_Cut] = []
    start, n_ends = 0, len(common.ends)
    while start < n_ends:
        first_a, first_b = (_first(tokens, start) for tokens in (common.tokens_a, common.tokens_b))
        fits_a = int(np.searchsorted(common.tokens_a, first_a + room_a))
        fits_b = int(np.searchsorted(common.tokens_b, first_b + room_b))
        stop = min(fits_a, fits_b)
        if stop > start:
            cuts.append(_Cut(start, stop))
        # Where not even the next end fits, go on behind it.
        start = max(stop, start + 1)
    return cuts


def _first(tokens: Int[np.ndarray, " ends"], start: int) -> int:
    """The first token of a sequence: the document's, or the one after the last end before the sequence."""
    return int(tokens[start - 1]) + 1 if start else 0


def _pair(
    cut: _Cut,
    common: _Common,
    readers: Sequence[CharacterReader],
    readings: Sequence[Reading],
    skip_first: int,
    document: int,
) -> _Pair:
    ids: list[Int[np.ndarray, " _"]] = []
    positions: list[Int[np.ndarray, " ends"]] = []
    for tokens, reader, reading in zip(common[1:], readers, readings, strict=True):
        first, last = _first(tokens, cut.start), int(tokens[cut.stop - 1])
        ids.append(np.concatenate([reader.prefix, reading.ids[first : last + 1]]))
        positions.append(tokens[cut.start : cut.stop] - first + len(reader.prefix))
    kept = (positions[0] >= skip_first) & (positions[1] >= skip_first)
    ends = common.ends[cut.start : cut.stop][kept]
    return _Pair((ids[0], ids[1]), (positions[0][kept], positions[1][kept]), ends, document)


def _side(
    sequences: Sequence[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]],
    reader: CharacterReader,
    context_length: int,
    skip_first: int,
) -> AlignedSide:
    """The sequences of one side as arrays: the ids, and the positions that are rows."""
    ids = np.full((len(sequences), context_length), reader.padding, dtype=np.int32)
    keep = np.zeros(ids.shape, dtype=np.bool_)
    n_special = len(reader.prefix)
    n_read = n_first = 0
    for number, (sequence, rows) in enumerate(sequences):
        ids[number, : len(sequence)] = sequence
        keep[number, rows] = True
        n_read += len(sequence) - n_special
        n_first += max(min(skip_first, len(sequence)) - n_special, 0)
    masked = {"first_positions": n_first, "not_aligned": n_read - n_first - int(keep.sum())}
    return AlignedSide(ids, keep, n_read, masked)
