"""An export written: file by file, each whole or not at all, and export.json when all are there."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from saeuniv.store.manifest import git_commit, versions
from saeuniv.store.text import write_text
from saeuniv.sweep.sharing.contract import EXPORT, Contract, FileOf
from saeuniv.sweep.sharing.pieces import Copied, Piece, copy, write
from saeuniv.sweep.sharing.plan import Export


def write_export(export: Export, target: Path, told: Copied) -> Contract:
    """Write what was planned; what an error leaves is removed, and a kill leaves no export.json.

    Raises:
        ArtifactError: an artifact is damaged.
        OSError: it cannot be written.
    """
    there_was = target.is_dir()
    target.mkdir(parents=True, exist_ok=True)
    try:
        files = {piece.path: _write(piece, target, told) for piece in export.pieces}
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
        write_text(target / EXPORT, contract.text())
    except BaseException:
        # Nothing was in it before.
        for path in target.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not there_was:
            target.rmdir()
        raise
    return contract


def _write(piece: Piece, target: Path, told: Copied) -> FileOf:
    if piece.source is None:
        return write(piece.content, target / piece.path, told)
    expected = FileOf(piece.sha256, piece.n_bytes) if piece.sha256 else None
    return copy(piece.source, target / piece.path, expected, told)
