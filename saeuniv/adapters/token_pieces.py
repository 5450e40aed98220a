"""Tokens as readable text, from the content of tokenizer.json alone: no model library is asked."""

import bisect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

_SPACE = "▁"
"""What SentencePiece writes for a space."""

_CONTINUED = "##"
"""What WordPiece begins a token with that continues a word."""

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")

_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, at most."""


class TokenBytes:
    """The bytes of text that each token of a tokenizer stands for.

    Byte-level tokenizers write a byte as one printable character (GPT-2), tokenizers with byte fallback as
    `<0xE2>`, SentencePiece a space as `▁`, WordPiece the rest of a word as `##rest`.
    """

    def __init__(self, tokenizer: Mapping[str, Any]) -> None:
        """Read the content of tokenizer.json."""
        model = tokenizer["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            self._names = {index: name for name, index in cast(dict[str, int], vocabulary).items()}
        else:
            self._names = {index: entry[0] for index, entry in enumerate(vocabulary)}
        self._added = {int(each["id"]): str(each["content"]) for each in tokenizer.get("added_tokens") or ()}
        parts = [tokenizer.get(name) for name in ("pre_tokenizer", "decoder")]
        types = {each for part in parts for each in _types(part)}
        self._is_byte_level = "ByteLevel" in types
        self._is_word_piece = "WordPiece" in types or model.get("type") == "WordPiece"
        self._falls_back = bool(model.get("byte_fallback")) or "ByteFallback" in types
        self._word_end = str(model.get("end_of_word_suffix") or "")

    def __call__(self, token: int) -> bytes:
        """The bytes of a token; `[17]` for an id that the tokenizer does not have."""
        if token in self._added:
            return _encoded(self._added[token])
        name = self._names.get(token)
        if name is None:
            return f"[{token}]".encode()
        if self._is_byte_level:
            return b"".join(_byte_of().get(each, _encoded(each)) for each in name)
        if self._falls_back and (byte := _BYTE.fullmatch(name)):
            return bytes([int(byte[1], 16)])
        if self._is_word_piece:
            return _encoded(name.removeprefix(_CONTINUED) if name.startswith(_CONTINUED) else f" {name}")
        if self._word_end and name.endswith(self._word_end):
            name = name.removesuffix(self._word_end) + " "
        return _encoded(name.replace(_SPACE, " "))


def pieces(tokens: Sequence[bytes], *, peak: int) -> tuple[str, ...]:
    r"""The text of each token; together they are the text of all.

    A character whose bytes are those of several tokens is given to the first of them, or to the token `peak`
    if that is one of them, and the others get none of it. Bytes of no whole character, as at the ends of a
    window, are written `\xe2`. Anything else is as it is, control characters too: escape it where it is
    shown.
    """
    owners = [token for token, each in enumerate(tokens) for _ in each]
    texts = [""] * len(tokens)
    for start, end, text in _characters(b"".join(tokens)):
        shared = owners[start:end]
        texts[peak if peak in shared else shared[0]] += text
    return tuple(texts)


def words(tokens: Sequence[bytes]) -> tuple[str, ...]:
    """The word that each token is a part of; of a token with parts of several the last, "" without a letter.

    A word is a run of letters, apostrophes between letters included: not digits, hyphens or marks. It may
    reach over several tokens, and is as long as the tokens show it.
    """
    ends = list(itertools.accumulate(map(len, tokens)))
    text = b"".join(tokens).decode("utf-8", "surrogateescape")
    # Bytes before each character: in ASCII one a character.
    widths = (len(each.encode("utf-8", "surrogateescape")) for each in text)
    places = range(len(text) + 1) if text.isascii() else [0, *itertools.accumulate(widths)]
    found = list(_WORD.finditer(text))
    starts = [places[each.start()] for each in found]
    whole: list[str] = []
    start = 0
    for end in ends:
        last = bisect.bisect_left(starts, end) - 1
        is_part = last >= 0 and places[found[last].end()] > start and end > start
        whole.append(found[last].group() if is_part else "")
        start = end
    return tuple(whole)


def _characters(data: bytes) -> Iterator[tuple[int, int, str]]:
    """First byte, end and text of each character, or of each byte that is part of none."""
    start = 0
    while start < len(data):
        for end in range(start + 1, min(start + _LONGEST_CHARACTER, len(data)) + 1):
            try:
                text = data[start:end].decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            end, text = start + 1, f"\\x{data[start]:02x}"
        yield start, end, text
        start = end


def _encoded(text: str) -> bytes:
    # JSON can hold halves of surrogate pairs, which are no characters.
    return text.encode("utf-8", "surrogatepass")


def _types(part: object) -> Iterator[str]:
    """The type of a part of tokenizer.json and of all parts within it."""
    if isinstance(part, dict):
        values = cast(dict[str, object], part)
        if isinstance(values.get("type"), str):
            yield str(values["type"])
        for each in values.values():
            yield from _types(each)
    elif isinstance(part, list):
        for each in cast(list[object], part):
            yield from _types(each)


@cache
def _byte_of() -> dict[str, bytes]:
    """The byte that each character of GPT-2's alphabet stands for."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)}
    others = (byte for byte in range(256) if byte not in printable)
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    return alphabet | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}
