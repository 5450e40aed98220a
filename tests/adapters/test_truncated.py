"""One sequence a document: its first tokens, with padding behind a shorter one."""

import dataclasses

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from saeuniv.adapters import chat, text_faults, tokens
from saeuniv.adapters.documents import Turn, conversation, document
from saeuniv.adapters.tokenization import padding_id
from saeuniv.config import Documents, Packing, TextData
from tests.adapters.chat_tokenizers import BOS, END, TURN, write_tokenizer

TEXTS = [document(str(n), text) for n, text in enumerate(("abcdefghij", "abc", "0123456789" * 3, "01234567"))]
RULES = tokens.TokenRules(8, 10, skip_first=2, packing=Packing.truncated)
AS_PUBLISHED = dataclasses.replace(RULES, skip_first=0, mask_special=False, mask_padding=False)


@pytest.fixture
def load(tmp_path):
    def make(**settings) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast.from_pretrained(write_tokenizer(tmp_path, **settings))

    return make


def test_a_document_gives_its_first_tokens_and_padding_where_it_is_shorter(load):
    tokenizer = load()
    made = tokens.token_set(TEXTS, tokenizer, RULES)
    assert [tokenizer.decode(row) for row in made.ids] == [
        "abcdefgh",
        "abc" + END * 5,
        "01234567",
        "01234567",
    ]
    assert made.names == ("0", "1", "2", "3") and made.documents.tolist() == [0, 1, 2, 3]
    assert made.lengths is not None and made.lengths.tolist() == [8, 3, 8, 8]
    assert made.keep.sum(1).tolist() == [6, 1, 6, 6] and made.keep[1].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert made.masked == {"padding": 5, "first_positions": 8, "special": 0}
    counted = {"documents_truncated": 2, "documents_padded": 1, "tokens_beyond": 24, "padding_kept": 0}
    assert made.truncated == counted
    assert made.ids.dtype == made.lengths.dtype == np.int32


def test_padding_that_is_kept_is_a_row_like_any_other(load):
    made = tokens.token_set(TEXTS, load(), AS_PUBLISHED)
    assert made.keep.all() and made.keep.sum() == len(TEXTS) * 8
    assert made.masked == {"first_positions": 0}
    assert made.truncated["padding_kept"] == 5
    # Whether padding is masked changes rows, and nothing that a model reads.
    masked = tokens.token_set(TEXTS, load(), RULES)
    assert np.array_equal(made.ids, masked.ids) and np.array_equal(made.lengths, masked.lengths)


def test_padding_kept_stays_whatever_is_done_with_the_same_token_in_text(load):
    texts = [document(str(n), f"{n}b{END}d{TURN}") for n in range(5)]
    made = tokens.token_set(texts, load(), dataclasses.replace(RULES, mask_padding=False))
    assert made.keep.tolist() == [[0, 0, 0, 1, 0, 1, 1, 1]] * 5
    assert made.masked == {"first_positions": 10, "special": 10} and made.truncated["padding_kept"] == 15
    # Its position counts as that of any other token.
    made = tokens.token_set(texts, load(), dataclasses.replace(RULES, mask_padding=False, skip_first=6))
    assert made.keep.sum(1).tolist() == [2] * 5


def test_bos_is_one_of_the_positions(load):
    tokenizer = load(begins=True)
    made = tokens.token_set(TEXTS, tokenizer, RULES)
    assert tokenizer.decode(made.ids[1]) == BOS + "abc" + END * 4
    assert made.lengths is not None and made.lengths.tolist() == [8, 4, 8, 8]
    assert made.truncated["tokens_beyond"] == 3 + 23 + 1


def test_padding_is_the_tokenizers_own_token_else_its_end_of_text(load):
    assert padding_id(load()) == load().eos_token_id
    tokenizer = load(pad_token=TURN)
    assert padding_id(tokenizer) == tokenizer.convert_tokens_to_ids(TURN)
    made = tokens.token_set(TEXTS, tokenizer, RULES)
    assert tokenizer.decode(made.ids[1]) == "abc" + TURN * 5
    tokenizer = load()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="expected a tokenizer with an end-of-text token"):
        tokens.token_set(TEXTS, tokenizer, RULES)


def test_documents_without_a_token_or_without_a_row_give_no_sequence(load):
    made = tokens.token_set([document("empty", ""), *TEXTS], load(), AS_PUBLISHED)
    assert made.names == ("0", "1", "2", "3")
    made = tokens.token_set(TEXTS, load(), dataclasses.replace(RULES, skip_first=3))
    assert made.names == ("0", "2", "3") and made.truncated["documents_padded"] == 0
    with pytest.raises(ValueError, match=r"expected at least one token .*got 1 documents of 0 tokens in all"):
        tokens.token_set([document("empty", "")], load(), RULES)


def test_roles_are_those_of_the_tokens_that_are_left(load):
    turns = [Turn("user", "ask?"), Turn("assistant", "it is so, and more")]
    chats = [conversation(str(n), turns) for n in range(3)]
    rules = dataclasses.replace(RULES, context_length=32, roles=frozenset({"assistant"}))
    tokenizer = load()
    made = tokens.token_set(chats, tokenizer, rules, chat.as_written)
    assert [tokenizer.decode(ids[keep]) for ids, keep in zip(made.ids, made.keep, strict=True)] == [
        "it is so, and more"
    ] * 3
    kept = tokens.token_set(chats, tokenizer, dataclasses.replace(rules, mask_padding=False))
    assert kept.keep.sum() == made.keep.sum() + kept.truncated["padding_kept"]


def test_short_documents_are_no_fault_and_too_little_text_is_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("short\n" * 3 + "shorter\n" * 2)
    data = TextData(path=str(path), document=Documents.line, context_length=20, packing=Packing.truncated)
    assert text_faults.text_faults(data) == ()
    (fault,) = text_faults.text_faults(dataclasses.replace(data, packing=Packing.document))
    assert "expected a document of at least one sequence" in fault
    data = dataclasses.replace(data, context_length=64)
    assert len(text_faults.text_faults(data)) == 1
    assert text_faults.text_faults(dataclasses.replace(data, mask_padding=False)) == ()
