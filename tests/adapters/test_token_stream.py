"""The training stream: documents joined by end-of-text, read in shuffled windows."""

import numpy as np
import pytest

from saeuniv.adapters import tiny
from saeuniv.adapters.documents import Document
from saeuniv.adapters.token_stream import token_stream, training_sequences

TOKENIZER = tiny.byte_tokenizer(8)
DOCUMENTS = [
    Document(name, text, name)
    for name, text in (("a", "abcdefghij" * 3), ("short", "abc"), ("b", "0123456789"), ("c", "héé" * 7))
]


def test_the_stream_puts_end_of_text_before_each_document():
    stream = token_stream(DOCUMENTS[1:3], TOKENIZER)
    assert TOKENIZER.decode(stream.ids) == "<|endoftext|>abc<|endoftext|>0123456789"
    assert stream.ids.dtype == np.int32 and not stream.template_begins


def test_a_stream_of_nothing_and_a_tokenizer_without_end_of_text_are_errors():
    with pytest.raises(ValueError, match=r"expected documents to train on, got none\. Lower data\.held_out"):
        token_stream([], TOKENIZER)
    tokenizer = tiny.byte_tokenizer(8)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"end-of-text token \(eos_token\), got none"):
        token_stream(DOCUMENTS, tokenizer)


def _windows(n_tokens: int, seed: int = 0, length: int = 103) -> np.ndarray:
    stream = np.arange(length, dtype=np.int32)
    return training_sequences(stream, n_tokens=n_tokens, context_length=10, seed=seed)


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


def test_training_windows_begin_with_bos_where_asked():
    stream = np.arange(100, dtype=np.int32)
    made = training_sequences(stream, n_tokens=100, context_length=10, seed=0, bos=7)
    assert made.shape == (10, 10) and (made[:, 0] == 7).all() and made.dtype == np.int32
    assert len(set(made[:, 1])) == 10 and set(made[:, 1]) <= set(range(0, 99, 9))
