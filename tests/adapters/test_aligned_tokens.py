"""Rows of two tokenizers: the same characters read on both sides, and nothing else."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from saeuniv.adapters.aligned_tokens import AlignedTokens, aligned_token_sets
from saeuniv.adapters.character_ends import CharacterReader, boundaries, word_ends
from saeuniv.adapters.checkpoints import byte_tokenizer_json
from saeuniv.adapters.corpus import Document
from saeuniv.adapters.tokens import TokenRules, token_set
from tests.tokenizers_of_all_kinds import byte_bpe, tokenizers

KINDS = ("bytes", "bpe400", "bpe1200", "metaspace", "wordpiece", "crossing")
PAIRS = list(itertools.product(KINDS, KINDS))
LOSSLESS = ("bytes", "bpe400", "bpe1200", "crossing")
SENTENCE = "The list  object"
UNICODE = "naïve 世界 emoji 🙂 end"
LONG = "The import statement, in its (many) forms; it isn't 世界_1 naïve.\n\n    def f(x): return x+1\n" * 12


def _documents(*texts: str) -> list[Document]:
    return [Document(f"d{number}", text, str(number)) for number, text in enumerate(texts)]


def _align(*texts: str, a="bytes", b="bpe400", context=64, cap=100, skip=0) -> AlignedTokens:
    made = tokenizers()
    return aligned_token_sets(
        _documents(*texts),
        made[a] if isinstance(a, str) else a,
        made[b] if isinstance(b, str) else b,
        context_length=context,
        max_sequences_per_document=cap,
        skip_first=skip,
    )


def _columns(keep: np.ndarray) -> list[int]:
    return np.nonzero(keep)[1].tolist()


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_known_ends_of_words_for_every_pair_of_kinds(a, b):
    # "crossing" merges letters with the space behind them: where it does, no token ends with the word.
    every = [3, 8, 16] if "crossing" not in (a, b) else None
    found = _align(SENTENCE, a=a, b=b).ends.tolist()
    assert found == every if every else {*found} <= {3, 8, 16} and found[-1] == 16
    if "crossing" not in (a, b):
        assert _align(UNICODE, a=a, b=b).ends.tolist() == [5, 8, 14, 20]


def test_known_positions_of_bytes_and_behind_a_bos():
    made = _align(SENTENCE, a="bytes", b="metaspace")
    assert _columns(made.a.keep) == [2, 7, 15]
    reader = tokenizers()["metaspace"]
    assert made.b.ids[0, 0] == reader.bos_token_id and (made.b.ids[:, 1:] != reader.bos_token_id).all()
    assert min(_columns(made.b.keep)) >= 1
    assert _align(SENTENCE, b="wordpiece").b.ids[0, 0] == 1, "[CLS] before, and no [SEP] behind"
    assert 2 not in _align(SENTENCE, b="wordpiece").b.ids


def test_the_last_of_several_bytes_of_a_character_is_its_end():
    made = _align(UNICODE, a="bytes", b="bpe1200")
    n_bytes = [len(UNICODE[:end].encode()) - 1 for end in made.ends]
    assert _columns(made.a.keep) == n_bytes == [5, 12, 18, 27]


def test_a_character_that_a_sequence_has_no_room_for_is_left_out_whole():
    made = _align("a 世界", a="bytes", b="bpe400", context=3)
    assert made.ends.tolist() == [1] and made.a.ids.shape == (1, 3)
    made = _align("a 世界 b", a="bytes", b="bpe400", context=3)
    assert made.ends.tolist() == [1, 6], "what follows what does not fit starts a sequence of its own"
    assert _columns(made.a.keep) == [0, 1] and made.a.n_read == 3
    with pytest.raises(ValueError, match=r"within 3 \(data.context_length\), got none in 1 documents"):
        _align("世界", context=3)


@pytest.mark.parametrize("text", ["", "   ", "...", "\n"])
def test_text_without_words_gives_nothing(text):
    with pytest.raises(ValueError, match=r"expected documents with words.*got none in 1 documents"):
        _align(text)
    made = _align(text, SENTENCE, text)
    assert made.names == ("d1",) and made.documents.tolist() == [0] and made.ends.tolist() == [3, 8, 16]


@pytest.mark.parametrize("kind", ["bytes", "bpe1200", "crossing"])
def test_a_tokenizer_with_itself_gives_equal_sides_and_the_ids_of_the_whole_text(kind):
    made = _align(LONG, SENTENCE, a=kind, b=kind, context=32)
    assert np.array_equal(made.a.ids, made.b.ids) and np.array_equal(made.a.keep, made.b.keep)
    reader = tokenizers()[kind]
    lengths = [int(np.flatnonzero(row).max()) + 1 for row in made.a.keep]
    ids = [i for row, n in zip(made.a.ids, lengths, strict=True) for i in row[:n].tolist()]
    whole = reader.encode(LONG, add_special_tokens=False)
    whole = whole[: len(ids) - lengths[-1]] + reader.encode(SENTENCE, add_special_tokens=False)
    assert ids == whole


def test_the_first_tokens_are_those_of_an_ordinary_token_set():
    text = [*_documents(LONG), *_documents(LONG[::-1])]
    rules = TokenRules(context_length=32, max_sequences_per_document=1, skip_first=2)
    ordinary = token_set(text, tokenizers()["bytes"], rules)
    made = _align(LONG, a="bytes", b="bpe400", context=32, cap=1)
    n_read = max(_columns(made.a.keep)) + 1
    assert np.array_equal(made.a.ids[0, :n_read], ordinary.ids[0, :n_read])


def test_sequences_are_filled_until_the_last_common_end_that_fits():
    made = _align(LONG, a="bytes", b="bpe1200", context=40)
    starts = np.r_[0, np.cumsum(made.a.keep.sum(axis=1))]
    for number in range(len(starts) - 2):
        first = 0 if number == 0 else int(made.ends[starts[number] - 1])
        with_next = LONG[first : int(made.ends[starts[number + 1]])]
        assert len(with_next.encode()) > 40, "one more end of a word would have fitted"
    assert (made.a.keep.sum(axis=1) == made.b.keep.sum(axis=1)).all()


def test_a_cap_and_first_positions_apply_to_both_sides():
    every, capped = _align(LONG, LONG[::-1], context=24), _align(LONG, LONG[::-1], context=24, cap=2)
    assert np.bincount(capped.documents).tolist() == [2, 2] and len(every.documents) > 4
    assert np.array_equal(capped.a.ids[:2], every.a.ids[:2])
    skipped = _align(LONG, LONG[::-1], context=24, skip=4)
    assert not skipped.a.keep[:, :4].any() and not skipped.b.keep[:, :4].any()
    assert skipped.a.masked["first_positions"] == 4 * len(skipped.a.ids)
    for side in (skipped.a, skipped.b):
        assert side.keep.sum() + sum(side.masked.values()) == side.n_read
    assert {*zip(skipped.ends, strict=True)} <= {*zip(every.ends, strict=True)}


def test_a_bos_counts_as_a_first_position_and_not_as_text():
    made = _align(LONG, a="bytes", b="metaspace", context=24, skip=2)
    assert made.b.masked["first_positions"] == len(made.b.ids)
    assert not made.b.keep[:, :2].any()


def test_kept_fractions_are_rows_by_tokens_and_by_ends_of_words():
    made = _align(SENTENCE, a="bytes", b="bpe400", context=64)
    assert made.a.n_read == 16 and made.a.kept_fraction == 3 / 16
    assert made.b.n_read == len(tokenizers()["bpe400"].encode(SENTENCE, add_special_tokens=False))
    assert made.n_word_ends == 3 and made.kept_word_ends == 1
    assert _align(SENTENCE, skip=4).kept_word_ends == 1 / 3
    assert _align(LONG, a="bpe400", b="bpe1200", context=512).kept_word_ends > 0.98
    assert _align(LONG, a="bpe400", b="crossing", context=512).kept_word_ends < 0.9


def test_padding_is_no_row_and_has_an_id_of_the_tokenizer():
    made = _align(SENTENCE, a="metaspace", b="wordpiece", context=64)
    assert made.a.ids[0, -1] == tokenizers()["metaspace"].eos_token_id == 2
    assert made.b.ids[0, -1] == tokenizers()["wordpiece"].pad_token_id == 3
    assert not made.a.keep[:, -1].any() and made.a.ids.dtype == np.int32
    assert _align(SENTENCE).b.ids[0, -1] == tokenizers()["bpe400"].eos_token_id


def test_special_tokens_written_in_a_text_are_no_rows_and_the_text_goes_on():
    made = _align("The list<|endoftext|>object", a="bytes", b="bpe400")
    assert made.ends.tolist() == [3, 8, 27]
    assert (made.a.ids[0, _columns(made.a.keep)] != 0).all()


def test_a_slow_tokenizer_is_refused_with_the_reason():
    class SlowTokenizer:
        eos_token_id = 0

    with pytest.raises(ValueError, match=r"got SlowTokenizer: a slow one does not say which characters"):
        _align(SENTENCE, b=SlowTokenizer())


def test_a_length_limit_stored_in_a_tokenizer_cuts_nothing_and_is_left_alone():
    tokenizer = byte_bpe(300)
    before = _align(LONG, b=tokenizer)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    after = _align(LONG, b=tokenizer)
    assert np.array_equal(before.b.ids, after.b.ids)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 4


def _with_merge(left: str, right: str) -> PreTrainedTokenizerFast:
    """The embedded tokenizer with one merge of two bytes, also across words, that trims spaces."""
    described = byte_tokenizer_json()
    described["model"]["vocab"][left + right] = 257
    described["model"]["merges"] = [[left, right]]
    described["pre_tokenizer"]["use_regex"] = False
    described["post_processor"] = described["pre_tokenizer"]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)))


def test_a_token_with_the_space_behind_a_word_does_not_end_with_the_word():
    merged = _with_merge("b", "Ġ")
    encoding = merged("ab ab", return_offsets_mapping=True, add_special_tokens=False)
    assert encoding["offset_mapping"][1] == (1, 2), "as if the model had not read the space"
    assert _align("ab ab", a="bytes", b=merged).ends.tolist() == [5]


def test_a_character_whose_last_byte_is_in_the_token_of_the_next_ends_nowhere():
    first, second = "é".encode().decode("latin-1")
    merged = _with_merge(second, first)
    (read,) = CharacterReader(merged).read(["éé_é"])
    assert len(read.ids) == 6 and read.ends.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([(0, 1), (1, 3)], [(1, 0), (3, 1)]),
        ([(0, 1), (0, 1), (1, 2)], [(1, 1), (2, 2)]),
        ([(0, 1), (0, 2), (1, 2)], [(2, 2)]),
        ([(0, 0), (0, 2), (2, 2)], [(2, 1)]),
        ([(0, 2), (3, 4)], [(2, 0), (4, 1)]),
        ([], []),
    ],
    ids=["tokens", "bytes of a character", "a token across characters", "empty", "left-out space", "none"],
)
def test_known_boundaries(offsets, expected):
    ends, index = boundaries(np.array(offsets, dtype=np.int64).reshape(-1, 2))
    assert list(zip(ends.tolist(), index.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_1 b-c", [3, 5, 7]),
        ("cafe\u0301 e\u0301te\u0301", [5, 11]),
        ("don't", [3, 5]),
        ("世界。", [2]),
        ("", []),
        ("\u0301a", [2]),
    ],
)
def test_known_word_ends(text, expected):
    assert word_ends(text).tolist() == expected


TEXTS = st.text(st.sampled_from("ab c.\n é世🙂_1\u0301") | st.characters(codec="utf-8"), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=3),
    pair=st.sampled_from(list(itertools.product(LOSSLESS, LOSSLESS))),
    context=st.integers(1, 24),
    skip=st.integers(0, 2),
)
def test_the_text_read_up_to_each_row_is_equal_on_both_sides(texts, pair, context, skip):
    made = tokenizers()
    try:
        found = _align(*texts, a=pair[0], b=pair[1], context=context, skip=skip)
    except ValueError as error:
        assert "got none" in str(error)
        return
    by_name = {f"d{number}": text for number, text in enumerate(texts)}
    ends = iter(found.ends.tolist())
    for row in range(len(found.documents)):
        text = by_name[found.names[found.documents[row]]]
        columns = [np.flatnonzero(side.keep[row]) for side in (found.a, found.b)]
        assert len(columns[0]) == len(columns[1]) > 0 and min(map(min, columns)) >= skip
        for column_a, column_b in zip(*columns, strict=True):
            read = [
                made[name].decode(side.ids[row, : column + 1], clean_up_tokenization_spaces=False)
                for name, side, column in zip(pair, (found.a, found.b), (column_a, column_b), strict=True)
            ]
            end = next(ends)
            assert read[0] == read[1] == text[end - len(read[0]) : end]
            assert end in word_ends(text)
    assert next(ends, None) is None
    assert (np.diff(found.documents) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, kind=st.sampled_from(KINDS))
def test_what_is_read_is_what_the_tokenizer_gives(text, kind):
    tokenizer = tokenizers()[kind]
    (read,) = CharacterReader(tokenizer).read([text])
    assert read.ids.tolist() == tokenizer.encode(text, add_special_tokens=False)
    assert (np.diff(read.ends) > 0).all() and (np.diff(read.tokens) > 0).all()
