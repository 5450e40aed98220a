"""Removing garbage, so that a reader never sees half of an artifact, and saying what it is."""

import os
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from saeuniv.store.garbage import ARTIFACTS, HOUR_S, Garbage
from saeuniv.store.locks import lock
from saeuniv.store.processes import host
from saeuniv.store.scan import LOCKS, tree
from saeuniv.store.usage import bytes_text

if TYPE_CHECKING:
    from rich.table import Table

# A holder touches its lock every 10 s (store/locks.py).
_LOCK_ALIVE_S = 60.0


class Removed(NamedTuple):
    """What `remove` came to."""

    n: int
    bytes: int
    kept: tuple[tuple[str, str], ...]
    """Paths that were not removed after all, and why."""


def remove(root: Path, garbage: Iterable[Garbage]) -> Removed:
    """Remove what `collect` has found, but what somebody holds the lock of or has changed since.

    A folder is renamed first: it is there whole or not at all. What a kill leaves of it is a leftover
    like any other.
    """
    n = size = 0
    kept: list[tuple[str, str]] = []
    for each in garbage:
        reason = _remove(root, each)
        if reason:
            kept.append((each.path, reason))
        else:
            n, size = n + 1, size + each.bytes
    return Removed(n, size, tuple(kept))


def garbage_table(root: Path, garbage: Sequence[Garbage]) -> "Table":
    """What may go, a line for each kind and reason."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    by_reason: dict[tuple[str, str], list[Garbage]] = defaultdict(list)
    for each in garbage:
        by_reason[each.kind, each.reason].append(each)
    table = Table(
        title=escape(f"garbage in store {root}"), title_justify="left", box=box.SIMPLE_HEAD, show_footer=True
    )
    table.add_column("kind", "all")
    table.add_column("why")
    table.add_column("number", f"{len(garbage):,}", justify="right", no_wrap=True)
    table.add_column("size", bytes_text(sum(each.bytes for each in garbage)), justify="right", no_wrap=True)
    table.add_column("oldest", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for (kind, reason), each in by_reason.items():
        oldest = min(each, key=lambda one: one.touched)
        size = bytes_text(sum(one.bytes for one in each))
        table.add_row(kind, reason, f"{len(each):,}", size, _time(oldest)[:10], escape(oldest.path))
    return table


def garbage_json(root: Path, garbage: Sequence[Garbage]) -> dict[str, object]:
    """What may go as values for JSON, item by item: bytes, times in UTC."""
    found = [{**each._asdict(), "touched": _time(each)} for each in garbage]
    return {"root": str(root), "bytes": sum(each.bytes for each in garbage), "garbage": found}


def _remove(root: Path, each: Garbage) -> str | None:
    """Why it was kept; None if it is gone."""
    if each.kind not in ARTIFACTS:
        return _take_away(root / each.path)
    path = root / LOCKS / f"{each.path.replace('/', '-')}.lock"
    if time.time() - tree(path)[1] < _LOCK_ALIVE_S:
        return "its lock is held"
    with lock(path):
        return _take_away(root / each.path)


def _take_away(path: Path) -> str | None:
    if time.time() - tree(path)[1] <= HOUR_S:
        return "it has changed within the last hour"
    try:
        if path.is_dir() and not path.is_symlink():
            aside = path.with_name(f".removed.{host()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
            path.rename(aside)
            shutil.rmtree(aside)
        else:
            path.unlink()
    except FileNotFoundError:
        return None  # somebody else was faster
    except OSError as error:
        return f"{error.strerror or error}"
    return None


def _time(each: Garbage) -> str:
    return datetime.fromtimestamp(each.touched, UTC).isoformat(timespec="seconds")
