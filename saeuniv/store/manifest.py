"""manifest.json: what an artifact is, what it consists of, and what made it."""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

from saeuniv.config import canonical_json
from saeuniv.store.artifacts import FORMAT, Artifact, ArtifactError
from saeuniv.store.processes import host

MANIFEST = "manifest.json"

# Packages whose version may change a number; recorded, never part of a key.
_PACKAGES = (
    "saeuniv",
    "torch",
    "numpy",
    "scipy",
    "numba",
    "transformers",
    "tokenizers",
    "transformer-lens",
    "eai-sparsify",
    "datasets",
    "safetensors",
)


class FileRecord(TypedDict):
    """One file of an artifact."""

    sha256: str
    bytes: int


class Manifest(TypedDict):
    """The content of manifest.json; `sha256` is that of the canonical JSON of all other fields."""

    kind: str
    key: str
    shard: int | None
    format: int
    spec: dict[str, object]
    parents: list[str]
    files: dict[str, FileRecord]
    versions: dict[str, str]
    git_commit: str | None
    host: str
    seconds: float
    created: str
    sha256: str


def write_manifest(folder: Path, artifact: Artifact, *, seconds: float) -> None:
    """Hash every file of `folder` and describe it in manifest.json.

    Raises:
        ValueError: if the folder has a manifest.json already.
    """
    _require_none(folder, artifact)
    manifest = Manifest(
        kind=artifact.kind.value,
        key=artifact.key,
        shard=artifact.shard,
        format=FORMAT[artifact.kind],
        spec=dict(artifact.spec),
        parents=list(artifact.parents),
        files={name: _record(folder / name) for name in file_names(folder)},
        versions=versions(),
        git_commit=git_commit(),
        host=host(),
        seconds=round(seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256="",
    )
    manifest["sha256"] = _sha256_of(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def adopt_manifest(folder: Path, artifact: Artifact, manifest: Path) -> None:
    """Copy the manifest of an artifact made elsewhere beside its files, which must be those it names.

    Raises:
        ArtifactError: it is that of another artifact, or another file is there than it says.
        ValueError: if the folder has a manifest.json already.
    """
    _require_none(folder, artifact)
    shutil.copyfile(manifest, folder / MANIFEST)
    if faults := list(damage(folder, artifact)):
        raise ArtifactError(f"{artifact.path}: expected what {manifest} says. {' '.join(faults)}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a published folder.

    Raises:
        ArtifactError: if it is missing, not readable, or not what was written.
    """
    path = folder / MANIFEST
    try:
        manifest = cast(Manifest, json.loads(path.read_bytes()))
        expected, got = manifest["sha256"], _sha256_of(manifest)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: expected a published artifact, found none.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: expected a manifest, got something else ({error!r}).") from error
    if got != expected:
        raise ArtifactError(f"{path}: expected sha256 {expected}, got {got}.")
    return manifest


def damage(folder: Path, artifact: Artifact) -> Iterator[str]:
    """A sentence for everything in which `folder` differs from what was published; reads every file."""
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        yield str(error)
        return
    if (manifest["kind"], manifest["key"], manifest["shard"]) != (
        artifact.kind.value,
        artifact.key,
        artifact.shard,
    ):
        yield f"{MANIFEST}: expected {artifact.path}, got {manifest['kind']}/{manifest['key']}."
    recorded, present = manifest["files"], set(file_names(folder))
    for name in sorted(present - set(recorded)):
        yield f"{name}: expected no such file, found one."
    for name, expected in recorded.items():
        if name not in present:
            yield f"{name}: expected {expected['bytes']} bytes, got no such file."
        elif (size := (folder / name).stat().st_size) != expected["bytes"]:
            yield f"{name}: expected {expected['bytes']} bytes, got {size}."
        elif (got := sha256_of_file(folder / name)) != expected["sha256"]:
            yield f"{name}: expected sha256 {expected['sha256']}, got {got}."


def file_names(folder: Path) -> list[str]:
    """Every file below `folder` but its manifest, as sorted relative paths."""
    names = (each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir())
    return sorted(name for name in names if name != MANIFEST)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_none(folder: Path, artifact: Artifact) -> None:
    if (folder / MANIFEST).exists():
        raise ValueError(f"{artifact.path}: expected files of the artifact only, got {MANIFEST}. Rename it.")


def _record(path: Path) -> FileRecord:
    return FileRecord(sha256=sha256_of_file(path), bytes=path.stat().st_size)


def _sha256_of(manifest: Manifest) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Of Python, and of every package that may change a number and is installed here."""
    # Asked of the package metadata: importing torch to learn its version costs seconds.
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@cache
def git_commit() -> str | None:
    """The commit of the checkout this file belongs to; None where it was installed from a wheel."""
    package = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(package), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    root, commit = output.splitlines()
    # A virtual environment may lie inside the repository of another project.
    return commit if Path(root).resolve() == package.parent else None
