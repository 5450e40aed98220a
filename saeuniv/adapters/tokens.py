"""Documents as token ids: the sequences that are compared on, and the stream that is trained on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from saeuniv.adapters.corpus import Document

# Documents handed to the tokenizer at once: enough to keep it busy, few enough to bound memory.
_DOCUMENTS_PER_CALL = 64


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a fast Hugging Face tokenizer."""

    backend_tokenizer: Any
    eos_token_id: Any


class TokenSet(NamedTuple):
    """The exact tokens that are compared on, in order."""

    ids: Int[np.ndarray, "sequences context"]
    """int32; no sequence spans two documents, none has a BOS."""

    keep: Bool[np.ndarray, "sequences context"]
    """The positions that are rows of the comparison; the model reads the others too."""

    documents: Int[np.ndarray, " sequences"]
    """Index into `names`, non-decreasing."""

    names: tuple[str, ...]
    """The documents that gave at least one sequence."""

    domains: tuple[str, ...]
    """Where each of them is from, empty where the text does not say."""

    masked: Mapping[str, int]
    """Positions that are no rows, by the reason: first_positions ..."""


def token_set(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    context_length: int,
    max_sequences_per_document: int,
    skip_first: int,
) -> TokenSet:
    """The first whole sequences of each document, at most `max_sequences_per_document`; rests are dropped.

    The first `skip_first` positions of each sequence are no rows.

    Raises:
        ValueError: no document fills a sequence.
    """
    blocks: list[Int[np.ndarray, "sequences context"]] = []
    names: list[str] = []
    longest = 0
    for document, ids in zip(documents, _encoded(documents, tokenizer), strict=True):
        n_sequences = min(len(ids) // context_length, max_sequences_per_document)
        longest = max(longest, len(ids))
        if n_sequences:
            blocks.append(ids[: n_sequences * context_length].reshape(n_sequences, context_length))
            names.append(document.name)
    if not blocks:
        raise ValueError(
            f"expected a document of at least one sequence (data.context_length={context_length} tokens), "
            f"got {len(documents)} documents of at most {longest} tokens. Give longer text or lower "
            f"data.context_length."
        )
    counts = [len(block) for block in blocks]
    index = np.repeat(np.arange(len(blocks), dtype=np.int32), counts)
    ids = np.concatenate(blocks)
    keep = np.ones(ids.shape, dtype=bool)
    keep[:, :skip_first] = False
    masked = {"first_positions": int((~keep).sum())}
    return TokenSet(ids, keep, index, tuple(names), ("",) * len(names), masked)


def token_stream(documents: Sequence[Document], tokenizer: Tokenizer) -> Int[np.ndarray, " tokens"]:
    """All ids of the training documents, each document preceded by the end-of-text id (int32).

    Raises:
        ValueError: there are no documents, or the tokenizer has no end-of-text token.
    """
    if not documents:
        raise ValueError(
            "expected documents to train on, got none. Lower data.held_out (0.3) or give more documents."
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "expected a tokenizer with an end-of-text token (eos_token), got none. "
            "Set eos_token in its tokenizer_config.json."
        )
    end = np.array([tokenizer.eos_token_id], dtype=np.int32)
    return np.concatenate([part for ids in _encoded(documents, tokenizer) for part in (end, ids)])


def training_sequences(
    stream: Int[np.ndarray, " tokens"], *, n_tokens: int, context_length: int, seed: int
) -> Int[np.ndarray, "sequences context"]:
    """`n_tokens // context_length` whole windows of the stream, shuffled; read again where it is short.

    Windows do not overlap; each pass over the stream has a permutation of its own.

    Raises:
        ValueError: the stream is shorter than one window.
    """
    n_windows, n_sequences = len(stream) // context_length, n_tokens // context_length
    if not n_windows:
        raise ValueError(
            f"expected at least {context_length} training tokens (one sequence), got {len(stream)}. "
            f"Lower data.held_out or data.context_length, or give more text."
        )
    generator = np.random.default_rng(seed)
    n_passes = -(-n_sequences // n_windows)
    order = np.concatenate([generator.permutation(n_windows) for _ in range(max(n_passes, 1))])
    windows = stream[: n_windows * context_length].reshape(n_windows, context_length)
    return windows[order[:n_sequences]]


def _encoded(documents: Sequence[Document], tokenizer: Tokenizer) -> Iterator[Int[np.ndarray, " tokens"]]:
    """The ids of each document's whole text, without special tokens of the tokenizer's own."""
    from tokenizers import Tokenizer as Backend

    # A copy: a length limit stored in tokenizer.json would cut documents; lifting it changes the tokenizer.
    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    for start in range(0, len(documents), _DOCUMENTS_PER_CALL):
        texts = [document.text for document in documents[start : start + _DOCUMENTS_PER_CALL]]
        for encoding in backend.encode_batch_fast(texts, add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int32)
