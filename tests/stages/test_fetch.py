"""The task that fetches: exactly its files, gone on with after an interruption, silent when all is there."""

import logging

import pytest

from saeuniv.adapters.downloads import HubFile
from saeuniv.config import ConfigError
from saeuniv.stages.fetch import Fetch
from saeuniv.stages.serial import read_task, task_json
from tests.fake_hub import serving
from tests.test_preflight import safetensors

REPOSITORY = "owner/model"
FILES = {
    "config.json": b"{}",
    "model-1.safetensors": safetensors(w=(160,)),
    "model-2.safetensors": safetensors(w=(180,)),
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def make_fetch(tmp_path):
    """A fetching of these files, with their sizes."""

    def make(commit: str, files=FILES, repository: str = REPOSITORY) -> Fetch:
        sized = tuple(HubFile(name, len(content)) for name, content in files.items())
        return Fetch(tmp_path, (), (), 1.0, repository, commit, sized)

    return make


def _run(task: Fetch) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    task(lambda done, total: steps.append((done, total)))
    return steps


def test_exactly_the_files_are_fetched_at_the_commit_and_only_once(hub, make_fetch, caplog):
    commit = hub.add(REPOSITORY, {**FILES, "pytorch_model.bin": b"no"})
    hub.add(REPOSITORY, {"config.json": b"later"})
    task = make_fetch(commit)
    assert not task.is_done() and task.missing() == task.files
    with caplog.at_level(logging.INFO, logger="saeuniv"):
        assert _run(task) == [(1, 3), (2, 3), (3, 3)]
    assert f"fetch: owner/model at {commit[:12]} ready, 3 files" in caplog.text
    assert hub.fetched() == [f"{commit} {name}" for name in FILES]
    assert task.is_done() and _run(task) == []
    assert hub.requests == []


def test_an_interrupted_fetching_is_gone_on_with(hub, make_fetch):
    commit = hub.add(REPOSITORY, FILES)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    task = make_fetch(commit)
    with pytest.raises(KeyboardInterrupt):
        task(interrupt)
    assert [file.name for file in task.missing()] == ["model-2.safetensors"] and not task.is_done()
    hub.requests.clear()
    assert _run(task) == [(1, 1)]
    assert hub.fetched() == [f"{commit} model-2.safetensors"]


def test_a_file_of_another_commit_does_not_count(hub, make_fetch):
    first, second = hub.add(REPOSITORY, FILES), hub.add(REPOSITORY, {**FILES, "config.json": b"{ }"})
    _run(make_fetch(first))
    assert not make_fetch(second).is_done()


def test_what_the_hub_does_not_give_is_said(hub, make_fetch, monkeypatch):
    from huggingface_hub import constants

    commit = hub.add(REPOSITORY, FILES)
    with pytest.raises(ConfigError, match=f"owner/model: expected none.json at {commit}"):
        _run(make_fetch(commit, {"none.json": b""}))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        _run(make_fetch(commit))


def test_fetchings_of_one_commit_unite_and_are_named_by_it(make_fetch):
    name, other = "0" * 40, "1" * 40
    one = make_fetch(name, {"a": b"12", "b": b"345"})
    both = one.united(make_fetch(name, {"b": b"345", "c": b"6"}))
    assert both.files == (HubFile("a", 2), HubFile("b", 3), HubFile("c", 1)) and both.n_bytes == 6
    assert one.key == both.key and one.group == both.group
    assert len({one.key, make_fetch(other).key, make_fetch(name, repository="owner/b").key}) == 3
    assert one.without({"models/x"}) == one, "nothing of it is in the store"
    assert read_task(task_json(both)) == both


def test_the_label_says_how_large_it_is(make_fetch):
    assert make_fetch("0" * 40).label == "owner/model 1.5 kB"
