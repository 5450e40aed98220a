"""Whether a folder can be a store: what its file system does, how much room it has, what time it has."""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from saeuniv.store import check_writable
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.check import Check

_MOUNTS = Path("/proc/self/mountinfo")

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs", "vfat", "exfat"})

_LITTLE_BYTES, _TOO_LITTLE_BYTES = 20e9, 1e9
_FEW_FILES = 100_000

# Locks are judged by the age of files, claims by their times: 60 s make a living holder look dead.
_WRONG_S, _REMARKABLE_S = 30.0, 2.0

_ELSEWHERE = "Choose another folder: store=... or SAEUNIV_STORE."


def storage(root: Path, *, on_cluster: bool) -> list[Check]:
    """Checks of the store's file system; what is written for them is removed again."""
    if reason := check_writable(root):
        return [Check("store", False, reason.partition(": ")[2] or reason, _ELSEWHERE)]
    place = root.absolute()
    while not place.exists():
        place = place.parent
    return [
        Check(
            "store", True, f"{root} is writable" if place == root.absolute() else f"{root} can be created", ""
        ),
        _semantics(place),
        _clock(place),
        _room(place),
        _file_system(place, on_cluster),
    ]


def clock_skew(folder: Path) -> float:
    """Seconds by which the file system's clock is ahead of this machine's, up to the call's duration.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = folder / f".clock.{secrets.token_hex(8)}"
    before = time.time()
    try:
        path.touch(exist_ok=False)
        return path.stat().st_mtime - (before + time.time()) / 2
    finally:
        path.unlink(missing_ok=True)


def file_system(path: Path) -> str | None:
    """The type of the file system that a path is on, as the kernel names it; None where it does not say."""
    try:
        lines = _MOUNTS.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, found = -1, None
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4].replace(r"\040", " "))
        # Of several mounts on one point the last is seen.
        if path.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), source.split()[0]
    return found


def _semantics(place: Path) -> Check:
    """What publishing, locks and claims rely on, tried out."""
    folder = place / f".doctor.{secrets.token_hex(8)}"
    name = "store semantics"
    try:
        folder.mkdir()
        faults = [said for trial in (_exclusive, _linked, _renamed, _synced) for said in trial(folder)]
    except OSError as error:
        return Check(name, False, f"writing in {place} failed: {error}", _ELSEWHERE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if faults:
        return Check(
            name, False, f"{place}: {'; '.join(faults)}", f"Artifacts may be lost there. {_ELSEWHERE}"
        )
    return Check(name, True, "exclusive creation, hard links and renames do what they should", "")


def _exclusive(folder: Path) -> Iterator[str]:
    def create() -> None:
        with (folder / "file").open("x"):
            pass

    create()
    yield from _must_fail(create, "a file can be created twice (locks do not hold)")


def _linked(folder: Path) -> Iterator[str]:
    def link() -> None:
        os.link(folder / "file", folder / "link")

    try:
        link()
    except OSError as error:
        yield f"no hard links (jobs cannot be claimed): {error.strerror}"
        return
    yield from _must_fail(link, "a file can be linked over another (claims do not hold)")


def _renamed(folder: Path) -> Iterator[str]:
    for name in ("old", "new"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)

    def rename() -> None:
        (folder / "new").rename(folder / "old")

    yield from _must_fail(rename, "a folder can be renamed over another (artifacts are overwritten)")


def _synced(folder: Path) -> Iterator[str]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        yield f"folders cannot be synchronised: {error.strerror}"
    finally:
        os.close(descriptor)


def _must_fail(action: Callable[[], None], otherwise: str) -> Iterator[str]:
    with suppress(OSError):
        action()
        yield otherwise


def _clock(place: Path) -> Check:
    skew = clock_skew(place)
    said = f"the store's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    remedy = "Have both set their clocks (chronyd, ntpd): the ages of locks and leftovers are judged by them."
    if abs(skew) > _REMARKABLE_S:
        return Check("clock", None if abs(skew) < _WRONG_S else False, said, remedy)
    return Check("clock", True, "the store and this machine agree on the time", "")


def _room(place: Path) -> Check:
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    said = f"{bytes_text(free)} free"
    remedy = "Free some: saeuniv store gc shows what may go."
    if disk.f_files and disk.f_favail < _FEW_FILES:
        return Check("disk", None, f"{said}, but only {disk.f_favail:,} more files", remedy)
    if free < _LITTLE_BYTES:
        return Check("disk", False if free < _TOO_LITTLE_BYTES else None, said, remedy)
    return Check("disk", True, said, "")


def _file_system(place: Path, on_cluster: bool) -> Check:
    kind = file_system(place)
    name, shared = "file system", "Set store=... or SAEUNIV_STORE to a folder that all nodes see."
    if kind is None:
        return Check(name, None, "this system does not say what the store is on", "")
    if kind in _IN_MEMORY:
        return Check(name, None, f"{kind}: the store is in memory and gone after a restart", shared)
    if on_cluster and place.resolve().is_relative_to("/tmp"):
        return Check(name, None, f"{kind}, below /tmp, which every node has its own of", shared)
    if on_cluster and kind in _LOCAL:
        return Check(
            name,
            None,
            f"{kind}: a disk of this machine, unless it is exported to the nodes",
            f"saeuniv doctor --job asks them. {shared}",
        )
    return Check(name, True, kind, "")
