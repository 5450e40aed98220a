"""Sequences and streams of token ids."""

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


def test_the_stream_puts_end_of_text_before_each_document():
    stream = tokens.token_stream(DOCUMENTS[1:3], TOKENIZER)
    assert TOKENIZER.decode(stream.ids) == "<|endoftext|>abc<|endoftext|>0123456789"
    assert stream.ids.dtype == np.int32 and not stream.template_begins


def test_a_stream_of_nothing_and_a_tokenizer_without_end_of_text_are_errors():
    with pytest.raises(ValueError, match=r"expected documents to train on, got none\. Lower data\.held_out"):
        tokens.token_stream([], TOKENIZER)
    tokenizer = tiny.byte_tokenizer(8)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"end-of-text token \(eos_token\), got none"):
        tokens.token_stream(DOCUMENTS, tokenizer)


def _windows(n_tokens: int, seed: int = 0, length: int = 103) -> np.ndarray:
    stream = np.arange(length, dtype=np.int32)
    return tokens.training_sequences(stream, n_tokens=n_tokens, context_length=10, seed=seed)


def test_training_sequences_are_all_windows_once_in_a_seeded_order():
    windows = _windows(100)
    assert sorted(windows[:, 0].tolist()) == list(range(0, 100, 10))
    assert (np.diff(windows, axis=1) == 1).all()
    assert np.array_equal(windows, _windows(100)) and not np.array_equal(windows, _windows(100, seed=1))


def test_a_short_stream_is_read_again_in_fresh_orders():
    starts = _windows(250)[:, 0]
    assert len(starts) == 25
    assert sorted(starts[:10]) == sorted(starts[10:20]) == list(range(0, 100, 10))
    assert starts[:10].tolist() != starts[10:20].tolist()
    assert len(set(starts[20:])) == 5


def test_fewer_tokens_are_the_beginning_of_more():
    assert np.array_equal(_windows(70), _windows(250)[:7])


def test_a_stream_shorter_than_a_window_is_an_error():
    with pytest.raises(ValueError, match=r"at least 10 training tokens \(one sequence\), got 9"):
        _windows(100, length=9)
