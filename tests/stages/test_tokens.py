"""Token sets: rows are grouped by the tokens that the model has just read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saeuniv.adapters.chat import Template
from saeuniv.adapters.hub_text import HubText, hub_text
from saeuniv.adapters.language_model import load_tokenizer
from saeuniv.config import Bos, ChatTemplate, FileData, HubData, Packing, TextData
from saeuniv.numerics.rows import BLOCK_ROWS, make_halves, select_rows
from saeuniv.stages.latents import shard_cuts
from saeuniv.stages.serial import read_task, task_json
from saeuniv.stages.text import TINY_TOKENIZER, MakeTokens
from saeuniv.stages.tokens import (
    HeldOut,
    domain_counts,
    joint_groups,
    read_held_out,
    read_stream,
    token_summary,
)
from saeuniv.store import Artifact, Kind, artifact
from tests.adapters.chat_tokenizers import CHATML, write_tokenizer
from tests.fake_hub import serving

PINNED = ["5f5e50a189bda59f", "382d37d5a6e51ed8", "35dcc7be0c0b5e79"]


def _held_out(ids: np.ndarray, documents: np.ndarray, skip_first: int) -> HeldOut:
    keep = np.ones(ids.shape, dtype=bool)
    keep[:, :skip_first] = False
    return HeldOut(ids, keep, documents)


@pytest.mark.parametrize("skip_first", [2, 4])
def test_rows_of_a_group_share_their_last_tokens_and_no_other_rows_do(skip_first: int) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (5, 12)).astype(np.int32)
    groups = _held_out(ids, np.arange(5), skip_first).groups()
    for name, n_tokens in (("token", 1), ("token_bigram", 2), ("token_trigram", 3)):
        read = [
            tuple(row[place - n_tokens + 1 : place + 1].tolist())
            for row in ids
            for place in range(skip_first, ids.shape[1])
        ]
        labels = groups[name].tolist()
        assert len(labels) == len(read) == 5 * (12 - skip_first)
        # One label for each text, one text for each label.
        assert len(set(zip(labels, read, strict=True))) == len(set(labels)) == len(set(read))


def test_large_vocabularies_do_not_overflow() -> None:
    ids = np.array([[250_000, 0, 249_999, 1, 250_000, 0, 249_999]], dtype=np.int32)
    groups = _held_out(ids, np.zeros(1, dtype=np.int64), 2).groups()
    trigram = groups["token_trigram"]
    assert trigram[0] == trigram[-1]
    assert len(set(trigram.tolist())) == 4


def test_token_and_position_tells_equal_tokens_in_different_eighths_apart():
    ids = np.zeros((2, 18), dtype=np.int64)
    labels = _held_out(ids, np.zeros(2, dtype=np.int64), 2).groups()["token_x_position"].reshape(2, 16)
    assert (labels[0] == labels[1]).all()
    assert labels[0].tolist() == np.repeat(np.arange(8), 2).tolist()
    ids[:, 2] = 3
    assert len(set(_held_out(ids, np.zeros(2, dtype=np.int64), 2).groups()["token_x_position"])) == 9


def test_rows_are_the_kept_positions_in_reading_order() -> None:
    ids = np.arange(12, dtype=np.int32).reshape(2, 6)
    keep = np.array([[0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], dtype=bool)
    held_out = HeldOut(ids, keep, np.array([3, 7]))
    assert held_out.groups()["token"].tolist() == [2, 4, 9]
    assert held_out.row_documents.tolist() == [3, 3, 7]
    assert held_out.rows_per_sequence.tolist() == [2, 1]


def test_at_the_start_of_a_sequence_nothing_comes_before_and_that_is_no_token():
    ids = np.array([[0, 0, 0], [3, 0, 0], [0, 0, 3]], dtype=np.int32)
    groups = _held_out(ids, np.arange(3), 0).groups()
    before = [(None, *row[:2]) for row in ids.tolist()]
    bigrams = [
        pair for old, row in zip(before, ids.tolist(), strict=True) for pair in zip(old, row, strict=True)
    ]
    labels = groups["token_bigram"].tolist()
    assert len(set(zip(labels, bigrams, strict=True))) == len(set(labels)) == len(set(bigrams)) == 5
    # By hand: . . 0, . 0 0, 0 0 0; . . 3, . 3 0, 3 0 0; . . 0, . 0 0, 0 0 3.
    assert len(set(groups["token_trigram"].tolist())) == 7


@pytest.mark.parametrize("more", [1, 8])
def test_padding_changes_nothing_of_the_rows(more: int):
    """Bitwise: labels, documents, halves, cuts; of sequences of unequal length, and of full ones."""
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 4, (40, 50)).astype(np.int32)
    for lengths in (generator.integers(33, 51, 40), np.full(40, 50)):
        lengths[0] = 50
        keep = (np.arange(50) < lengths[:, None]) & (np.arange(50) >= 4)
        whole = HeldOut(ids, keep, np.arange(40), lengths)
        padded = HeldOut(
            np.pad(ids, ((0, 0), (0, more)), constant_values=9),
            np.pad(keep, ((0, 0), (0, more))),
            np.arange(40),
            lengths,
        )
        groups = [each.groups() for each in (whole, padded)]
        for name in ("token", "token_bigram", "token_trigram", "token_x_position"):
            assert np.array_equal(groups[0][name], groups[1][name]), name
        assert shard_cuts(whole) == shard_cuts(padded)
        none = np.zeros(keep.sum(), dtype=bool)
        first, second = (
            select_rows(each.keep, each.documents, none, n_rows=None) for each in (whole, padded)
        )
        assert np.array_equal(first.rows, second.rows) and first.positions == second.positions
        assert first.positions == (BLOCK_ROWS if (lengths < 50).any() else 46)


AS_PUBLISHED = {
    "packing": Packing.truncated,
    "mask_padding": False,
    "skip_first": 0,
    "mask_special": False,
    "mask_high_norm": False,
    "bos": Bos.never,
    "held_out": 1.0,
}


def test_with_padding_kept_every_document_has_a_row_for_each_position(tmp_path, caplog):
    """The published recipe: N documents, T positions, N x T rows, and shifts move whole documents."""
    n_documents, context = 30, 60
    records = [{"text": f"{n} " + "word " * int(1 + n * 40 / n_documents)} for n in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    data = TextData(path=str(tmp_path / "a.jsonl"), context_length=context, max_documents=n_documents)
    task, (training, held_out) = _make(tmp_path, replace(data, **AS_PUBLISHED))
    with caplog.at_level("INFO", logger="saeuniv"):
        task.without({training.path})(lambda done, total: None)
    tokens = read_held_out(task.store, held_out)
    about = json.loads((task.store.folder(held_out) / "text.json").read_text())
    assert tokens.keep.shape == (n_documents, context) and tokens.keep.all()
    assert about["rows"] == n_documents * context and len(about["documents"]) == n_documents
    counted = about["truncated"]
    assert counted["padding_kept"] == int((context - tokens.lengths).sum()) > 0
    assert counted["documents_padded"] == (tokens.lengths < context).sum()
    assert 0 < counted["documents_truncated"] < n_documents - counted["documents_padded"] + 1
    assert f"; documents_truncated {counted['documents_truncated']}, documents_padded" in caplog.text
    attended = tokens.attended
    assert attended is not None and attended.sum() == tokens.lengths.sum() < tokens.keep.sum()

    none = np.zeros(n_documents * context, dtype=bool)
    chosen = select_rows(tokens.keep, tokens.documents, none, n_rows=None)
    assert (len(chosen.rows), chosen.positions, chosen.dropped) == (n_documents * context, context, 0)
    halves = make_halves(tokens.row_documents[chosen.rows], tokens.groups(), positions=chosen.positions)
    for half in halves:
        assert half.rows_per_document.tolist() == [context] * (n_documents // 2)
        assert half.longest_document == 1


def test_with_padding_masked_documents_have_as_many_rows_as_tokens(tmp_path):
    records = [{"text": f"{n:02} " + "word " * (20 + n)} for n in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    data = TextData(path=str(tmp_path / "a.jsonl"), context_length=140)
    task, (training, held_out) = _make(tmp_path, replace(data, **{**AS_PUBLISHED, "mask_padding": True}))
    task.without({training.path})(lambda done, total: None)
    tokens = read_held_out(task.store, held_out)
    assert tokens.rows_per_sequence.tolist() == tokens.lengths.tolist()
    assert sorted(tokens.lengths.tolist()) == [min(103 + 5 * n, 140) for n in range(12)]
    none = np.zeros(tokens.keep.sum(), dtype=bool)
    chosen = select_rows(tokens.keep, tokens.documents, none, n_rows=None)
    halves = make_halves(tokens.row_documents[chosen.rows], {}, positions=chosen.positions)
    assert chosen.positions == BLOCK_ROWS
    counts = np.concatenate([half.rows_per_document for half in halves])
    assert sorted(counts.tolist()) == sorted((tokens.lengths // BLOCK_ROWS * BLOCK_ROWS).tolist())


def test_a_part_of_a_token_set_is_read_as_the_whole_is():
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    whole = HeldOut(ids, ids > 2, np.arange(4), np.array([6, 2, 6, 3]))
    part = whole.part(slice(1, None, 2))
    for mine, of_whole in zip(part.read, whole.read, strict=True):
        assert np.array_equal(mine, of_whole[1::2])
    assert part.attended is not None and part.attended.sum(1).tolist() == [2, 3]
    assert whole._replace(lengths=None).part(slice(2)).attended is None


def _make(tmp_path: Path, data: FileData, **changes: object) -> tuple[MakeTokens, list[Artifact]]:
    made = [artifact(Kind.tokens, {"split": split}) for split in ("training", "held_out")]
    task = MakeTokens(tmp_path / "store", (), tuple(made), 1.0, data, TINY_TOKENIZER, None, *made)
    return replace(task, **changes), made


def _conversations(n: int) -> bytes:
    turns = [
        [
            {"role": "user", "content": f"what is {i}? " * 9},
            {"role": "assistant", "content": f"{i} it is. " * 9},
        ]
        for i in range(n)
    ]
    return "".join(json.dumps({"chat": each, "of": f"d{i}"}) + "\n" for i, each in enumerate(turns)).encode()


def test_conversations_of_the_hub_become_a_token_set_of_what_one_role_says(tmp_path, monkeypatch, caplog):
    from huggingface_hub import constants

    with serving(tmp_path, monkeypatch) as hub:
        hub.add("datasets/owner/chats", {"a.jsonl": _conversations(8)})
        data = HubData(name="owner/chats", messages_key="chat", domain_key="of", held_out=0.5)
        data = replace(data, chat_template=ChatTemplate.a, roles=["assistant"], context_length=64)
        found = hub_text(data)
        folder = write_tokenizer(tmp_path / "chat", template=CHATML)
        template = Template(CHATML, "0", str(folder), None)
        settings = {"hub": found, "template": template, "tokenizer": str(folder)}
        task, (training, held_out) = _make(tmp_path, data, **settings)
        found.text_files()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        hub.requests.clear()
        with caplog.at_level("INFO", logger="saeuniv"):
            task(lambda done, total: None)
        assert hub.requests == []
    about = json.loads((task.store.folder(held_out) / "text.json").read_text())
    tokens = read_held_out(task.store, held_out)
    assert len(about["documents"]) == len(about["domains"]) == 4 and set(about["domains"]) < {
        f"d{i}" for i in range(8)
    }
    rows = dict(
        zip(about["domains"], np.bincount(tokens.documents, tokens.keep.sum(1)).tolist(), strict=True)
    )
    assert about["by_domain"] == {each: {"documents": 1, "rows": rows[each]} for each in about["domains"]}
    assert token_summary(task.store, held_out, held_out)["domains"] == about["by_domain"]
    assert about["masked"]["chat_role"] > 0
    assert about["rows"] == tokens.keep.sum()
    assert sum(about["masked"].values()) + tokens.keep.sum() == tokens.keep.size
    (line,) = [each for each in caplog.messages if "held-out documents" in each]
    assert f"from 4 of 4 held-out documents, {tokens.keep.sum()} rows; masked: first_positions " in line
    assert f"chat_role {about['masked']['chat_role']}" in line
    tokenizer = load_tokenizer(str(folder))
    rows = tokenizer.decode(tokens.ids[tokens.keep])
    assert "it is." in rows and "what" not in rows and "assistant" not in rows
    stream = tokenizer.decode(read_stream(task.store, training))
    assert stream.count("<turn>assistant\n") == 4 and "<bos>" not in stream


def test_documents_and_rows_are_counted_by_domain():
    keep = np.array([[0, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    counts = domain_counts(("code", "web", "code", ""), np.array([0, 0, 1, 3]), keep)
    assert counts == {
        "": {"documents": 1, "rows": 1},
        "code": {"documents": 2, "rows": 3},
        "web": {"documents": 1, "rows": 2},
    }
    assert domain_counts(("", "", "", ""), np.array([0, 0, 1, 3]), keep) == {}


def test_tasks_of_several_texts_are_several(tmp_path):
    data = HubData(name="owner/chats")
    one, _ = _make(tmp_path, data, hub=HubText("datasets/owner/chats", "0" * 40, ("a",)))
    other, _ = _make(tmp_path, data, hub=HubText("datasets/owner/chats", "1" * 40, ("a",)))
    assert one.group != other.group and read_task(task_json(one)) == one


def test_bytes_of_the_embedded_tokenizer_are_as_they_were(tmp_path):
    """Of fixed texts, written down before texts of other kinds were read: ids, order, split, stream."""
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"document {number} é. " * (3 + number))
    data = TextData(path=str(tmp_path), held_out=0.5, context_length=16, max_sequences_per_document=2)
    task, made = _make(tmp_path, data)
    task(lambda done, total: None)
    tokens, stream = read_held_out(task.store, made[1]), read_stream(task.store, made[0])
    digests = [hashlib.sha256(each.tobytes()).hexdigest()[:16] for each in (tokens.ids, tokens.keep, stream)]
    assert digests == PINNED
    assert tokens.documents.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_joint_groups_hold_the_tokens_of_both_sides_fixed() -> None:
    a = {"token": np.array([7, 7, 2, 2, 7]), "token_bigram": np.zeros(5, dtype=np.int64)}
    b = {"token": np.array([250_000, 1, 1, 1, 250_000]), "token_bigram": np.arange(5)}
    joint = joint_groups(a, b)
    pairs = list(zip(a["token"].tolist(), b["token"].tolist(), strict=True))
    labels = joint["token"].tolist()
    assert len(set(zip(labels, pairs, strict=True))) == len(set(labels)) == len(set(pairs)) == 3
    assert sorted(joint["token_bigram"].tolist()) == list(range(5)), "B alone tells all of them apart"
    with pytest.raises(ValueError, match=r"as many rows on both sides, got 5 and 4"):
        joint_groups(a, {name: labels[:4] for name, labels in b.items()})
