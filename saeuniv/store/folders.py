"""Where artifacts live: published by one rename, verified before they are read."""

import errno
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from saeuniv.store.artifacts import Artifact, ArtifactError
from saeuniv.store.faults import fault
from saeuniv.store.locks import lock
from saeuniv.store.manifest import (
    MANIFEST,
    adopt_manifest,
    damage,
    file_names,
    read_manifest,
    write_manifest,
)
from saeuniv.store.processes import has_died, host

_log = logging.getLogger(__name__)

_PUBLISH_ATTEMPTS = 3

# (size, time of change, inode) of every file
Stamp = tuple[tuple[str, int, int, int], ...]

# What this process has verified: folder -> how its files looked then. Hashing 40 GB once is enough.
_verified: dict[Path, Stamp] = {}


@dataclass(frozen=True)
class Store:
    """The folder that holds all artifacts; may be shared by any number of processes and machines."""

    root: Path

    def folder(self, artifact: Artifact) -> Path:
        """Where the artifact is or would be."""
        return self.root / artifact.path

    def exists(self, artifact: Artifact) -> bool:
        """True if it has been published; says nothing about damage (see `valid`)."""
        return (self.folder(artifact) / MANIFEST).is_file()

    @contextmanager
    def publish(
        self, artifact: Artifact, *, seconds: float = 0.0, manifest: Path | None = None
    ) -> Generator[Path, None, None]:
        """A temporary folder to write the files in; it becomes the artifact when the body ends.

        If the body raises, nothing is published and the temporary folder is removed. If another writer
        was faster, theirs is verified and kept: two writers are harmless. `seconds` were spent on the
        artifact before the body began; the manifest records them with those of the body. Where the
        artifact was made elsewhere, `manifest` is the file that says so, and is kept as it is.

        Raises:
            ArtifactError: if what stands in the way is damaged and cannot be set aside, or if the body wrote
                anything but what `manifest` says.
            ValueError: if the body wrote a file named manifest.json.
        """
        folder = self.folder(artifact)
        fault("before_publish", artifact.kind)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder.parent)
        temporary = _new_temporary(folder)
        started = time.monotonic()
        try:
            yield temporary
            fault("files_written", artifact.kind)
            if manifest is None:
                write_manifest(temporary, artifact, seconds=seconds + time.monotonic() - started)
            else:
                adopt_manifest(temporary, artifact, manifest)
            fault("manifest_written", artifact.kind)
            _sync(temporary)
            fault("before_rename", artifact.kind)
            self._settle(temporary, artifact)
            fault("after_rename", artifact.kind)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Generator[Path, None, None]:
        """A temporary folder in the store for work that is published later."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = _new_temporary(self.root / "scratch")
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def checkpoint(self, key: str) -> Path:
        """Folder for what a task keeps in case it is killed; the task removes it when it has published."""
        return self.root / "checkpoints" / key

    def remove_scratch(self) -> None:
        """Remove the scratch folders of processes of this machine that died."""
        _remove_leftovers(self.root)

    def open(self, artifact: Artifact) -> Path:
        """Its folder, after the sha256 of every file has been verified (once per process).

        Raises:
            ArtifactError: if it does not exist or is damaged, with every file that is not as published.
        """
        if not self.exists(artifact):
            raise ArtifactError(f"{artifact.path}: expected a published artifact in {self.root}, found none.")
        if faults := self._faults(artifact):
            raise ArtifactError(
                f"{artifact.path} in {self.root} is damaged. {' '.join(faults)} "
                f"Run the same command again: it is set aside and made again."
            )
        return self.folder(artifact)

    def valid(self, artifact: Artifact) -> bool:
        """True if it exists and is as published. What is damaged is named and set aside, to be made again."""
        if not self.exists(artifact):
            return False
        seen = _inode(self.folder(artifact))
        faults = self._faults(artifact)
        if faults:
            _log.warning("%s in %s is damaged. %s", artifact.path, self.root, " ".join(faults))
            self._set_aside(artifact, seen)
        return not faults

    def digest(self, artifact: Artifact) -> str:
        """sha256 over the names and hashes of its files, as recorded: equal for equal bytes.

        Raises:
            ArtifactError: if there is no readable manifest.
        """
        files = read_manifest(self.folder(artifact))["files"]
        lines = (f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def lock(self, artifact: Artifact) -> AbstractContextManager[None]:
        """Hold this artifact's lock, after waiting for a living holder; then look again if it exists."""
        return lock(self.root / "locks" / f"{artifact.path.replace('/', '-')}.lock")

    def _faults(self, artifact: Artifact) -> list[str]:
        """What is not as published; reads every file, unless this process has and none has changed since."""
        folder = self.folder(artifact)
        try:
            stamp = _stamp(folder)
            if _verified.get(folder) == stamp:
                return []
            found = list(damage(folder, artifact))
        except FileNotFoundError as error:
            return [f"{error.filename}: expected a file, found it removed while it was verified."]
        if not found:
            _verified[folder] = stamp
        return found

    def _settle(self, temporary: Path, artifact: Artifact) -> None:
        """Rename into place; if something stands there, keep it when valid, set it aside when not."""
        folder = self.folder(artifact)
        for _ in range(_PUBLISH_ATTEMPTS):
            stamp = _stamp(temporary)
            try:
                temporary.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                _sync_folder(folder.parent)
                _verified[folder] = stamp
                return
            if self.valid(artifact):
                _log.info("%s: another writer was faster; theirs is used.", artifact.path)
                return
            if folder.exists() and not self.exists(artifact):
                self._set_aside(artifact, _inode(folder))
        raise ArtifactError(
            f"{artifact.path}: expected to publish it within {_PUBLISH_ATTEMPTS} attempts, but damaged "
            f"artifacts kept appearing in {folder}. Check that disk, then run again."
        )

    def _set_aside(self, artifact: Artifact, seen: int | None) -> None:
        """Move the folder with inode `seen` to `damaged/`; another one, published meanwhile, stays."""
        folder = self.folder(artifact)
        aside = self.root / "damaged" / f"{artifact.path.replace('/', '-')}-{time.time_ns()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        if seen is not None and _inode(folder) == seen:
            with suppress(FileNotFoundError):
                folder.rename(aside)
                _log.warning("%s: set aside in %s; it is made again.", artifact.path, aside)


def _new_temporary(folder: Path) -> Path:
    """An empty sibling of `folder` whose name says whose it is."""
    temporary = folder.with_name(f".{folder.name}.{host()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    return temporary


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of processes of this machine that died while they wrote."""
    for leftover in parent.glob(".*.tmp"):
        match leftover.name.removesuffix(".tmp").rsplit(".", 2):
            case [name, pid, _] if name.endswith(f".{host()}") and pid.isdecimal():
                if has_died(host(), int(pid)):
                    shutil.rmtree(leftover, ignore_errors=True)
            case _:
                continue


def _stamp(folder: Path) -> Stamp:
    stats = ((name, (folder / name).lstat()) for name in (MANIFEST, *file_names(folder)))
    return tuple((name, each.st_size, each.st_mtime_ns, each.st_ino) for name, each in stats)


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    """Have the disk hold every file before the rename says that it does, readable as folders are."""
    mode = folder.stat().st_mode & 0o666
    for parent, _, names in os.walk(folder):
        for name in names:
            # safetensors makes files that only their owner can read; a store may be shared.
            (Path(parent) / name).chmod(mode)
            with (Path(parent) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
