"""Tokens as text: what each kind of tokenizer writes, and characters that are split over tokens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from saeuniv.adapters.checkpoints import byte_tokenizer_json
from saeuniv.adapters.token_pieces import TokenBytes, pieces
from tests.stored_runs import byte_ids


def _tokenizer(vocab: Any, **parts: Any) -> dict[str, Any]:
    model = {"type": parts.pop("type", "BPE"), "vocab": vocab, **parts.pop("model", {})}
    return {"model": model, "added_tokens": [], **parts}


def test_bytes_of_the_embedded_tokenizer_are_the_bytes_of_the_text():
    token_bytes = TokenBytes(byte_tokenizer_json())
    data = bytes(range(256))
    assert b"".join(map(token_bytes, byte_ids(data))) == data
    assert token_bytes(0) == b"<|endoftext|>"


def test_what_the_tokenizers_library_decodes_is_what_is_read():
    backend = Tokenizer.from_str(json.dumps(byte_tokenizer_json()))
    text = "naïve 🎉 Ωmega\n\t\x00 ж"
    ids = backend.encode(text, add_special_tokens=False).ids
    assert ids == byte_ids(text)
    assert "".join(pieces([*map(TokenBytes(byte_tokenizer_json()), ids)], peak=0)) == text


def test_sentencepiece_spaces_and_fallback_bytes_are_read():
    vocab = {"▁the": 0, "<0xE2>": 1, "<0x82>": 2, "<0xAC>": 3, "<0xZZ>": 4, "▁▁": 5}
    token_bytes = TokenBytes(_tokenizer(vocab, model={"byte_fallback": True}))
    assert pieces([*map(token_bytes, [0, 1, 2, 3, 4, 5])], peak=0) == (" the", "€", "", "", "<0xZZ>", "  ")


def test_a_unigram_vocabulary_is_a_list():
    token_bytes = TokenBytes(_tokenizer([["<unk>", 0.0], ["▁a", -1.0]], type="Unigram"))
    assert token_bytes(1) == b" a"


def test_wordpiece_continues_words():
    token_bytes = TokenBytes(_tokenizer({"play": 0, "##ing": 1}, type="WordPiece"))
    assert pieces([token_bytes(0), token_bytes(1)], peak=0) == (" play", "ing")


def test_ends_of_words_are_spaces():
    token_bytes = TokenBytes(_tokenizer({"cat</w>": 0}, model={"end_of_word_suffix": "</w>"}))
    assert token_bytes(0) == b"cat "


def test_an_id_that_no_tokenizer_has_is_shown_as_a_number():
    assert TokenBytes(_tokenizer({}))(17) == b"[17]"


def test_half_of_a_surrogate_pair_in_a_vocabulary_is_shown_and_no_fault():
    token_bytes = TokenBytes(_tokenizer({"\ud83d": 0}))
    assert pieces([token_bytes(0)], peak=0) == (r"\xed\xa0\xbd",)


@pytest.mark.parametrize(("peak", "expected"), [(0, ("€", "", "", "!")), (2, ("", "", "€", "!"))])
def test_a_split_character_is_given_to_its_first_token_or_the_peak(peak: int, expected: tuple[str, ...]):
    assert pieces([b"\xe2", b"\x82", b"\xac", b"!"], peak=peak) == expected


def test_a_character_is_whole_where_a_token_ends_within_it():
    assert pieces([b"a\xc3", b"\xa9b"], peak=1) == ("a", "éb")


def test_parts_of_characters_at_the_edges_and_inside_are_escaped():
    assert pieces([b"\x82\xac", b"a", b"\xe2\x82", b"b", b"\xf0\x9f"], peak=1) == (
        r"\x82\xac",
        "a",
        r"\xe2\x82",
        "b",
        r"\xf0\x9f",
    )


@given(st.text(max_size=30), st.data())
def test_any_text_cut_anywhere_is_read_whole(text: str, data: st.DataObject):
    whole = text.encode("utf-8", "surrogatepass").decode("utf-8", "ignore").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    tokens = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    peak = data.draw(st.integers(0, len(tokens) - 1))
    assert "".join(pieces(tokens, peak=peak)) == whole.decode()


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=8))
def test_no_bytes_are_a_replacement_character_or_a_fault(tokens: list[bytes]):
    shown = pieces(tokens, peak=0)
    assert len(shown) == len(tokens)
    if "\N{REPLACEMENT CHARACTER}".encode() not in b"".join(tokens):
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(shown)
