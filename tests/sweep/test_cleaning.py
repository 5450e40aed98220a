"""Garbage of a store that jobs work in: what SLURM may still run, stays."""

import os
import time
from collections.abc import Iterable

import pytest

from saeuniv.store import Store
from saeuniv.sweep import claims, slurm
from saeuniv.sweep.claims import Note
from saeuniv.sweep.cleaning import garbage
from saeuniv.sweep.slurm import JobState, QueueError
from tests.sweep.dummies import dummy, made

DAY = 86400


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")


def claim(store: Store, name: str, *, job: str | None, cluster: str = "ci") -> str:
    """Claim a task for a job of long ago; its key."""
    task = dummy(store.root, name)
    claims.claim(store.root, [[task]], token=f"token-{name}", sweep="s")
    if job:
        claims.note(store.root, Note(f"token-{name}", cluster, (job,), 0.0, "folder"))
    return task.key


def checkpoint(store: Store, key: str) -> None:
    store.checkpoint(key).mkdir(parents=True)
    (store.checkpoint(key) / "state.pt").touch()


def found(store: Store, days: float = 20.0) -> set[str]:
    """What goes once all of it is so old."""
    then = time.time() - days * DAY
    for each in sorted(store.root.rglob("*"), reverse=True):
        os.utime(each, (then, then))
    return {each.path for each in garbage(store.root, keep_days=10.0)}


def cluster(monkeypatch: pytest.MonkeyPatch, states: dict[str, JobState], tokens: Iterable[str] = ()) -> None:
    monkeypatch.setattr(slurm, "cluster_name", lambda: "ci")
    monkeypatch.setattr(slurm, "states", lambda ids: {each: states[each] for each in ids if each in states})
    monkeypatch.setattr(slurm, "find", lambda token: "77" if token in tokens else None)


def files(key: str, name: str) -> set[str]:
    return {f"jobs/{key}.json", f"jobs/{key}.task.json", f"jobs/token-{name}.array.json"}


def test_only_claims_of_jobs_that_have_ended_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: claim(store, name, job=str(place)) for place, name in enumerate(("runs", "failed", "gone"))}
    reused = claim(store, "reused", job="9")
    foreign = claim(store, "foreign", job="1", cluster="elsewhere")
    lost, adopted = claim(store, "lost", job=None), claim(store, "adopted", job=None)
    for key in (*keys.values(), foreign):
        checkpoint(store, key)
    states = {
        **{"0": JobState("RUNNING", "", "token-runs"), "1": JobState("FAILED", "", "token-failed")},
        "9": JobState("RUNNING", "", "another"),
    }
    cluster(monkeypatch, states, tokens=["token-adopted"])
    assert found(store) == {
        *files(keys["failed"], "failed"),
        *files(keys["gone"], "gone"),
        *files(reused, "reused"),
        *(f"jobs/{lost}.json", f"jobs/{lost}.task.json"),
        *(f"checkpoints/{keys['failed']}", f"checkpoints/{keys['gone']}"),
    }
    assert adopted  # stays


def test_a_queue_that_does_not_answer_keeps_everything_that_is_claimed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = claim(store, "a", job="1")
    checkpoint(store, key)
    cluster(monkeypatch, {})

    def silent(*_: object) -> str:
        raise QueueError("squeue failed")

    for name in ("states", "cluster_name"):
        cluster(monkeypatch, {})
        monkeypatch.setattr(slurm, name, silent)
        assert found(store) == set()
    cluster(monkeypatch, {})
    assert found(store) == {*files(key, "a"), f"checkpoints/{key}"}


def test_slurm_is_asked_only_about_old_claims(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(slurm, "cluster_name", asked)
    claim(store, "a", job="1")
    assert found(store, days=5.0) == set()


def test_the_checkpoint_of_a_finished_training_goes_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(monkeypatch, {"1": JobState("RUNNING", "", "token-a"), "2": JobState("RUNNING", "", "token-b")})
    done, running = claim(store, "a", job="1"), claim(store, "b", job="2")
    checkpoint(store, done)
    checkpoint(store, running)
    with store.publish(made("a")) as folder:
        (folder / "file").touch()
    assert found(store, days=1.0) == {f"checkpoints/{done}"}
