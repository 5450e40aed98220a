"""Documents as token ids: the stream that models and dictionaries are trained on, and its windows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saeuniv.adapters.chat import Render, all_rendered, as_written
from saeuniv.adapters.documents import Document
from saeuniv.adapters.tokenization import Tokenizer, eos_id, token_ids


class TokenStream(NamedTuple):
    """The text that models and dictionaries are trained on."""

    ids: Int[np.ndarray, " tokens"]
    """Of all documents, each preceded by the end-of-text id (int32)."""

    template_begins: bool
    """The chat template writes BOS, which is not among the ids."""


def token_stream(
    documents: Sequence[Document], tokenizer: Tokenizer, render: Render = as_written
) -> TokenStream:
    """The training documents, one after another.

    Raises:
        ValueError: there are no documents, or the tokenizer has no end-of-text token.
    """
    read = [text for _, text in all_rendered(documents, render)]
    if not read:
        raise ValueError(
            "expected documents to train on, got none. Lower data.held_out (0.3) or give more documents."
        )
    end = np.array([eos_id(tokenizer)], dtype=np.int32)
    texts = [text.text for text in read]
    ids = np.concatenate([part for ids in token_ids(texts, tokenizer) for part in (end, ids)])
    return TokenStream(ids, any(text.began_with_bos for text in read))


def training_sequences(
    stream: Int[np.ndarray, " tokens"],
    *,
    n_tokens: int,
    context_length: int,
    seed: int,
    bos: int | None = None,
) -> Int[np.ndarray, "sequences context"]:
    """`n_tokens // context_length` whole windows of the stream, shuffled; read again where it is short.

    Windows do not overlap; each pass over the stream has a permutation of its own. With `bos` each begins
    with that id, as the sequences do that are compared on.

    Raises:
        ValueError: the stream is shorter than one window.
    """
    body = context_length - (bos is not None)
    n_windows, n_sequences = len(stream) // body, n_tokens // context_length
    if not n_windows:
        raise ValueError(
            f"expected at least {body} training tokens (one sequence), got {len(stream)}. "
            f"Lower data.held_out or data.context_length, or give more text."
        )
    generator = np.random.default_rng(seed)
    n_passes = -(-n_sequences // n_windows)
    order = np.concatenate([generator.permutation(n_windows) for _ in range(max(n_passes, 1))])
    windows = stream[: n_windows * body].reshape(n_windows, body)[order[:n_sequences]]
    if bos is None:
        return windows
    return np.hstack([np.full((len(windows), 1), bos, dtype=windows.dtype), windows])
