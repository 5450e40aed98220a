"""The files that an export is made of, and how one is copied: hashed on the way, whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from saeuniv.store import ArtifactError
from saeuniv.store.manifest import MANIFEST, read_manifest
from saeuniv.sweep.sharing.contract import FileOf, part_of

_CHUNK = 1 << 22

Copied = Callable[[int], None]
"""Told how many bytes more have been copied."""


class Piece(NamedTuple):
    """One file of an export."""

    path: str
    """Relative to the folder."""

    kind: str
    """dictionaries, latents, results or card."""

    n_bytes: int
    source: Path | None
    """The file that is copied; None: `content` is written."""

    content: bytes = b""
    sha256: str | None = None
    """As its manifest has it; None where nothing says it yet."""


def written(path: str, kind: str, text: str) -> Piece:
    """A file that is made for the export."""
    content = text.encode()
    return Piece(path, kind, len(content), None, content)


def copied(path: str, kind: str, source: Path) -> Piece:
    """A file that is there."""
    return Piece(path, kind, source.stat().st_size, source)


def stored(folder: Path, below: str, kind: str) -> tuple[Piece, ...]:
    """The files of an artifact and its manifest, `below` a folder of the export.

    Raises:
        ArtifactError: there is no readable manifest.
    """
    files: Mapping[str, Mapping[str, object]] = read_manifest(folder)["files"]  # pyright: ignore[reportAssignmentType]
    pieces = [
        Piece(f"{below}/{name}", kind, int(str(each["bytes"])), folder / name, sha256=str(each["sha256"]))
        for name, each in files.items()
    ]
    return (*pieces, copied(f"{below}/{MANIFEST}", kind, folder / MANIFEST))


def copy(source: Path, target: Path, expected: FileOf | None, told: Copied) -> FileOf:
    """Copy a file; what it is known to be is checked before it gets its name.

    Raises:
        ArtifactError: it is not what was expected.
    """
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(part_of(target.name))
    try:
        with source.open("rb") as read, part.open("wb") as write:
            while chunk := read.read(_CHUNK):
                digest.update(chunk)
                write.write(chunk)
                size += len(chunk)
                told(len(chunk))
            write.flush()
            os.fsync(write.fileno())
        found = FileOf(digest.hexdigest(), size)
        if expected is not None and found != expected:
            raise ArtifactError(
                f"{source}: expected {expected.bytes} bytes with sha256 {expected.sha256}, got {size} with "
                f"{found.sha256}: it is damaged."
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return found


def write(content: bytes, target: Path, told: Copied) -> FileOf:
    """Write a file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(part_of(target.name))
    try:
        part.write_bytes(content)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    told(len(content))
    return FileOf(hashlib.sha256(content).hexdigest(), len(content))
