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
from saeuniv.config import ChatTemplate, FileData, HubData, TextData
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
    keep[0, 1] = True
    with pytest.raises(ValueError, match="from the third position on"):
        held_out.groups()


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
