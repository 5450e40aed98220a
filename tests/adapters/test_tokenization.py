"""Ids, places of tokens, BOS and special tokens of a tokenizer."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from saeuniv.adapters import tiny, tokenization
from saeuniv.config import Bos
from tests.adapters.chat_tokenizers import BOS, END, TURN, write_tokenizer

BYTES = tiny.byte_tokenizer(8)
TEXTS = ["", "abc", "é 世", "x" * 100]


@pytest.fixture
def load(tmp_path):
    def make(**settings) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast.from_pretrained(write_tokenizer(tmp_path, **settings))

    return make


def test_places_are_of_the_same_ids_and_in_characters():
    plain, placed = list(tokenization.token_ids(TEXTS, BYTES)), list(tokenization.encoded(TEXTS, BYTES))
    for text, ids, tokens in zip(TEXTS, plain, placed, strict=True):
        assert np.array_equal(ids, tokens.ids) and ids.dtype == np.int32
        assert len(ids) == len(text.encode())
        of_byte = [place for place, char in enumerate(text) for _ in char.encode()]
        assert tokens.starts.tolist() == of_byte
        assert tokens.ends.tolist() == [place + 1 for place in of_byte]


def test_many_texts_keep_their_order():
    texts = [f"{number:03}" for number in range(150)]
    assert [BYTES.decode(ids) for ids in tokenization.token_ids(texts, BYTES)] == texts


@pytest.mark.parametrize("begins", [False, True])
def test_auto_begins_sequences_as_the_tokenizer_begins_texts(load, begins):
    tokenizer = load(begins=begins)
    known = tokenizer.convert_tokens_to_ids(BOS)
    assert tokenization.bos_id(tokenizer, Bos.auto) == (known if begins else None)
    assert tokenization.bos_id(tokenizer, Bos.auto, template_begins=True) == known
    assert tokenization.bos_id(tokenizer, Bos.always) == known
    assert tokenization.bos_id(tokenizer, Bos.never, template_begins=True) is None


def test_always_needs_a_bos():
    tokenizer = tiny.byte_tokenizer(8)
    tokenizer.bos_token = None
    with pytest.raises(ValueError, match=r"data\.bos=always: expected a tokenizer with a beginning-of-seq"):
        tokenization.bos_id(tokenizer, Bos.always)
    assert tokenization.bos_id(tokenizer, Bos.auto) is None


def test_special_ids_are_those_of_the_file_and_of_the_configuration(load):
    tokenizer = load(bos_token="a")
    special = tokenization.special_ids(tokenizer)
    expected = tokenizer.convert_tokens_to_ids([BOS, END, TURN, "a"])
    assert special.tolist() == sorted(expected)
    assert tokenization.special_ids(BYTES).tolist() == [0]
