"""`saeuniv store`: what there is, what may go, and that nothing goes untold, or from any other folder."""

import json
import os
import time
from pathlib import Path

import pytest

from saeuniv.commands import store as command
from saeuniv.store import Kind, Store, artifact
from saeuniv.sweep import claims, slurm
from saeuniv.sweep.claims import Note
from saeuniv.sweep.slurm import JobState, QueueError
from tests.commands.conftest import Call
from tests.store.samples import publish
from tests.sweep.dummies import dummy

DAY_S = 86400


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with an artifact, and leftovers of which some are young."""
    publish(store, artifact(Kind.scores, {"name": "a"}))
    for name, days in (("old", 40), ("young", 10)):
        folder = store.root / "damaged" / f"scores-{name}"
        folder.mkdir(parents=True)
        (folder / "value.json").write_text("x" * 1000)
        age(folder, days)
    return store


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))


def left(store: Store) -> set[str]:
    return {path.name for path in (store.root / "damaged").iterdir()}


def test_what_the_store_holds(call: Call, filled: Store) -> None:
    ended = call(command.main, "du")
    assert (ended.code, ended.err) == (0, "")
    assert str(filled.root) in "".join(ended.out.split())
    kinds = {
        line.split()[0]: line.split()[1] for line in ended.out.splitlines() if line.strip()[-1:].isdigit()
    }
    assert (kinds["scores"], kinds["damaged"]) == ("1", "2")
    found = json.loads(call(command.main, "du", "--json").out)
    assert found["held"]["damaged"]["n"] == 2 and found["held"]["scores"]["n"] == 1
    assert found["root"] == str(filled.root)


def test_garbage_is_only_listed(call: Call, filled: Store) -> None:
    ended = call(command.main, "gc")
    assert (ended.code, ended.err) == (0, "")
    assert "damaged; was made again" in ended.out
    assert ended.out.endswith("Nothing was removed; --yes removes it.\n")
    ended = call(command.main, "gc", "--json")
    found = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert [each["path"] for each in found["garbage"]] == ["damaged/scores-old"]
    assert "removed" not in found
    assert left(filled) == {"scores-old", "scores-young"}
    assert call(command.main, "gc", "--keep-days", "50") == (0, "Nothing may go.\n", "")


def test_garbage_goes_when_it_is_told_to(call: Call, filled: Store) -> None:
    ended = call(command.main, "gc", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("1 removed, 1.0 kB.\n")
    assert left(filled) == {"scores-young"}
    found = json.loads(call(command.main, "gc", "--yes", "--json", "--keep-days", "5").out)
    assert (found["removed"], found["removed_bytes"], found["kept"]) == (1, 1000, {})
    assert left(filled) == set()
    assert json.loads(call(command.main, "gc", "--yes", "--json").out)["removed"] == 0
    assert filled.exists(artifact(Kind.scores, {"name": "a"}))


def test_what_cannot_be_removed_is_said_and_is_no_success(
    call: Call, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    ended = call(command.main, "gc", "--yes")
    assert (ended.code, ended.err) == (1, "kept damaged/scores-old: Permission denied\n")
    assert ended.out.endswith("0 removed, 0 B.\n")
    assert json.loads(call(command.main, "gc", "--yes", "--json").out)["kept"] == {
        "damaged/scores-old": "Permission denied"
    }


@pytest.mark.parametrize("yes", [(), ("--yes",)])
def test_a_folder_that_is_no_store_is_left_alone(yes: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    """Somebody's project, say, with checkpoints that nobody has touched for a year."""
    mine = tmp_path / "project" / "checkpoints" / "best.pt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    (tmp_path / "project" / "models" / "resnet").mkdir(parents=True)
    age(tmp_path / "project", 365)
    ended = call(command.main, "gc", "--store", str(tmp_path / "project"), *yes)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"{tmp_path}/project: expected a store, found no artifact in it. Name the store: --store DIR.\n"
    )
    assert mine.exists()


