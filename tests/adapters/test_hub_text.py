"""Data sets of the hub: files chosen by the list of one commit, fetched once, read from the cache."""

import json

import pytest

from saeuniv.adapters import corpus, downloads, text_faults
from saeuniv.adapters.downloads import Parts, needed
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.hub_text import HubText, hub_text
from saeuniv.config import ConfigError, HubData
from tests.fake_hub import TOKEN, serving

NAME = "owner/texts"
REPOSITORY = f"datasets/{NAME}"


def _lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


FILES = {
    "README.md.html": b"<p>",
    "data/train-1.jsonl": _lines("second " * 40, "third " * 40),
    "data/train-0.jsonl": _lines("first " * 40),
    "data/test-0.jsonl": _lines("test " * 40),
    "loader.py": b"raise SystemExit",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch) as running:
        yield running


def _data(**changes) -> HubData:
    return HubData(**{"name": NAME, "files": "data/train-*.jsonl", "max_files": 2, **changes})


def _offline(monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def _fetch(found: HubText) -> None:
    for file in needed(found.repository, found.commit, Parts(texts=frozenset(found.files))):
        downloads.download(found.repository, found.commit, file.name)


def _fault(data: HubData) -> str:
    with pytest.raises(ConfigError) as error:
        hub_text(data)
    (fault,) = error.value.faults
    return fault


def test_the_files_that_match_are_chosen_in_the_order_of_their_names(hub):
    commit = hub.add(REPOSITORY, FILES)
    assert hub_text(_data()) == HubText(REPOSITORY, commit, ("data/train-0.jsonl", "data/train-1.jsonl"))
    assert hub_text(_data(max_files=1)).files == ("data/train-0.jsonl",)
    assert hub_text(_data(files="*", max_files=9)).files == (
        "data/test-0.jsonl",
        "data/train-0.jsonl",
        "data/train-1.jsonl",
    )


def test_files_are_fetched_once_at_one_commit_and_read_without_a_network(hub, monkeypatch):
    commit = hub.add(REPOSITORY, FILES)
    found = hub_text(_data())
    assert hub.requests == [f"LIST {REPOSITORY} main"], "the list says what there is; nothing is fetched"
    hub.add(REPOSITORY, {"data/train-0.jsonl": _lines("moved")})
    sizes = {
        file.name: file.n_bytes for file in needed(REPOSITORY, commit, Parts(texts=frozenset(found.files)))
    }
    assert sizes == {name: len(FILES[name]) for name in found.files}
    _fetch(found)
    assert hub.fetched() == [f"{commit} data/train-0.jsonl", f"{commit} data/train-1.jsonl"]
    _offline(monkeypatch)
    again = hub_text(_data())
    assert again == found
    _fetch(again)
    read = corpus.read_corpus(_data(), again)
    assert {each.text.split()[0] for each in read.held_out} == {"first", "second", "third"}
    assert corpus.read_corpus(_data()) == read and text_faults.text_faults(_data()) == ()
    assert hub.requests == []


def test_a_file_that_was_listed_and_is_not_in_the_cache_is_named_where_there_is_no_network(hub, monkeypatch):
    hub.add(REPOSITORY, FILES)
    found = hub_text(_data())
    _offline(monkeypatch)
    with pytest.raises(HubUnreachable, match=r"data/train-0\.jsonl of datasets/owner/texts") as error:
        found.text_files()
    assert f"hf download {NAME} --repo-type dataset" in str(error.value)
    assert text_faults.text_faults(_data()) == (), "they are fetched before anything runs"


def test_the_key_is_of_the_commit_and_the_files_and_of_no_bytes(hub):
    hub.add(REPOSITORY, FILES, branch="old")
    hub.add(REPOSITORY, {**FILES, "loader.py": b""})
    keys = {
        corpus.fingerprint(_data()),
        corpus.fingerprint(_data(max_files=1)),
        corpus.fingerprint(_data(revision="old")),
    }
    assert len(keys) == 3 and corpus.fingerprint(_data(files="*train*")) in keys
    assert not [each for each in hub.requests if each.startswith("GET")]


def test_a_commit_can_be_named_itself(hub):
    commit = hub.add(REPOSITORY, FILES)
    hub.add(REPOSITORY, {"data/train-0.jsonl": _lines("moved")})
    assert hub_text(_data(revision=commit)).files[1] == "data/train-1.jsonl"


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_a_gated_data_set_is_explained_with_the_page_to_ask_at(hub, monkeypatch, token):
    hub.add(REPOSITORY, FILES)
    hub.gated.add(REPOSITORY)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    fault = _fault(_data())
    assert fault.startswith(f"data.name={NAME}: {REPOSITORY} is gated")
    assert f"https://huggingface.co/{REPOSITORY}" in fault and "hf_wrong" not in fault
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    from saeuniv.adapters import hub as module

    module._listing.cache_clear()
    assert hub_text(_data()).files


def test_a_data_set_that_does_not_exist_is_named_and_a_model_of_its_name_is_another(hub):
    hub.add(NAME, FILES)
    assert f"the hub has no {REPOSITORY}" in _fault(_data())
    assert "expected owner/name of a data set" in _fault(_data(name="texts"))


def test_files_that_none_matches_are_listed(hub):
    hub.add(REPOSITORY, FILES)
    fault = _fault(_data(files="train/*.parquet"))
    assert fault.startswith("data.files=train/*.parquet: expected files *.txt, *.md, *.jsonl")
    assert "got none. It has data/test-0.jsonl, data/train-0.jsonl, data/train-1.jsonl." in fault
    assert "got only loader.py. It has data/test-0" in _fault(_data(files="*.py"))


def test_a_file_that_vanished_is_an_error_of_fetching(hub):
    commit = hub.add(REPOSITORY, FILES)
    with pytest.raises(ConfigError, match=f"expected none.jsonl at {commit}"):
        HubText(REPOSITORY, commit, ("none.jsonl",)).text_files()


def test_cached_files_are_looked_into_before_anything_runs(hub):
    hub.add(REPOSITORY, FILES)
    _fetch(hub_text(_data()))
    (fault, *_) = text_faults.text_faults(_data(text_key="content"))
    assert fault.startswith("data.text_key=content: expected this key") and "which has text" in fault
