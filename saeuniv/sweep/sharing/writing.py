"""An export written: file by file, each whole or not at all, and export.json when all are there."""

import os
from datetime import UTC, datetime
from pathlib import Path

from saeuniv.store.manifest import git_commit, sha256_of_file, versions
from saeuniv.sweep.sharing.contract import EXPORT, UNFINISHED, Contract, FileOf
from saeuniv.sweep.sharing.pieces import Copied, Piece, copy, write
from saeuniv.sweep.sharing.plan import Export


def write_export(export: Export, target: Path, told: Copied) -> Contract:
    """Write what was planned; what an error or a kill leaves has no export.json, and is continued next time.

    Raises:
        ArtifactError: an artifact is damaged.
        OSError: it cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    unfinished = target / UNFINISHED
    unfinished.touch()
    files = {piece.path: _write(piece, target / piece.path, told) for piece in export.pieces}
    contract = Contract(
        name=export.name,
        kinds=export.kinds,
        with_text=export.with_text,
        license=export.license,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        git_commit=git_commit(),
        files=files,
        artifacts=export.artifacts,
        published=tuple(export.published),
        left_out=tuple(export.left_out),
        remarks=tuple(export.remarks),
    )
    unfinished.write_text(contract.text(), encoding="utf-8")
    os.replace(unfinished, target / EXPORT)
    return contract


def _write(piece: Piece, target: Path, told: Copied) -> FileOf:
    if piece.source is None:
        return write(piece.content, target, told)
    if piece.sha256 is None:
        return copy(piece.source, target, None, told)
    expected = FileOf(piece.sha256, piece.n_bytes)
    if _is_there(target, expected):
        told(expected.bytes)
        return expected
    return copy(piece.source, target, expected, told)


def _is_there(target: Path, expected: FileOf) -> bool:
    """Whether an export that was killed got as far as this file."""
    if not target.is_file() or target.stat().st_size != expected.bytes:
        return False
    return sha256_of_file(target) == expected.sha256
