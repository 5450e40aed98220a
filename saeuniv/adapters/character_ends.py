"""Where in a text its words end, and where the tokens of a tokenizer do."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from saeuniv.adapters.tokenization import chunks, unlimited_backend

_WORD = re.compile(r"\w+")


class Reading(NamedTuple):
    """A text's tokens, and the characters at which text and tokens end together."""

    ids: Int[np.ndarray, " tokens"]
    """int32, without special tokens."""

    ends: Int[np.ndarray, " boundaries"]
    """Characters read at each boundary, increasing."""

    tokens: Int[np.ndarray, " boundaries"]
    """The token that ends there: the first `ends` characters are exactly what it and all before it cover."""


class CharacterReader:
    """A tokenizer that says which characters its tokens cover.

    Raises:
        ValueError: the tokenizer is a slow one.
    """

    prefix: Int[np.ndarray, " special"]
    """What the tokenizer by itself puts before a text: a beginning-of-sequence token, or nothing."""

    padding: int
    """An id to fill sequences up with."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
            raise ValueError(
                f"expected a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}: a slow one "
                f"does not say which characters its tokens cover, so nothing can be aligned with them. "
                f"Convert it where its model comes from (AutoTokenizer.from_pretrained(name, use_fast=True), "
                f"then save_pretrained), or compare models that share a tokenizer."
            )
        self._backend = unlimited_backend(tokenizer)
        encoding = self._backend.encode("a")
        specials = encoding.special_tokens_mask
        self.prefix = np.array(encoding.ids[: specials.index(0) if 0 in specials else 0], dtype=np.int32)
        candidates = (getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id"))
        self.padding = next((each for each in candidates if isinstance(each, int)), 0)
        # Post-processing trims spaces off what tokens cover: "a " would seem to end with the letter.
        self._backend.post_processor = None

    def read(self, texts: Iterable[str]) -> Iterator[Reading]:
        """Each text's tokens."""
        for chunk in chunks(texts):
            for encoding in self._backend.encode_batch(chunk):
                offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
                yield Reading(np.array(encoding.ids, dtype=np.int32), *boundaries(offsets))


def boundaries(
    offsets: Int[np.ndarray, "tokens 2"],
) -> tuple[Int[np.ndarray, " boundaries"], Int[np.ndarray, " boundaries"]]:
    """Where a token ends that no token before passes and none behind touches, and these tokens.

    Of several tokens that hold the bytes of one character only the last ends
    it, and none does where its last byte shares a token with the next character. Tokens that cover nothing
    end nowhere.
    """
    starts, ends = offsets.T
    real = ends > starts
    length = int(ends.max(initial=0))
    read = np.maximum.accumulate(np.where(real, ends, 0))
    ahead = np.append(np.where(real, starts, length)[1:], length)[: len(starts)]
    untouched = np.minimum.accumulate(ahead[::-1])[::-1]
    tokens = np.flatnonzero(real & (read == ends) & (untouched >= ends))
    return ends[tokens], tokens


def word_ends(text: str) -> Int[np.ndarray, " words"]:
    """Where words end, as numbers of characters: a word character before and none after.

    Letters, digits and the underscore are word characters; an accent written as a character of its own
    belongs to the word before it.
    """
    ends: list[int] = []
    for word in _WORD.finditer(text):
        end = word.end()
        while end < len(text) and unicodedata.category(text[end]).startswith("M"):
            end += 1
        if not _WORD.match(text, end):
            ends.append(end)
    return np.array(ends, dtype=np.int64)
