"""Sequences of token ids."""

import numpy as np
import pytest

from saeuniv.adapters import tiny, tokens
from saeuniv.adapters.documents import Document

TOKENIZER = tiny.byte_tokenizer(8)
DOCUMENTS = [
    Document(name, text, name)
    for name, text in (("a", "abcdefghij" * 3), ("short", "abc"), ("b", "0123456789"), ("c", "héé" * 7))
]


def _set(context_length: int = 8, cap: int = 10, documents=DOCUMENTS) -> tokens.TokenSet:
    return tokens.token_set(documents, TOKENIZER, tokens.TokenRules(context_length, cap, skip_first=2))


def test_sequences_are_the_first_whole_ones_of_each_document():
    made = _set()
    text = [TOKENIZER.decode(row) for row in made.ids[:4]]
    assert text == ["abcdefgh", "ijabcdef", "ghijabcd", "01234567"]
    assert made.names == ("a", "b", "c")
    assert made.domains == ("", "", "")
    assert made.keep.tolist() == [[False] * 2 + [True] * 6] * len(made.ids)
    assert made.masked == {"first_positions": 2 * len(made.ids), "special": 0}
    assert made.documents.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert made.ids.dtype == made.documents.dtype == np.int32


def test_no_sequence_spans_two_documents_and_none_has_an_added_token():
    made = _set()
    by_name = {document.name: document.text.encode() for document in DOCUMENTS}
    for row, index in zip(made.ids, made.documents, strict=True):
        content = bytes(int(i) for i in _bytes_of(row))
        assert content in by_name[made.names[index]]
    assert (made.ids != TOKENIZER.eos_token_id).all()


def _bytes_of(row: np.ndarray) -> list[int]:
    """By an alphabet of one's own: each byte is a single id, learnt from single bytes' encodings."""
    table = {}
    for byte in range(128):
        (index,) = TOKENIZER.encode(chr(byte), add_special_tokens=False)
        table[index] = byte
    for char in "é":
        for index, byte in zip(TOKENIZER.encode(char, add_special_tokens=False), char.encode(), strict=True):
            table[index] = byte
    return [table[int(i)] for i in row]


@pytest.mark.parametrize(("cap", "expected"), [(1, [1, 1, 1]), (2, [2, 1, 2]), (100, [3, 1, 4])])
def test_the_cap_holds_for_each_document(cap, expected):
    assert np.bincount(_set(cap=cap).documents).tolist() == expected


def test_token_sets_are_deterministic_and_follow_the_order_of_documents():
    first, again, reverse = _set(), _set(), _set(documents=DOCUMENTS[::-1])
    assert np.array_equal(first.ids, again.ids) and first.names == again.names
    assert reverse.names == ("c", "b", "a")


def test_many_documents_keep_their_order_across_calls_of_the_tokenizer():
    documents = [Document(str(n), f"{n:08}", str(n)) for n in range(150)]
    made = _set(documents=documents)
    assert [TOKENIZER.decode(row) for row in made.ids] == [f"{n:08}" for n in range(150)]


def test_no_document_of_a_whole_sequence_is_an_error():
    with pytest.raises(
        ValueError, match=r"data.context_length=64 tokens\), got 4 documents of at most 35 tokens"
    ):
        _set(context_length=64)


def test_a_length_limit_stored_in_the_tokenizer_cuts_nothing_and_is_left_alone():
    tokenizer = tiny.byte_tokenizer(8)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    made = tokens.token_set(DOCUMENTS, tokenizer, tokens.TokenRules(8, 10, skip_first=2))
    assert np.array_equal(made.ids, _set().ids)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 4
