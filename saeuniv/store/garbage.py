"""What of the store nobody will miss: leftovers, old logs, and artifacts that no results mention."""

import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from saeuniv.store.artifacts import Kind
from saeuniv.store.processes import has_died, host
from saeuniv.store.scan import (
    CHECKPOINTS,
    DAMAGED,
    JOBS,
    KINDS,
    LOCKS,
    PROBE,
    SUBMITIT,
    TEMPORARY,
    Item,
    scan,
)

ARTIFACTS = frozenset(kind.value for kind in Kind)

HOUR_S = 3600.0
"""What has changed within the last hour may be in the making: it is never garbage."""

_DAY_S = 86400.0

# Whether a process of another machine lives is not known from here: its leftovers go when no job of ours
# could still be at work in them. A training may leave its folder untouched for days.
_ELSEWHERE_DAYS = 7.0

_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
_WORD = re.compile(r"[\w.-]+")
_TEMPORARY_NAME = re.compile(r"\.[^.]+\.(?P<host>.+)\.(?P<pid>[0-9]+)\.[0-9a-f]+\.tmp")
_SUMMARY, _SWEEP = "summary.json", "sweep.json"


class Garbage(NamedTuple):
    """Something in the store that may go."""

    kind: str
    """One of `saeuniv.store.scan.KINDS`."""

    path: str
    """Relative to the store."""

    bytes: int
    touched: float
    """Its last change, in seconds since the epoch."""

    reason: str


