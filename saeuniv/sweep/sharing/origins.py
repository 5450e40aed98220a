"""Dictionaries that were not trained here, found again where results say that they come from.

Their keys are hashes of what they are (repository, commit and folder, or the bytes of their files): where a
source gives a key that latents name, it is that dictionary and no other.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.formats import FORMATS, Entry, Files, Format
from saeuniv.adapters.hub import HubFolder
from saeuniv.config import Processing
from saeuniv.store import Kind, artifact_key
from saeuniv.store.manifest import sha256_of_file
from saeuniv.sweep.sharing.used import DICTIONARIES, Used

# Names of what was read before there were several formats say none.
_FIRST = "sparsify"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Origin(NamedTuple):
    """Where the files of a dictionary are."""

    form: str
    """The name of its format."""

    repository: str
    """Empty for a folder of this machine."""

    commit: str
    folder: str
    """Within the repository, or of this machine."""

    files: Mapping[str, Path]
    """By their names within `folder`."""

    def hashes(self) -> dict[str, str]:
        """The sha256 of each file; a large file of the hub's cache is named by it."""
        return {name: _sha256(path) for name, path in self.files.items()}


def origins(sources: Iterable[Used], wanted: Collection[str]) -> dict[str, Origin]:
    """The dictionaries with these keys that the sources have on this machine; no network is asked."""
    found: dict[str, Origin] = {}
    for used in dict.fromkeys(each for each in sources if each.role == DICTIONARIES):
        if wanted - found.keys():
            found |= {key: each for key, each in _origins(used) if key in wanted}
    return found


def _origins(used: Used) -> Iterator[tuple[str, Origin]]:
    source = _source(used)
    if source is None:
        return
    names = source.names()
    for form in FORMATS:
        for entry in _entries(form, source, names):
            paths = {name: source.cached(entry.path(name)) for name in entry.files}
            files = {name: path for name, path in paths.items() if path is not None}
            if len(files) < len(entry.files):
                continue
            identity = source.identity(entry.folder, *entry.files)
            if isinstance(source, LocalFolder):
                place = ("", "", str(source.path / entry.folder))
            else:
                place = (used.repository, identity["commit"], entry.folder)
            for key in _keys(identity, form.name):
                yield key, Origin(form.name, *place, files)


def _entries(form: Format, source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    try:
        return form.find(source, names)
    except ValueError:
        return ()  # Damaged JSON is of no dictionary that latents were made with.


def _keys(identity: Mapping[str, str], form: str) -> Iterator[str]:
    """As `dictionary_facts` names it, read as it is or less the mean over dimensions."""
    named = {**identity, **({} if form == _FIRST else {"format": form})}
    for read in ({}, {"processing": Processing.tl_compat.value}):
        yield artifact_key(Kind.dictionaries, {**named, **read})


def _source(used: Used) -> Files | None:
    if used.folder:
        path = Path(used.folder).expanduser()
        return LocalFolder(path, used.folder) if path.is_dir() else None
    source = HubFolder(used.repository, used.revision or "main", used.repository) if used.repository else None
    # Names come from the cache; a source without any would be asked for its commit over the network.
    return source if source and source.names() else None


def _sha256(path: Path) -> str:
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else sha256_of_file(path)
