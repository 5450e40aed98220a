import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from saeuniv.store import (
    Artifact,
    Kind,
    Store,
    artifact,
    folders,
    locks,
)


def an_artifact(shard: int | None = None, **changed: object) -> Artifact:
    return artifact(Kind.latents, changed, shard=shard)


def lock_file(store: Store) -> Path:
    (found,) = (store.root / "locks").iterdir()
    return found


def test_a_lock_lets_one_through_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.005)
    inside: list[str] = []

    def work() -> None:
        with store.lock(an_artifact()):
            inside.append("in")
            time.sleep(0.01)
            inside.append("out")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert inside == ["in", "out"] * 4
    assert list((store.root / "locks").iterdir()) == []


def test_locks_of_other_artifacts_are_independent(store: Store) -> None:
    with store.lock(an_artifact()), store.lock(an_artifact(layer=9)), store.lock(an_artifact(shard=0)):
        assert len(list((store.root / "locks").iterdir())) == 3


def test_a_lock_is_released_when_the_body_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.lock(an_artifact()):
        raise RuntimeError
    with store.lock(an_artifact()):
        pass


def test_a_lock_without_heartbeat_is_broken_after_a_minute(store: Store, monkeypatch) -> None:
    with store.lock(an_artifact()):
        path = lock_file(store)
        path.write_text("elsewhere 1 token")
        real, waited = time.time, []
        monkeypatch.setattr(locks.time, "time", lambda: real() + 10 * len(waited))
        monkeypatch.setattr(locks.time, "sleep", waited.append)
        with store.lock(an_artifact()):
            # Looked at 0, 10, ... 60 s old; the one beyond 60 s is broken.
            assert len(waited) == pytest.approx(6, abs=1)
            assert path.read_text() != "elsewhere 1 token"


def test_a_broken_lock_is_not_released_by_its_former_holder(store: Store) -> None:
    with store.lock(an_artifact()):
        path = lock_file(store)
        path.write_text("someone else now")
    assert path.exists()


def test_the_lock_of_a_dead_process_is_broken_at_once(store: Store) -> None:
    with store.lock(an_artifact()):
        path = lock_file(store)
    path.write_text(f"{folders.host()} {a_dead_process()} token")
    start = time.monotonic()
    with store.lock(an_artifact()):
        assert time.monotonic() - start < 5


def test_the_holder_of_a_lock_keeps_touching_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_HEARTBEAT_SECONDS", 0.005)
    with store.lock(an_artifact()):
        path = lock_file(store)
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert path.stat().st_mtime > 0


def a_dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