def test_shards_make_a_store_as_well(call: Call, store: Store) -> None:
    publish(store, artifact(Kind.latents, {"name": "a"}, shard=0))
    assert call(command.main, "gc") == (0, "Nothing may go.\n", "")


@pytest.mark.parametrize("action", ["du", "gc"])
def test_a_store_that_is_not_there_is_refused(action: str, call: Call, store: Store, here: Path) -> None:
    ended = call(command.main, action)
    assert (ended.code, ended.out) == (2, "")
    assert f"{store.root}: expected a store, found no such folder. Set SAEUNIV_STORE, or --store" in ended.err
    (here / "file").touch()
    assert call(command.main, action, "--store", "file").code == 2
    assert not store.root.exists()


@pytest.mark.parametrize("days", ["-1", "nan", "inf"])
def test_a_wrong_number_of_days_is_refused(days: str, call: Call, filled: Store) -> None:
    ended = call(command.main, "gc", "--yes", "--keep-days", days)
    assert (ended.code, ended.out) == (2, "")
    assert "expected a number of days, 0 or more." in ended.err
    assert left(filled) == {"scores-old", "scores-young"}


def test_a_misspelt_folder_of_results_removes_nothing(call: Call, filled: Store, here: Path) -> None:
    (here / "empty").mkdir()
    for folder in ("multirum", "empty"):
        ended = call(command.main, "gc", "--yes", "--keep-days", "0", "--unreferenced", folder)
        assert (ended.code, ended.out) == (2, "")
        assert f"--unreferenced {folder}: expected a folder with results of sweeps" in ended.err
    assert left(filled) == {"scores-old", "scores-young"}


def test_what_no_results_rest_on_can_go_too(call: Call, filled: Store, here: Path) -> None:
    kept, other = (artifact(Kind.scores, {"name": name}) for name in "bc")
    for each in (kept, other):
        age(publish(filled, each), 40)
    summary = here / "multirun" / "s" / "one" / "results" / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"artifacts": {kept.path: "0" * 64}}))
    found = json.loads(call(command.main, "gc", "--json", "--unreferenced", "multirun").out)
    assert [each["path"] for each in found["garbage"]] == ["damaged/scores-old", other.path]


def test_what_jobs_may_still_need_stays(call: Call, filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task = dummy(filled.root, "a")
    claims.claim(filled.root, [[task]], token="saeuniv-1", sweep="s")
    claims.note(filled.root, Note("saeuniv-1", "ci", ("7",), 0.0, "folder"))
    age(filled.root / "jobs", 40)

    def listed() -> set[str]:
        return {each["path"] for each in json.loads(call(command.main, "gc", "--json").out)["garbage"]}

    def silent() -> str:
        raise QueueError("no contact")

    monkeypatch.setattr(slurm, "cluster_name", silent)
    assert listed() == {"damaged/scores-old"}
    monkeypatch.setattr(slurm, "cluster_name", lambda: "ci")
    monkeypatch.setattr(slurm, "states", lambda ids: {"7": JobState("RUNNING", "", "saeuniv-1")})
    assert listed() == {"damaged/scores-old"}
    monkeypatch.setattr(slurm, "states", lambda ids: {})
    assert f"jobs/{task.key}.json" in listed()


@pytest.mark.parametrize(
    "argv", [(), ("gx",), ("du", "--yes"), ("gc", "--keep", "3"), ("gc", "--unreferenced")]
)
def test_wrong_arguments_are_refused(argv: tuple[str, ...], call: Call, filled: Store) -> None:
    ended = call(command.main, *argv)
    assert (ended.code, ended.out) == (2, "") and "saeuniv store" in ended.err


def test_help_says_which_store(call: Call, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(store.root) in "".join(call(command.main, "gc", "--help").out.split())
    monkeypatch.setenv("SAEUNIV_STORE", "/disk 100%/store")
    assert "100%/store" in call(command.main, "du", "--help").out
