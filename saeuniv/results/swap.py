"""One folder put in the place of another: a reader, also after a kill, finds the old or the new."""

import errno
import logging
import os
import shutil
import time
import uuid
from pathlib import Path

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
# Two writers meet at most a few times; more means that something else holds the folder.
_ATTEMPTS = 10
# A temporary folder older than this belongs to a writer that was killed, not to one at work.
_ABANDONED_AFTER_SECONDS = 3600.0

_log = logging.getLogger(__name__)


def new_sibling(target: Path) -> Path:
    """A new empty folder beside `target`, to be filled and given to `swap_in`."""
    new = target.with_name(f".{target.name}-new-{uuid.uuid4().hex}")
    new.mkdir(parents=True)
    return new


def swap_in(new: Path, target: Path) -> None:
    """Makes `new` the folder `target`; what was there is removed once `new` is in place.

    There is no portable exchange of two folders, so there are two renames; after a kill between them
    `asides` finds the old folder and `recover` puts it back.

    Raises:
        OSError: where renaming fails; the old folder is put back, or stays readable aside.
    """
    for path in (*sorted(p for p in new.rglob("*") if p.is_file()), new):
        fsync(path)
    _swap(new, target)
    fsync(target.parent)
    _remove_leftovers(target)


def asides(target: Path) -> list[Path]:
    """Old contents of `target` left by a writer that was killed between its two renames, newest first."""
    return sorted(target.parent.glob(f".{target.name}-old-*"), key=_modified, reverse=True)


def recover(target: Path) -> None:
    """Puts the newest of `asides` back where `target` is missing."""
    found = asides(target)
    if found and not target.exists():
        try:
            os.replace(found[0], target)
        except OSError as error:
            # It belonged to a writer at work, which has put it back or its own results in place.
            if error.errno not in (errno.ENOENT, *_OCCUPIED):
                raise


def fsync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(new: Path, target: Path) -> None:
    """Renames `new` to `target`, setting what is there aside; restores it where that fails."""
    for _ in range(_ATTEMPTS):
        aside = target.with_name(f".{target.name}-old-{uuid.uuid4().hex}")
        try:
            os.replace(target, aside)
        except FileNotFoundError:
            aside = None
        try:
            os.replace(new, target)
        except OSError as error:
            _put_back(aside, target)
            # Another writer's results arrived between the two renames; they go aside in the next round.
            if error.errno not in _OCCUPIED:
                raise
        else:
            return
    raise OSError(errno.ENOTEMPTY, "other writers kept replacing it; is the run started twice?", str(target))


def _put_back(aside: Path | None, target: Path) -> None:
    if aside is None:
        return
    try:
        os.replace(aside, target)
    except OSError as error:
        _log.warning("%s: could not be renamed to %s (%s); it stays readable.", aside, target, error)


def _remove_leftovers(target: Path) -> None:
    for path in asides(target):
        shutil.rmtree(path, ignore_errors=True)
    for path in target.parent.glob(f".{target.name}-new-*"):
        if time.time() - _modified(path) > _ABANDONED_AFTER_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _modified(path: Path) -> float:
    """Seconds since the epoch; 0 for what another writer has meanwhile renamed or removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
