"""What may go from the store, and what must never go."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from saeuniv.store import Artifact, Kind, Store, artifact
from saeuniv.store.garbage import Garbage, collect, mentioned
from saeuniv.store.processes import host
from saeuniv.store.removal import garbage_json, garbage_table, remove
from tests.store.samples import publish

HOUR, DAY = 3600, 86400
KEY = "0123456789abcdef"


def never(key: str) -> bool:
    return False


def age(path: Path, seconds: float) -> None:
    """Make all of it look as if it had last changed so long ago."""
    then = time.time() - seconds
    for each in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
        os.utime(each, (then, then), follow_symlinks=False)
    os.utime(path, (then, then), follow_symlinks=False)


def put(store: Store, name: str, text: str = "", *, old: float = 0) -> Path:
    path = store.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    age(path, old)
    age(path.parent, old)
    return path


def found(store: Store, **asked: object) -> list[str]:
    asked = {"keep_days": 10.0, "is_live": never, "is_done": never, **asked}
    return [each.path for each in collect(store.root, **asked)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def made(store: Store, kind: Kind, name: str, *parents: Artifact, days: float = 0) -> Artifact:
    what = artifact(kind, {"name": name}, tuple(each.path for each in parents))
    age(publish(store, what), days * DAY)
    return what


@pytest.mark.parametrize("place", ["", "scores/", f"latents/{KEY}/"])
def test_what_dead_writers_left_goes_after_an_hour(store: Store, dead_pid: int, place: str) -> None:
    mine = f"{place}.x.{host()}.{dead_pid}.0123abcd.tmp"
    put(store, f"{mine}/part.bin", old=2 * HOUR)
    put(store, f"{place}.x.{host()}.{os.getpid()}.0123abcd.tmp/part.bin", old=90 * DAY)
    put(store, f"{place}.fresh.{host()}.{dead_pid}.0123abcd.tmp/part.bin", old=HOUR / 2)
    put(store, f"{place}.foreign.elsewhere.example.{dead_pid}.0123abcd.tmp/part.bin", old=5 * DAY)
    ancient = f"{place}.ancient.elsewhere.example.{dead_pid}.0123abcd.tmp"
    put(store, f"{ancient}/part.bin", old=20 * DAY)
    put(store, f"{place}.unknown.tmp/part.bin", old=20 * DAY)
    assert sorted(found(store)) == sorted([mine, ancient])
    assert sorted(found(store, keep_days=0.0)) == sorted([mine, ancient])


def test_damaged_goes_by_when_it_was_set_aside(store: Store) -> None:
    old, new = (time.time_ns() - int(days * DAY * 1e9) for days in (11, 9))
    for when in (old, new):
        put(store, f"damaged/scores-{KEY}-{when}/values.bin", old=99 * DAY)
    assert found(store) == [f"damaged/scores-{KEY}-{old}"]


def test_claims_of_live_jobs_never_go_nor_what_belongs_to_them(store: Store) -> None:
    live, ended, done = "a" * 16, "b" * 16, "c" * 16
    for key, token, number in ((live, "saeuniv-1", 17), (ended, "saeuniv-2", 18)):
        put(store, f"jobs/{key}.json", json.dumps({"token": token}), old=20 * DAY)
        put(store, f"jobs/{key}.task.json", "{}", old=20 * DAY)
        put(store, f"jobs/{key}.error.json", "{}", old=20 * DAY)
        put(store, f"jobs/{token}.array.json", json.dumps({"jobs": [f"{number}_0"]}), old=20 * DAY)
        put(store, f"submitit/{token}/{number}_0_0_log.out", old=20 * DAY)
        put(store, f"checkpoints/{key}/state.pt", old=20 * DAY)
    put(store, f"jobs/{done}.task.json", "{}", old=20 * DAY)
    asked: list[str] = []

    def is_live(key: str) -> bool:
        asked.append(key)
        return key == live

    expected = [
        *(f"jobs/{ended}.json", f"jobs/{ended}.task.json", "jobs/saeuniv-2.array.json", "submitit/saeuniv-2"),
        f"jobs/{ended}.error.json",
        *(f"checkpoints/{ended}", f"jobs/{done}.task.json"),
    ]
    assert sorted(found(store, is_live=is_live)) == sorted(expected)
    assert sorted(asked) == [live, ended]
    assert found(store, is_live=lambda key: True) == [f"jobs/{done}.task.json"]


def test_claims_younger_than_asked_stay_with_all_they_name(store: Store) -> None:
    what = made(store, Kind.scores, "input", days=20)
    put(store, f"jobs/{KEY}.task.json", json.dumps({"key": what.key}), old=20 * DAY)
    put(store, f"jobs/{KEY}.json", json.dumps({"token": "t"}), old=2 * DAY)
    assert found(store, referenced=()) == []
    assert found(store, referenced=(), keep_days=1.0) == [
        *(f"jobs/{KEY}.json", f"jobs/{KEY}.task.json", what.path)
    ]


def test_checkpoints_go_when_their_training_is_finished_or_forgotten(store: Store) -> None:
    finished, running, forgotten = "a" * 16, "b" * 16, "c" * 16
    for key, age_s in ((finished, 2 * HOUR), (running, 2 * HOUR), (forgotten, 11 * DAY)):
        put(store, f"checkpoints/{key}/state.pt", old=age_s)
    assert found(store, is_done=lambda key: key == finished) == [
        *(f"checkpoints/{finished}", f"checkpoints/{forgotten}")
    ]
    assert found(store, is_done=lambda key: key == finished, keep_days=30.0) == [f"checkpoints/{finished}"]


def test_locks_and_half_written_claims_go_and_unknown_things_stay(store: Store) -> None:
    put(store, f"locks/scores-{KEY}.lock", "elsewhere 1 ab", old=2 * HOUR)
    put(store, f"jobs/.{KEY}.json.0123abcd", old=2 * HOUR)
    put(store, "jobs/readme.txt", old=99 * DAY)
    put(store, "notes/mine.txt", old=99 * DAY)
    put(store, "scores/stray.txt", old=99 * DAY)
    put(store, f"scores/{KEY}/values.bin", old=99 * DAY)
    assert sorted(found(store, referenced=())) == [f"jobs/.{KEY}.json.0123abcd", f"locks/scores-{KEY}.lock"]


def family(store: Store, days: float = 20) -> dict[str, Artifact]:
    """Tokens, a model, a dictionary, latents of two shards and scores, each made from the one before."""
    made_now: dict[str, Artifact] = {"tokens": made(store, Kind.tokens, "t", days=days)}
    for kind, parent in (("models", "tokens"), ("dictionaries", "models")):
        made_now[kind] = made(store, Kind(kind), "x", made_now[parent], days=days)
    parents = (made_now["dictionaries"].path, made_now["tokens"].path)
    for shard in (0, 1):
        made_now["latents"] = Artifact(Kind.latents, "f" * 16, {}, parents, shard)
        age(publish(store, made_now["latents"]), days * DAY)
    age(store.root / "latents" / ("f" * 16), days * DAY)
    latents = Artifact(Kind.latents, "f" * 16, {}, parents)
    return made_now | {"latents": latents, "scores": made(store, Kind.scores, "s", latents, days=days)}


def paths(artifacts: Iterable[Artifact]) -> set[str]:
    return {each.path for each in artifacts}


def test_artifacts_go_only_when_asked_and_what_is_made_from_others_goes_first(store: Store) -> None:
    all_of_them = family(store)
    assert found(store) == []
    going = found(store, referenced=())
    assert [path.split("/")[0] for path in going] == ["scores", "latents", "dictionaries", "models", "tokens"]
    assert set(going) == paths(all_of_them.values())
    assert found(store, referenced=(), keep_days=21.0) == []


@pytest.mark.parametrize(
    ("named", "goes"),
    [("scores", ()), ("latents", ("scores",)), ("models", ("scores", "latents", "dictionaries"))],
)
def test_what_is_referenced_stays_with_all_it_is_made_from(
    store: Store, named: str, goes: tuple[str, ...]
) -> None:
    artifacts = family(store)
    going = found(store, referenced={artifacts[named].key})
    assert set(going) == paths(artifacts[kind] for kind in goes)


def test_what_a_young_artifact_is_made_from_stays(store: Store) -> None:
    artifacts = family(store)
    other = made(store, Kind.scores, "other", days=20)
    age(store.folder(artifacts["scores"]), 2 * HOUR)
    assert found(store, referenced=()) == [other.path]
    # ... and one whose shard is being written is young.
    age(store.folder(artifacts["scores"]), 20 * DAY)
    (store.root / artifacts["latents"].path / ".00002.there.7.0123abcd.tmp").mkdir()
    assert sorted(found(store, referenced=())) == sorted([other.path, artifacts["scores"].path])


def test_the_last_hour_is_never_garbage(store: Store) -> None:
    made(store, Kind.scores, "new")
    put(store, f"checkpoints/{KEY}/state.pt", old=HOUR / 2)
    put(store, f"jobs/{KEY}.json", old=HOUR / 2)
    assert found(store, keep_days=0.0, referenced=(), is_done=lambda key: True) == []


@pytest.mark.parametrize("days", [-1.0, float("nan"), float("inf")])
def test_days_must_be_days(store: Store, days: float) -> None:
    with pytest.raises(ValueError, match="expected a number of days, 0 or more"):
        collect(store.root, keep_days=days, is_live=never, is_done=never)


def test_results_and_plans_of_sweeps_name_artifacts(tmp_path: Path) -> None:
    results = tmp_path / "multirun" / "sweep" / "comparison" / "results"
    results.mkdir(parents=True)
    hashes = {f"scores/{'a' * 16}": "1" * 64, f"latents/{'b' * 16}/00000": "2" * 64}
    (results / "summary.json").write_text(json.dumps({"artifacts": hashes}))
    (tmp_path / "multirun" / "sweep" / "sweep.json").write_text(json.dumps({"tasks": [{"key": "c" * 16}]}))
    assert mentioned([tmp_path / "multirun"]) == {"a" * 16, "b" * 16, "c" * 16}


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    for folder in (tmp_path / "sweep", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=rf"{folder.name}: expected a folder with results of sweeps"):
            mentioned([folder])
    (tmp_path / "sweep" / "summary.json").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"summary\.json: expected a readable file"):
        mentioned([tmp_path / "sweep"])


def all_garbage(store: Store) -> tuple[Garbage, ...]:
    return collect(store.root, keep_days=10.0, is_live=never, is_done=never, referenced=())


def test_what_is_removed_is_gone_and_nothing_else(store: Store) -> None:
    family(store)
    kept = made(store, Kind.scores, "young")
    put(store, f"jobs/{KEY}.json", old=20 * DAY)
    garbage = all_garbage(store)
    removed = remove(store.root, garbage)
    assert (removed.n, removed.bytes, removed.kept) == (6, sum(each.bytes for each in garbage), ())
    assert removed.bytes > 0
    left = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}
    assert {each.rsplit("/", 1)[0] for each in left} == {kept.path, f"{kept.path}/nested"}
    assert remove(store.root, garbage).n == 6  # somebody else was faster: as good


def test_a_lock_that_is_held_and_a_change_since_are_respected(store: Store) -> None:
    held, changed, abandoned = (made(store, Kind.scores, name, days=20) for name in ("a", "b", "c"))
    garbage = all_garbage(store)
    assert {each.path for each in garbage} == paths((held, changed, abandoned))
    (store.folder(changed) / "values.bin").touch()
    put(store, f"locks/{abandoned.path.replace('/', '-')}.lock", "elsewhere 1 ab", old=2 * HOUR)
    with store.lock(held):
        removed = remove(store.root, garbage)
    assert dict(removed.kept) == {
        held.path: "its lock is held",
        changed.path: "it has changed within the last hour",
    }
    assert (removed.n, store.exists(held), store.exists(changed)) == (1, True, True)
    assert not store.folder(abandoned).exists()


def test_an_artifact_is_whole_or_gone_whenever_the_removal_is_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = made(store, Kind.scores, "a", days=20)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("saeuniv.store.removal.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(store.root, all_garbage(store))
    monkeypatch.undo()
    assert not store.folder(what).exists()
    (left,) = (store.root / "scores").iterdir()
    # A leftover of a writer that died, once its name is that of a dead process.
    assert left.name.startswith(f".removed.{host()}.{os.getpid()}.") and left.name.endswith(".tmp")


def test_what_cannot_be_removed_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    what = made(store, Kind.scores, "a", days=20)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    assert remove(store.root, all_garbage(store)).kept == ((what.path, "Permission denied"),)


def test_the_table_and_the_json_name_what_goes_and_why(store: Store) -> None:
    family(store)
    garbage = all_garbage(store)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(garbage_table(store.root, garbage))
    text = console.export_text()
    assert "mentioned by no results" in text and garbage[0].path in text
    whole = json.loads(json.dumps(garbage_json(store.root, garbage)))
    assert [each["path"] for each in whole["garbage"]] == [each.path for each in garbage]
    assert whole["bytes"] == sum(each.bytes for each in garbage)
