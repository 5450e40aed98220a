"""What names a token set in the store: text, tokenizer, what changes a token or a row, and nothing else."""

import dataclasses
import json
from pathlib import Path

import pytest

from saeuniv.config import (
    Bos,
    ChatTemplate,
    Data,
    Documents,
    HubData,
    LocalModel,
    Packing,
    StdlibData,
    TextData,
)
from saeuniv.store import Kind, artifact
from saeuniv.sweep.texts import ResolvedText, resolve_text
from tests.adapters.chat_tokenizers import CHATML
from tests.fake_hub import serving
from tests.sweep.conftest import cells

TOKENIZER = "1" * 16


def _keys(data: Data, text: str = "0" * 64) -> tuple[str, str]:
    found = ResolvedText(data, text, None, None)
    return found.training(TOKENIZER).key, found.held_out(TOKENIZER).key


def test_the_training_stream_of_the_embedded_text_keeps_its_key():
    """Models and dictionaries hang on it: an option that is added must not train them again."""
    spec = {"text": "0" * 64, "tokenizer": TOKENIZER, "held_out": 0.3, "split": "training"}
    assert _keys(StdlibData())[0] == artifact(Kind.tokens, spec).key
    own = {**spec, "held_out": 1.0, "document": "file"}
    assert _keys(TextData(path="anywhere"))[0] == artifact(Kind.tokens, own).key


@pytest.mark.parametrize(
    "changes",
    [
        {"document": Documents.line},
        {"text_key": "content"},
        {"domain_key": "source"},
        {"document_starts": "^#"},
        {"messages_key": "messages"},
        {"max_documents": 10},
        {"held_out": 0.5},
    ],
    ids=str,
)
def test_what_changes_documents_changes_both(changes: dict):
    both = zip(_keys(TextData(path="x")), _keys(TextData(path="x", **changes)), strict=True)
    assert all(one != other for one, other in both)


@pytest.mark.parametrize(
    "changes",
    [
        {"context_length": 64},
        {"skip_first": 5},
        {"max_sequences_per_document": 3},
        {"packing": Packing.concatenated},
        {"packing": Packing.truncated},
        {"mask_special": False},
        {"roles": ["user"]},
    ],
    ids=str,
)
def test_what_changes_sequences_or_rows_changes_the_token_set_alone(changes: dict):
    usual, changed = _keys(TextData(path="x")), _keys(TextData(path="x", **changes))
    assert usual[0] == changed[0] and usual[1] != changed[1]


def test_options_that_came_later_are_in_no_key_unless_asked_for():
    """Token sets of older versions are found again."""
    spec = {
        **{
            "text": "0" * 64,
            "tokenizer": TOKENIZER,
            "held_out": 1.0,
            "document": "file",
            "split": "held_out",
        },
        **{"context_length": 128, "max_sequences_per_document": 10, "skip_first": 4},
    }
    assert _keys(TextData(path="x"))[1] == artifact(Kind.tokens, spec).key
    truncated = TextData(path="x", packing=Packing.truncated)
    assert _keys(truncated)[1] == artifact(Kind.tokens, {**spec, "packing": "truncated"}).key
    kept = artifact(Kind.tokens, {**spec, "packing": "truncated", "mask_padding": False})
    assert _keys(dataclasses.replace(truncated, mask_padding=False))[1] == kept.key


@pytest.mark.parametrize("changes", [{"n_tokens": 1000}, {"mask_high_norm": False}, {"path": "y"}], ids=str)
def test_what_chooses_among_rows_and_where_files_lie_change_neither(changes: dict):
    data = TextData(path="x")
    assert _keys(data) == _keys(dataclasses.replace(data, **changes))


def test_roles_are_a_set():
    one, other = (TextData(path="x", roles=roles) for roles in (["a", "b"], ["b", "a"]))
    assert _keys(one) == _keys(other)


def test_bos_is_part_of_the_key_where_it_is_not_the_tokenizers_own():
    keys = {_keys(StdlibData(bos=bos))[1] for bos in Bos}
    assert len(keys) == len(Bos)


def test_a_hub_text_is_named_by_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    (cell,) = cells()
    with serving(tmp_path, monkeypatch) as hub:
        files = {f"train-{n}.jsonl": f'{{"text": "{n}"}}\n'.encode() for n in range(3)}
        commit = hub.add("datasets/owner/texts", files)
        data = HubData(name="owner/texts", files="train-*")
        found, more = (
            resolve_text(dataclasses.replace(cell, data=each))
            for each in (data, dataclasses.replace(data, max_files=2))
        )
        assert found.hub is not None and (found.hub.commit, found.hub.files) == (commit, ("train-0.jsonl",))
        assert found.held_out(TOKENIZER) != more.held_out(TOKENIZER)
        by_name = dataclasses.replace(data, files="train-0.jsonl", revision=commit, max_files=5)
        again = resolve_text(dataclasses.replace(cell, data=by_name))
        assert again.held_out(TOKENIZER) == found.held_out(TOKENIZER)


def test_the_template_is_part_of_the_key(tmp_path: Path):
    from tests.test_preflight import write_model

    model = write_model(tmp_path / "chat")
    (cell,) = cells()
    cell = dataclasses.replace(cell, a=dataclasses.replace(cell.a, model=LocalModel(path=str(model))))
    data = TextData(path="x", messages_key="m", chat_template=ChatTemplate.a)
    keys = set()
    for template in (CHATML, CHATML + " "):
        (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
        found = resolve_text(dataclasses.replace(cell, data=data))
        assert found.template is not None and found.template.text == template
        keys |= {found.held_out(TOKENIZER).key, found.training(TOKENIZER).key}
    assert len(keys) == 4