def mentioned(folders: Sequence[Path]) -> frozenset[str]:
    """The keys of all artifacts that the sweeps below these folders name, in results or in plans.

    Raises:
        ValueError: a folder holds no results (a misspelt one would have everything removed), or a file
            that cannot be read.
    """
    keys: set[str] = set()
    for folder in folders:
        found = [
            Path(parent, name)
            for parent, _, names in os.walk(folder)
            for name in (_SUMMARY, _SWEEP)
            if name in names
        ]
        if not any(each.name == _SUMMARY for each in found):
            raise ValueError(
                f"--unreferenced {folder}: expected a folder with results of sweeps, found no {_SUMMARY} "
                f"below it. Name the folders whose results are to be kept, for example multirun."
            )
        for path in found:
            try:
                keys.update(_KEY.findall(path.read_text("utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: expected a readable file, got {error}. Repair it.") from error
    return frozenset(keys)


def collect(
    root: Path,
    *,
    keep_days: float,
    is_live: Callable[[str], bool],
    is_done: Callable[[str], bool],
    referenced: Collection[str] | None = None,
) -> tuple[Garbage, ...]:
    """What may go; removes nothing. What has changed within the last hour is never among it.

    Args:
        root: the store.
        keep_days: what may still be wanted (set aside, logs, artifacts) goes when it is older than this.
        is_live: whether a task (by its key) is claimed for a job that is queued or runs; True where that is
            not known.
        is_done: whether a task (by its key) is known to have made all that it makes.
        referenced: keys of artifacts to keep (see `mentioned`). They and what is younger than `keep_days`
            stay, with all that those are made from; every other artifact goes. None: no artifact goes.

    Raises:
        ValueError: `keep_days` is not a number of days.
    """
    if not (math.isfinite(keep_days) and keep_days >= 0):
        raise ValueError(f"--keep-days {keep_days}: expected a number of days, 0 or more.")
    now = time.time()
    items = _Items(scan(root), now, keep_days)
    jobs, kept = _jobs(root, items, is_live)
    found = [*jobs]
    found += [
        _garbage(each, "left over by a process that died")
        for each in items.all(TEMPORARY)
        if _is_left_over(each, items)
    ]
    found += [_garbage(each, "damaged; was made again") for each in items.old(DAMAGED)]
    found += [
        _garbage(each, "logs of a job that has ended")
        for each in items.old(SUBMITIT)
        if Path(each.path).name not in kept.words
    ]
    for each in items.all(CHECKPOINTS):
        key = Path(each.path).name  # as claims, they are named by their task
        if is_done(key):
            found.append(_garbage(each, "of a training that is finished"))
        elif items.is_old(each) and key not in kept.keys:
            found.append(_garbage(each, "of a training that nobody went on with"))
    if referenced is not None:
        found += _unreferenced(items, {*referenced, *kept.keys})
    found = [each for each in found if now - each.touched > HOUR_S]
    # What is made from others goes before them: cut short, nothing is left without its parents.
    return tuple(sorted(found, key=lambda each: (-KINDS.index(each.kind), each.path)))


class _Items:
    """What lies in the store, by kind and age."""

    def __init__(self, items: Iterable[Item], now: float, keep_days: float) -> None:
        self._by_kind: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            self._by_kind[item.kind].append(item)
        self._now = now
        self._keep_days = keep_days

    def all(self, kind: str) -> list[Item]:
        return self._by_kind[kind]

    def old(self, kind: str) -> list[Item]:
        return [item for item in self._by_kind[kind] if self.is_old(item)]

    def is_old(self, item: Item) -> bool:
        return self.days(item) > self._keep_days

    def days(self, item: Item) -> float:
        return (self._now - item.touched) / _DAY_S

    def artifacts(self) -> Iterator[Item]:
        return (item for kind in ARTIFACTS for item in self._by_kind[kind])


class _Kept(NamedTuple):
    """What the files of jobs that stay speak of."""

    keys: frozenset[str]
    """Of artifacts and tasks."""

    words: frozenset[str]
    """Anything that may be the token of an array or the name of a log folder."""


def _jobs(root: Path, items: _Items, is_live: Callable[[str], bool]) -> tuple[list[Garbage], _Kept]:
    """What of jobs/ may go, and what the rest speaks of; see `saeuniv.sweep.claims` for the files."""
    claims = {each for each in items.all(JOBS) if Path(each.path).suffixes == [".json"]}
    ended = {each for each in claims if items.is_old(each) and not is_live(_stem(each))}
    kept = _read(root, claims - ended)
    named = kept.keys | kept.words
    gone = [_garbage(each, "claim of a job that has ended") for each in ended]
    for each in items.old(JOBS):
        # What lies beside a claim goes by its key, the note of an array by the token that its claims name.
        beside = len(Path(each.path).suffixes) > 1 and each.path.endswith(".json")
        if beside and _stem(each) not in named:
            gone.append(_garbage(each, "of a job that has ended"))
    paths = {each.path for each in gone}
    return gone, _read(root, (each for each in items.all(JOBS) if each.path not in paths))


def _read(root: Path, jobs: Iterable[Item]) -> _Kept:
    """Read as text, whatever their form: a name too many keeps something, one too few loses it."""
    keys: set[str] = set()
    words: set[str] = set()
    for each in jobs:
        keys.add(_stem(each))
        try:
            text = (root / each.path).read_text("utf-8", errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            continue
        keys.update(_KEY.findall(text))
        words.update(_WORD.findall(text))
    return _Kept(frozenset(keys), frozenset(words))


def _stem(job: Item) -> str:
    return Path(job.path).name.partition(".")[0]


def _is_left_over(item: Item, items: _Items) -> bool:
    folder, _, name = item.path.rpartition("/")
    if folder in (LOCKS, JOBS):
        return (
            True  # a living holder touches its lock every ten seconds; a file of a job is written in no time
        )
    made_by = _TEMPORARY_NAME.fullmatch(name)
    if made_by is None:
        return folder == PROBE and items.is_old(item)
    if made_by["host"] == host():
        return has_died(host(), int(made_by["pid"]))
    return items.is_old(item) and items.days(item) > _ELSEWHERE_DAYS


def _unreferenced(items: _Items, keep: set[str]) -> Iterator[Garbage]:
    artifacts = list(items.artifacts())
    parents = {_key(item.path): [_key(parent) for parent in item.parents] for item in artifacts}
    reached = list(keep | {_key(item.path) for item in artifacts if not items.is_old(item)})
    keep = set(reached)
    while reached:
        new = [parent for parent in parents.get(reached.pop(), ()) if parent not in keep]
        keep.update(new)
        reached.extend(new)
    for item in artifacts:
        if _key(item.path) not in keep:
            yield _garbage(item, "mentioned by no results")


def _key(path: str) -> str:
    """`latents/0123456789abcdef/00003` -> its second part; keys are as good as unique over the kinds."""
    return path.split("/")[1]


def _garbage(item: Item, reason: str) -> Garbage:
    return Garbage(item.kind, item.path, item.bytes, item.touched, reason)
