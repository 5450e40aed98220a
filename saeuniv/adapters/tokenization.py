"""Texts as token ids, with the places of tokens in the text."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Int

from saeuniv.config import Bos

# Texts handed to the tokenizer at once: enough to keep it busy, few enough to bound memory.
_TEXTS_PER_CALL = 64
# Any text that is one token or more in every tokenizer.
_PROBE = "a"


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a fast Hugging Face tokenizer."""

    backend_tokenizer: Any
    bos_token_id: Any
    eos_token_id: Any
    all_special_ids: Any


class Encoded(NamedTuple):
    """A text as tokens, and where each is in the text, in characters."""

    ids: Int[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " tokens"]
    """Past the last character; non-decreasing. Tokens that are parts of one character share its place."""


def token_ids(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Int[np.ndarray, " tokens"]]:
    """The ids (int32) of each whole text, without special tokens of the tokenizer's own."""
    backend = unlimited_backend(tokenizer)
    for chunk in chunks(texts):
        for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int32)


def encoded(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """The same ids with the place of each token: half as fast."""
    backend = unlimited_backend(tokenizer)
    for chunk in chunks(texts):
        for encoding in backend.encode_batch(chunk, add_special_tokens=False):
            places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            yield Encoded(np.array(encoding.ids, dtype=np.int32), places[:, 0], places[:, 1])


def unlimited_backend(tokenizer: Tokenizer) -> Any:
    """A copy: a length limit stored in tokenizer.json would cut texts; lifting it changes the tokenizer."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """As many texts as are handed to a tokenizer at once."""
    waiting = iter(texts)
    while chunk := list(islice(waiting, _TEXTS_PER_CALL)):
        yield chunk


def bos_id(tokenizer: Tokenizer, bos: Bos, *, template_begins: bool = False) -> int | None:
    """The id that each sequence begins with, or None.

    auto: the token that the tokenizer itself puts before a text; also where the chat template writes BOS
    (`template_begins`).

    Raises:
        ValueError: bos=always, and the tokenizer has no BOS.
    """
    known = None if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
    if bos is Bos.never:
        return None
    if bos is Bos.auto:
        backend = unlimited_backend(tokenizer)
        whole, text = (backend.encode(_PROBE, add_special_tokens=own).ids for own in (True, False))
        if whole[: len(text)] != text and whole[0] not in text:
            return int(whole[0])
        return known if template_begins else None
    if known is None:
        raise ValueError(
            "data.bos=always: expected a tokenizer with a beginning-of-sequence token (bos_token), got none. "
            "Choose data.bos=auto, or set bos_token in its tokenizer_config.json."
        )
    return known


def special_ids(tokenizer: Tokenizer) -> Int[np.ndarray, " special"]:
    """The ids of tokens that stand for no text: BOS, end of text, padding, marks of chat templates."""
    added = cast(dict[int, Any], unlimited_backend(tokenizer).get_added_tokens_decoder())
    marked = {index for index, token in added.items() if token.special}
    return np.array(sorted(marked | {int(each) for each in tokenizer.all_special_ids}), dtype=np.int64)


def padding_id(tokenizer: Tokenizer) -> int:
    """The id that short sequences are filled up with: the padding token, else the end-of-text token.

    Raises:
        ValueError: the tokenizer has neither.
    """
    known = getattr(tokenizer, "pad_token_id", None)
    return eos_id(tokenizer) if known is None else int(known)


def eos_id(tokenizer: Tokenizer) -> int:
    """The end-of-text id.

    Raises:
        ValueError: the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "expected a tokenizer with an end-of-text token (eos_token), got none. "
            "Set eos_token in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)
