"""Locks that keep two processes from doing the same work; nothing depends on them for correctness."""

import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from saeuniv.store.processes import has_died, host

_HEARTBEAT_SECONDS = 10.0
_STALE_SECONDS = 60.0
_POLL_SECONDS = 0.2


@contextmanager
def lock(path: Path) -> Generator[None, None, None]:
    """Hold the lock file at `path` for the body; wait first while a living process holds it.

    A lock is broken when its process is known to be dead, or has not touched the file for 60 s. Whoever
    has waited should look again whether the work is still to be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{host()} {os.getpid()} {secrets.token_hex(8)}"
    while not _take(path, owner):
        if _is_abandoned(path):
            _break(path)
        else:
            time.sleep(_POLL_SECONDS)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, done), daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        # A lock that was broken meanwhile belongs to someone else now.
        if _owner(path) == owner:
            path.unlink(missing_ok=True)


def _take(path: Path, owner: str) -> bool:
    try:
        with path.open("x") as file:
            file.write(owner)
    except FileExistsError:
        return False
    return True


def _is_abandoned(path: Path) -> bool:
    match (_owner(path) or "").split():
        case [on_host, pid, _] if pid.isdecimal() and has_died(on_host, int(pid)):
            return True
        case _:
            return _age_seconds(path) > _STALE_SECONDS


def _break(path: Path) -> None:
    # Renaming has one winner, so that of two who break a lock only one removes it.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.broken")
    with suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink(missing_ok=True)


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(_HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _owner(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
