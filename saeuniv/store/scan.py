"""What lies in the store: every artifact and everything beside them, by its manifest or by its files."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from saeuniv.store.artifacts import Kind
from saeuniv.store.manifest import MANIFEST

DAMAGED, JOBS, SUBMITIT, CHECKPOINTS, TEMPORARY, OTHER = (
    *("damaged", "jobs", "submitit", "checkpoints", "temporary", "other"),
)
LOCKS, PROBE = "locks", "probe"
KINDS = (*(kind.value for kind in Kind), DAMAGED, JOBS, SUBMITIT, CHECKPOINTS, TEMPORARY, OTHER)
"""What an item of the store can be, artifacts first."""

# Folders of the store whose every entry is an item of this kind (or temporary, where its name begins with
# a dot); those of other names are one item.
_FOLDERS = {
    **{name: name for name in (DAMAGED, JOBS, SUBMITIT, CHECKPOINTS)},
    **{LOCKS: TEMPORARY, PROBE: TEMPORARY},
}

_IS_TEMPORARY = re.compile(r"\..*\.tmp")

# A shared file system answers one request in a millisecond: many are asked at a time.
_THREADS = 16
_ENTRIES_PER_CALL = 64


class Item(NamedTuple):
    """One thing in the store; an artifact is one, with all its shards."""

    kind: str
    """One of KINDS."""

    path: str
    """Relative to the store."""

    bytes: int
    """Of its files, less what their blocks round up."""

    created: float
    """When an artifact was published, as its manifest says; of anything else, as `touched`."""

    touched: float
    """The last change that is known of; both in seconds since the epoch."""

    parents: tuple[str, ...] = ()
    """Of an artifact: paths of those it is made from."""


def scan(root: Path) -> Iterator[Item]:
    """Every item of the store, in no order; nothing where there is no store.

    One manifest is read per artifact and shard, no file of theirs is looked at: some seconds for 100,000.
    What disappears meanwhile is left out.
    """
    kinds = {kind.value for kind in Kind}
    for entry in _entries(root):
        if entry.name in kinds:
            yield from _of_each(lambda each, kind=entry.name: _artifact(root, kind, each), entry.path)
        elif entry.name in _FOLDERS:
            kind = _FOLDERS[entry.name]
            yield from _of_each(lambda each, kind=kind: [_in_folder(root, kind, each)], entry.path)
        else:
            yield _whole(root, TEMPORARY if _IS_TEMPORARY.fullmatch(entry.name) else OTHER, entry)


def read_loosely(path: Path | str) -> dict[str, Any] | None:
    """The JSON object in a file, a manifest's hash not checked; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return cast(dict[str, Any], content) if isinstance(content, dict) else None


def file_bytes(manifest: dict[str, Any]) -> int:
    """Bytes of the files that a manifest names.

    Raises:
        KeyError: or TypeError: it is not a manifest.
    """
    return sum(int(file["bytes"]) for file in manifest["files"].values())


def tree(path: Path | str) -> tuple[int, float]:
    """Bytes of the files at or below `path`, and when any of it last changed; 0, 0.0 where it is gone."""
    try:
        whole = os.lstat(path)
    except FileNotFoundError:
        return 0, 0.0
    size, touched = 0 if os.path.isdir(path) else whole.st_size, whole.st_mtime
    if os.path.isdir(path) and not os.path.islink(path):
        for entry in _entries(path):
            below, when = tree(entry.path)
            size, touched = size + below, max(touched, when)
    return size, touched


def _of_each(read: Callable[["os.DirEntry[str]"], Sequence[Item]], folder: str) -> Iterator[Item]:
    """The items of each entry of a folder, many entries at a time."""
    entries = _entries(folder)
    calls = [
        entries[start : start + _ENTRIES_PER_CALL] for start in range(0, len(entries), _ENTRIES_PER_CALL)
    ]

    def read_all(call: "list[os.DirEntry[str]]") -> list[Item]:
        return [item for each in call for item in read(each)]

    with ThreadPoolExecutor(_THREADS) as threads:
        for found in threads.map(read_all, calls):
            # 0.0: it disappeared between the listing and the look.
            yield from (item for item in found if item.touched)


def _artifact(root: Path, kind: str, entry: "os.DirEntry[str]") -> list[Item]:
    """The artifact of one entry and the temporary folders of its shards; or what else the entry is."""
    if not entry.is_dir(follow_symlinks=False):
        return [_whole(root, OTHER, entry)]
    if _IS_TEMPORARY.fullmatch(entry.name):
        return [_whole(root, TEMPORARY, entry)]
    path = f"{kind}/{entry.name}"
    if whole := _published(path, entry.path):
        return [whole]
    parts = [(each, _published(path, each.path)) for each in _entries(entry.path)]
    shards = [part for _, part in parts if part]
    beside = [
        _whole(root, TEMPORARY if _IS_TEMPORARY.fullmatch(each.name) else OTHER, each)
        for each, part in parts
        if not part
    ]
    if not shards:
        begun = any(each.kind == TEMPORARY for each in beside)
        return beside if begun else [_whole(root, OTHER, entry)]
    united = Item(
        kind,
        path,
        sum(shard.bytes for shard in shards),
        max(shard.created for shard in shards),
        # A shard that is being written is a change of the artifact.
        max(each.touched for each in (*shards, *beside)),
        tuple(dict.fromkeys(parent for shard in shards for parent in shard.parents)),
    )
    return [united, *beside]


def _published(path: str, folder: str) -> Item | None:
    """One published folder as its manifest says; None where there is none, or none that can be read."""
    manifest = read_loosely(f"{folder}/{MANIFEST}")
    if manifest is None:
        return None
    try:
        whole, own = os.stat(folder), os.stat(f"{folder}/{MANIFEST}")
        return Item(
            path.partition("/")[0],
            path,
            file_bytes(manifest) + own.st_size,
            datetime.fromisoformat(manifest["created"]).timestamp(),
            max(whole.st_mtime, own.st_mtime),
            tuple(map(str, manifest["parents"])),
        )
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _in_folder(root: Path, kind: str, entry: "os.DirEntry[str]") -> Item:
    return _whole(root, TEMPORARY if entry.name.startswith(".") else kind, entry)


def _whole(root: Path, kind: str, entry: "os.DirEntry[str]") -> Item:
    size, touched = tree(entry.path)
    set_aside_ns = entry.name.rpartition("-")[2]
    if kind == DAMAGED and touched and set_aside_ns.isdecimal():
        # A rename does not change the files: when it was set aside stands in its name.
        touched = max(touched, int(set_aside_ns) / 1e9)
    return Item(kind, Path(entry.path).relative_to(root).as_posix(), size, touched, touched)


def _entries(folder: Path | str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
