"""What an export holds, taken in: everything is verified before anything is placed."""

import os
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from saeuniv.adapters.checkpoints import tensor_shapes
from saeuniv.config import ConfigError
from saeuniv.results import load
from saeuniv.results.swap import new_sibling
from saeuniv.store import FORMAT, Artifact, ArtifactError, Kind, Store, artifact
from saeuniv.store.manifest import MANIFEST, Manifest, read_manifest, sha256_of_file
from saeuniv.sweep.sharing.contract import DICTIONARIES, RESULTS, Contract, read_contract, unsafe
from saeuniv.sweep.sharing.pieces import Copied, copy

_KINDS = (Kind.dictionaries, Kind.latents, Kind.tokens)


@dataclass
class Import:
    """What is to be placed."""

    source: Path
    contract: Contract
    sweep: Path
    """Folder of the sweep that results go to."""

    artifacts: dict[str, tuple[Artifact, Path]] = field(default_factory=dict[str, tuple[Artifact, Path]])
    """By path in the store, with the folder of the export."""

    results: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Files below the sweep, by comparison; those of the sweep itself under the empty name."""

    @property
    def stored_bytes(self) -> int:
        """Of what may go to the store."""
        files = self.contract.files.items()
        return sum(each.bytes for name, each in files if not name.startswith(f"{RESULTS}/"))

    @property
    def local(self) -> tuple[str, ...]:
        """Folders of dictionaries that no manifest names: they are read where they are (sae=local)."""
        known = {folder.relative_to(self.source).as_posix() for _, folder in self.artifacts.values()}
        folders = (
            name.rpartition("/")[0] for name in self.contract.files if name.startswith(f"{DICTIONARIES}/")
        )
        return tuple(each for each in dict.fromkeys(folders) if each not in known)

    def place(self, store: Store, told: Copied) -> tuple[int, int]:
        """Publish artifacts in the store and results below the sweep; returns how many were new.

        What is there already is kept. Each artifact, and each comparison, is there whole or not at all.

        Raises:
            ArtifactError: a file changed since it was verified.
            OSError: something cannot be written.
        """
        n_artifacts = 0
        for made, folder in self.artifacts.values():
            if store.valid(made):
                continue
            with store.publish(made, manifest=folder / MANIFEST) as target:
                for name in read_manifest(folder)["files"]:
                    self._copy(folder / name, target / name, told)
            n_artifacts += 1
        n_results = sum(self._place_results(name, told) for name in self.results if name)
        for path in self.results.get("", ()):
            # A table that is there is of more comparisons, or was made again; saeuniv report makes both.
            if not (self.sweep / path).exists():
                self._copy(self.source / RESULTS / path, self.sweep / path, told)
        return n_artifacts, n_results

    def _place_results(self, comparison: str, told: Copied) -> bool:
        target = self.sweep / comparison / "results"
        if target.exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        new = new_sibling(target)
        try:
            for path in self.results[comparison]:
                self._copy(self.source / RESULTS / path, new / Path(path).name, told)
            os.rename(new, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return True

    def _copy(self, source: Path, target: Path, told: Copied) -> None:
        copy(source, target, self.contract.files[source.relative_to(self.source).as_posix()], told)


def plan_import(source: Path, multirun: Path, *, name: str | None, told: Copied) -> Import:
    """What the export in `source` holds, every file of it verified; nothing is written.

    `told` hears how many bytes more have been read. `name` is that of the sweep here, as exported where it is
    None.

    Raises:
        ConfigError: see `read_contract`; files that are missing, links, damaged or not what their names say;
            artifacts of another format or of another key; other results where these are to go. All faults
            at once.
    """
    contract = read_contract(source)
    if name is not None and (unsafe(name) or "/" in name or name.startswith(".")):
        raise ConfigError(
            f"--name {name}: expected the name of a sweep, got another. Choose letters and digits."
        )
    faults = [*_file_faults(source, contract, told)]
    if faults:
        raise ConfigError(*faults)
    found = Import(source, contract, multirun / (name or contract.name))
    for path, folder in contract.artifacts.items():
        try:
            found.artifacts[path] = (_artifact(path, source / folder, folder, contract), source / folder)
        except (ArtifactError, ValueError, KeyError, TypeError) as error:
            faults.append(str(error))
    found.results |= _results(contract)
    faults += _results_faults(found)
    if faults:
        raise ConfigError(*faults)
    return found


def _file_faults(source: Path, contract: Contract, told: Copied) -> Iterator[str]:
    for name, expected in contract.files.items():
        path = source / name
        above = [source.joinpath(*Path(name).parts[:n]) for n in range(1, len(Path(name).parts) + 1)]
        if any(each.is_symlink() for each in above):
            yield f"{path}: expected a file, found a link. Fetch the export again."
        elif not path.is_file():
            yield f"{path}: expected a file, found none. Fetch the export again."
        elif (size := path.stat().st_size) != expected.bytes:
            yield f"{path}: expected {expected.bytes} bytes, got {size}. Fetch it again."
        else:
            told(size)
            if (got := sha256_of_file(path)) != expected.sha256:
                yield f"{path}: expected sha256 {expected.sha256}, got {got}. Fetch it again."
            else:
                yield from _content_faults(path)


def _content_faults(path: Path) -> Iterator[str]:
    """What is no such file as its name says, or would be unpickled."""
    try:
        if path.suffix == ".safetensors":
            tensor_shapes(path)
        elif path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for name in arrays.files:
                    arrays[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        yield f"{path}: expected a file that is safe to read, got another ({error})."


def _artifact(path: str, folder: Path, below: str, contract: Contract) -> Artifact:
    """The artifact that the manifest in a folder describes.

    Raises:
        ArtifactError: it is not the one that export.json names, of another format, or has other files.
    """
    if f"{below}/{MANIFEST}" not in contract.files:
        raise ArtifactError(f"{folder}: expected {MANIFEST} among the files of the export, found none.")
    manifest = read_manifest(folder)
    kind = next((each for each in _KINDS if each.value == manifest["kind"]), None)
    if kind is None:
        raise ArtifactError(f"{folder}: expected {', '.join(each.value for each in _KINDS)}, got another.")
    if manifest["format"] != FORMAT[kind]:
        raise ArtifactError(
            f"{folder}: expected {kind.value} of format {FORMAT[kind]}, got {manifest['format']!r}. Read it "
            f"with the version of saeuniv that made it ({manifest['versions'].get('saeuniv', 'unknown')})."
        )
    made = artifact(kind, manifest["spec"], tuple(manifest["parents"]), manifest["shard"])
    if (made.path, manifest["key"]) != (path, made.key):
        raise ArtifactError(f"{folder}: expected {path}, got the manifest of {made.path}.")
    _require_files(folder, below, manifest, contract)
    return made


def _require_files(folder: Path, below: str, manifest: Manifest, contract: Contract) -> None:
    there = {
        name.removeprefix(f"{below}/"): about._asdict()
        for name, about in contract.files.items()
        if name.startswith(f"{below}/") and name != f"{below}/{MANIFEST}"
    }
    if there != manifest["files"]:
        raise ArtifactError(
            f"{folder}: expected the files of its manifest ({', '.join(manifest['files'])}) as they were "
            f"made, got others ({', '.join(there)})."
        )


def _results(contract: Contract) -> Mapping[str, tuple[str, ...]]:
    """Files below results/, by comparison."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in contract.files:
        top, _, below = name.partition("/")
        if top == RESULTS and below:
            found[below.split("/")[0] if "/" in below else ""].append(below)
    return {name: tuple(paths) for name, paths in found.items()}


def _results_faults(found: Import) -> Iterator[str]:
    for comparison, paths in found.results.items():
        if not comparison:
            continue
        if any(len(path.split("/")) != 3 or path.split("/")[1] != RESULTS for path in paths):
            yield f"{found.source}: expected results/{comparison}/results/<file>, got other places."
            continue
        try:
            load(found.source / RESULTS / comparison)
        except ValueError as error:
            yield str(error)
        target = found.sweep / comparison / RESULTS
        if target.exists() and not _equal(found, paths):
            yield (
                f"{target}: expected nothing, or these very results, found others. Import under another "
                f"name: --name NAME."
            )


def _equal(found: Import, paths: tuple[str, ...]) -> bool:
    """Whether the numbers that are there are these; pages and figures may have been made again."""
    tables = [path for path in paths if path.endswith((".csv", ".npz", "summary.json", "config.yaml"))]
    return all(
        (found.sweep / path).is_file()
        and sha256_of_file(found.sweep / path) == found.contract.files[f"{RESULTS}/{path}"].sha256
        for path in tables
    )
