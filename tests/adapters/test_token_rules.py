"""Which positions of which sequences are rows: BOS, packing, special tokens, roles, and too little left."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from saeuniv.adapters import chat, token_stream, tokens
from saeuniv.adapters.documents import Document, Turn, conversation, document
from saeuniv.adapters.tokenization import token_ids
from saeuniv.config import Bos, Packing, StdlibData, TextData
from tests.adapters.chat_tokenizers import BOS, CHATML, END, TURN, write_tokenizer

TEXTS = [document(str(number), f"{number:04}" * 4) for number in range(5)]
RULES = tokens.TokenRules(8, 10, skip_first=2)


@pytest.fixture
def load(tmp_path):
    def make(**settings) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast.from_pretrained(write_tokenizer(tmp_path, **settings))

    return make


def _rules(**changes) -> tokens.TokenRules:
    return tokens.TokenRules(**{**vars(RULES), **changes})


def _consistent(made: tokens.TokenSet) -> None:
    """What every reader of a token set relies on."""
    assert made.ids.dtype == made.documents.dtype == np.int32 and made.ids.shape == made.keep.shape
    assert (np.diff(made.documents) >= 0).all() and set(made.documents) == set(range(len(made.names)))
    assert len(made.domains) == len(made.names)
    assert sum(made.masked.values()) + made.keep.sum() == made.keep.size
    assert made.keep.any(1).all()


def test_bos_is_at_the_beginning_of_every_sequence_and_nowhere_else(load):
    tokenizer = load(begins=True)
    made = tokens.token_set(TEXTS, tokenizer, RULES)
    _consistent(made)
    bos = tokenizer.convert_tokens_to_ids(BOS)
    assert (made.ids[:, 0] == bos).all() and (made.ids[:, 1:] != bos).all()
    # Sixteen tokens a document, seven of them in a sequence.
    assert np.bincount(made.documents).tolist() == [2] * 5
    assert tokenizer.decode(made.ids[1]) == f"{BOS}0000000"
    assert made.masked == {"first_positions": 20, "special": 0}
    never = tokens.token_set(TEXTS, tokenizer, _rules(bos=Bos.never))
    assert np.array_equal(never.ids, tokens.token_set(TEXTS, load(begins=False), RULES).ids)
    assert (never.ids != bos).all() and len(never.ids) == 10


def test_special_tokens_are_no_rows_unless_they_shall_be(load):
    texts = [document(str(n), f"{n}abc{END}efg{TURN}") for n in range(3)]
    tokenizer = load()
    made = tokens.token_set(texts, tokenizer, _rules(context_length=9))
    _consistent(made)
    assert made.masked == {"first_positions": 6, "special": 6}
    special = tokenizer.convert_tokens_to_ids([END, TURN])
    assert not np.isin(made.ids[made.keep], special).any()
    kept = tokens.token_set(texts, tokenizer, _rules(context_length=9, mask_special=False))
    assert kept.masked == {"first_positions": 6} and np.isin(kept.ids[kept.keep], special).sum() == 6


@pytest.mark.parametrize("begins", [False, True])
def test_packed_sequences_are_the_documents_joined_by_end_of_text(load, begins):
    generator = np.random.default_rng(0)
    texts = [document(str(n), chr(97 + n) * int(generator.integers(1, 30))) for n in range(20)]
    tokenizer = load(begins=begins)
    made = tokens.token_set(
        texts, tokenizer, _rules(packing=Packing.concatenated, max_sequences_per_document=3)
    )
    _consistent(made)
    body = made.ids[:, 1:] if begins else made.ids
    end = tokenizer.eos_token_id
    joined = [
        (index, number)
        for number, (text, ids) in enumerate(
            zip(texts, token_ids([t.text for t in texts], tokenizer), strict=True)
        )
        for index in [*ids[: 3 * body.shape[1]], end]
        if text
    ]
    whole = len(joined) // body.shape[1] * body.shape[1]
    ids, owners = (np.array(each) for each in zip(*joined[:whole], strict=True))
    owners = owners.reshape(body.shape[0], -1)
    assert np.array_equal(body.ravel(), ids), "no sequence was without rows here"
    for row, document_of, keep in zip(owners, made.documents, made.keep[:, -body.shape[1] :], strict=True):
        mine = int(made.names[document_of])
        counts = np.bincount(row, minlength=20)
        assert counts[mine] == counts.max() and np.argmax(counts) == mine
        assert (row[keep] == mine).all()
    assert made.masked["other_document"] > 0 and made.masked["special"] > 0


def test_packed_documents_that_are_shorter_than_a_sequence_are_read(load):
    texts = [document(str(n), f"{n}{n}{n}{n}{n}") for n in range(9)]
    with pytest.raises(ValueError, match="at most 5 tokens"):
        tokens.token_set(texts, load(), RULES)
    made = tokens.token_set(texts, load(), _rules(packing=Packing.concatenated))
    _consistent(made)
    assert len(made.ids) == 6 and len(made.names) > 3
    with pytest.raises(ValueError, match=r"at least one sequence .*got 1 documents of 6 tokens in all"):
        tokens.token_set(texts[:1], load(), _rules(packing=Packing.concatenated))


def _chats(n: int = 4) -> list[Document]:
    return [
        conversation(
            str(i), [Turn("user", f"ask {i}?"), Turn("assistant", f"it is {i}."), Turn("user", "ok")]
        )
        for i in range(n)
    ]


def _kept(made: tokens.TokenSet, tokenizer) -> list[str]:
    return [
        tokenizer.decode(ids[keep])
        for number in range(len(made.names))
        for ids, keep in [(made.ids[made.documents == number], made.keep[made.documents == number])]
    ]


@pytest.mark.parametrize("with_template", [False, True])
def test_rows_are_what_the_roles_say_and_nothing_of_the_template(load, tmp_path, with_template):
    tokenizer = load(template=CHATML, begins=True)
    render = chat.as_written
    if with_template:
        render = chat.renderer(chat.Template(CHATML, "0", str(tmp_path), None))
    # The answer is over within the first sequence, or cut by its end.
    rules = _rules(context_length=40 if with_template else 16, roles=frozenset({"assistant"}))
    made = tokens.token_set(_chats(6), tokenizer, rules, render)
    _consistent(made)
    assert _kept(made, tokenizer) == [f"it is {i}." if with_template else f"it is {i}" for i in range(6)]
    bos = tokenizer.convert_tokens_to_ids(BOS)
    assert (made.ids[:, 0] == bos).all() and (made.ids[:, 1:] != bos).all()
    assert made.masked["chat_role"] > 0


def test_without_roles_all_of_the_conversation_is_compared_on(load, tmp_path):
    tokenizer = load(template=CHATML)
    render = chat.renderer(chat.Template(CHATML, "0", str(tmp_path), None))
    made = tokens.token_set(_chats(), tokenizer, _rules(context_length=16), render)
    text = render(_chats()[0]).text
    assert tokenizer.decode(made.ids[made.documents == 0].ravel()).removeprefix(BOS).startswith(text[:20])
    # The template writes BOS where the tokenizer does not: sequences begin with it, once.
    assert (made.ids[:, 0] == tokenizer.convert_tokens_to_ids(BOS)).all()
    assert "chat_role" not in made.masked


def test_sequences_without_a_row_are_left_out(load):
    chats = [
        conversation(str(i), [Turn("user", "x" * 28), Turn("assistant", f"answer {i} " * 4)])
        for i in range(3)
    ]
    rules = _rules(roles=frozenset({"assistant"}))
    made = tokens.token_set(chats, load(), rules)
    _consistent(made)
    everything = tokens.token_set(chats, load(), RULES)
    assert 0 < len(made.ids) < len(everything.ids)
    # The first sequence with a row begins with the end of the question.
    first = [np.flatnonzero(made.documents == number)[0] for number in range(3)]
    assert (made.ids[first, 0] == everything.ids[0, 0]).all()


def test_roles_that_never_occur_are_named_with_those_that_do(load):
    with pytest.raises(ValueError) as error:
        tokens.token_set(_chats(), load(), _rules(roles=frozenset({"asistant", "user"})))
    assert str(error.value) == (
        "data.roles=[asistant,user]: expected roles that occur, got none of asistant in 4 held-out "
        "conversations. They have user (8), assistant (4)."
    )


def test_a_token_across_a_border_belongs_to_no_role():
    text = chat.Rendered("ab cd. ef", (chat.Span(3, 5, "x"), chat.Span(7, 9, "x")), False)
    places = [(0, 1), (1, 4), (2, 5), (4, 6), (5, 6), (6, 9)]
    starts, ends = (np.array(each) for each in zip(*places, strict=True))
    # Ends do not decrease: (2, 5) takes the blank before what is said with it, (1, 4) takes a letter.
    encoded = tokens.Encoded(np.arange(6, dtype=np.int32), starts, ends)
    assert tokens.spoken_by(encoded, text, frozenset("x")).tolist() == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert not tokens.spoken_by(encoded, text, frozenset("y")).any()


def test_masks_that_leave_too_little_are_a_fault_with_the_counts(load):
    texts = [document(str(n), TURN * 8) for n in range(3)]
    with pytest.raises(ValueError) as error:
        tokens.token_set(texts, load(), RULES)
    assert "got 0 rows of 0 documents: of 24 positions are masked: first_positions 6, special 18." in str(
        error.value
    )
    with pytest.raises(ValueError, match="got 12 rows of 1 documents"):
        tokens.token_set(TEXTS[:1], load(), RULES)
    few = [document(str(n), f"{n}{n}" + TURN * 5 + "a") for n in range(3)]
    with pytest.raises(ValueError, match="got 3 rows of 3 documents"):
        tokens.token_set(few, load(), RULES)


def test_documents_keep_their_domains(load):
    texts = [document(str(n), f"{n}abcdefgh", domain="web" if n else "") for n in range(3)]
    assert tokens.token_set(texts, load(), RULES).domains == ("", "web", "web")


def test_rules_are_those_of_the_configuration():
    assert tokens.TokenRules.of(StdlibData()) == tokens.TokenRules(128, 10, 4)
    data = TextData(roles=["user"], bos=Bos.never, packing=Packing.concatenated, mask_special=False)
    expected = tokens.TokenRules(128, 10, 4, Bos.never, Packing.concatenated, False, frozenset({"user"}))
    assert tokens.TokenRules.of(data) == expected


def test_a_stream_of_conversations_is_as_the_template_writes_them(load, tmp_path):
    tokenizer = load(template=CHATML)
    render = chat.renderer(chat.Template(CHATML, "0", str(tmp_path), None))
    stream = token_stream.token_stream(_chats(2), tokenizer, render)
    assert tokenizer.decode(stream.ids) == "".join(END + render(each).text for each in _chats(2))
