"""`saeuniv task run`: one emitted task, where it was emitted, offline, with an honest exit code."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saeuniv.adapters.offline import OFFLINE
from saeuniv.commands import task as command
from saeuniv.commands.task import read, written
from saeuniv.stages.serial import FORMAT, task_json
from saeuniv.store import Store
from saeuniv.sweep import job
from tests.commands.conftest import Call
from tests.sweep.dummies import Dummy, dummy, made


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command changes of this process is as before afterwards."""
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(os.environ, name, "0")
    monkeypatch.setattr(logging.getLogger("saeuniv"), "level", logging.WARNING)


def emitted(folder: Path, store: Store, name: str, *needs: str, end: str = "well") -> str:
    path = folder / f"{name}.json"
    path.write_text(written(dummy(store.root, name, *needs, end=end), folder))
    return str(path)


def test_a_task_is_run_once(call: Call, here: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    file = emitted(here, store, "a")
    assert call(command.main, "run", file).code == 0
    assert store.exists(made("a"))
    assert caplog.messages == ["a begins", "dummy a: done in 0 s"]
    caplog.clear()
    assert call(command.main, "run", file).code == 0
    assert caplog.messages == ["dummy a: done before"]


def test_progress_is_said_now_and_then(
    call: Call, here: Path, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dataclasses.replace(dummy(store.root, "a"), outputs=tuple(map(made, "abcd")))
    (here / "a.json").write_text(written(task, here))
    monkeypatch.setattr(job, "_PROGRESS_EVERY_SECONDS", 0.0)
    assert call(command.main, "run", "a.json").code == 0
    lines = [f"dummy a: {done} of 4" for done in (1, 2, 3, 4)]
    assert caplog.messages == ["a begins", *lines, "dummy a: done in 0 s"]


def test_a_task_that_fails_says_why_in_a_sentence(
    call: Call, here: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(command.main, "run", emitted(here, store, "a", end="wrong")).code == 1
    assert caplog.messages[-1] == "dummy a failed: a: expected better work. Choose another."
    assert caplog.records[-1].exc_info is None
    # What it needs is not there.
    assert call(command.main, "run", emitted(here, store, "b", "a")).code == 1
    assert made("a").path in caplog.messages[-1] and caplog.records[-1].exc_info is None
    assert not store.exists(made("b"))


def test_a_bug_shows_where_it_is(
    call: Call, here: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(command.main, "run", emitted(here, store, "a", end="bug")).code == 1
    assert caplog.messages[-1] == "dummy a failed: KeyError('no such thing')"
    assert caplog.records[-1].exc_info is not None


def test_a_task_that_publishes_nothing_has_failed(
    call: Call, here: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(command.main, "run", emitted(here, store, "a", end="idle")).code == 1
    assert "expected it to publish 1 artifacts, not all are in" in caplog.messages[-1]


def test_an_interrupted_task_ends_as_such(call: Call, here: Path, store: Store) -> None:
    ended = call(command.main, "run", emitted(here, store, "a", end="interrupted"))
    assert (ended.code, ended.err) == (130, "Interrupted.\n")


def test_it_runs_offline_where_it_was_emitted(
    call: Call, here: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (here / "inside").mkdir()
    file = Path(emitted(here / "inside", store, "a")).relative_to(tmp_path)
    assert call(command.main, "run", str(file)).code == 0
    assert Path.cwd() == here / "inside"
    assert {name: os.environ[name] for name in OFFLINE} == OFFLINE


def test_the_folder_it_was_emitted_in_may_be_another_machines(call: Call, here: Path, store: Store) -> None:
    (here / "a.json").write_text(written(dummy(store.root, "a"), Path("/nowhere/on/this/machine")))
    assert call(command.main, "run", "a.json").code == 0
    assert Path.cwd() == here


def test_what_was_written_is_read(store: Store, here: Path) -> None:
    task = dummy(store.root, "a", "b", seconds=3.5)
    (here / "a.json").write_text(written(task, here))
    assert read(here / "a.json") == (task, here)
    # A task as the store keeps it has no folder.
    (here / "b.json").write_text(task_json(task))
    assert read(here / "b.json") == (task, Path("."))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a task as JSON"),
        ("[1, 2]", "expected a task as JSON"),
        (json.dumps({"format": FORMAT + 1}), f"expected a task of format {FORMAT}, got {FORMAT + 1}"),
        (json.dumps({"format": FORMAT}), "does not fit"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_task_is_refused(text: str | None, said: str, call: Call, here: Path) -> None:
    if text is not None:
        (here / "a.json").write_text(text)
    ended = call(command.main, "run", "a.json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("a.json: ") and said in ended.err and "`saeuniv plan --emit DIR`" in ended.err


def test_a_folder_and_a_class_of_others_are_refused(
    call: Call, here: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(command.main, "run", str(here)).code == 2
    file = emitted(here, store, "a")
    monkeypatch.delenv("SAEUNIV_TASK_MODULES")
    ended = call(command.main, "run", file)
    assert ended.code == 2 and f"expected a class of saeuniv, got one of {Dummy.__module__}" in ended.err


@pytest.mark.parametrize("argv", [(), ("run",), ("walk", "a.json"), ("run", "a.json", "--bogus")])
def test_wrong_arguments_are_refused(argv: tuple[str, ...], call: Call) -> None:
    ended = call(command.main, *argv)
    assert (ended.code, ended.out) == (2, "") and "saeuniv task: error: " in ended.err


def test_nothing_that_must_be_told_to_work_offline_is_imported_before(store: Store, here: Path) -> None:
    """Their settings are read when they are imported; and no command imports torch to be asked for help."""
    heavy = ("huggingface_hub", "transformers", "datasets", "torch", "submitit", "wandb")
    code = (
        "import sys\n"
        "from saeuniv.commands import cancel, doctor, fetch, logs, plan, report, retry, status, store, task\n"
        "from saeuniv.stages import compare, dictionaries, encode, fetch, models, report, tokens\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
