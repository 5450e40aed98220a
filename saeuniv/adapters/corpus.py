"""Text as documents, and the split by document (no torch)."""

import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saeuniv.adapters.documents import Document, document, documents_of
from saeuniv.adapters.hub_text import HubText, hub_text
from saeuniv.adapters.records import SUFFIXES, TextFile, is_text
from saeuniv.adapters.stdlib_text import stdlib_sources, stdlib_texts
from saeuniv.config import Data, FileData, HubData, StdlibData, TextData


class Corpus(NamedTuple):
    """Distinct documents, split; both parts in the order of their sha256."""

    training: tuple[Document, ...]
    held_out: tuple[Document, ...]
    """Kept from all training; what is compared on."""

    sha256: str
    """Over the hashes of all documents in order: equal exactly when the set of texts is."""


def fingerprint(data: Data) -> str:
    """What stands for the text in a store key: a hash of the source files' bytes, parsing nothing.

    For the standard library the Python version enters too, because it decides how sources are parsed. Of
    a data set of the hub its commit and the names of the files: they need not be here yet.

    Raises:
        ValueError: the text is missing.
    """
    if isinstance(data, HubData):
        return hashlib.sha256("\0".join(map(str, _named(data))).encode()).hexdigest()
    digest = hashlib.sha256()
    if isinstance(data, StdlibData):
        digest.update(platform.python_version().encode())
        sources = stdlib_sources()
    else:
        sources = [(file.name, file.path) for file in text_files(data)]
    for name, path in sources:
        with path.open("rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_corpus(data: Data, hub: HubText | None = None) -> Corpus:
    """The documents of a text source, without duplicates, the first `held_out` of them held out.

    Documents stand in the order of sha256(text), so that the split depends on nothing else
    (docs/statistics.md A); the number held out is rounded, and at least one. With `max_documents` these
    are the first ones of the source. `hub`: the files of a data set of the hub, where they are chosen.

    Raises:
        ValueError: the text is missing, empty or not UTF-8, or a record is not as configured.
    """
    limit = data.max_documents if isinstance(data, FileData) else None
    distinct: dict[str, Document] = {}
    for each in _documents(data, hub):
        distinct.setdefault(each.sha256, each)
        if len(distinct) == limit:
            break
    if not distinct:
        raise ValueError(f"{where_of(data)}: expected text, got none.")
    documents = tuple(distinct[sha256] for sha256 in sorted(distinct))
    n_held_out = max(1, round(data.held_out * len(documents)))
    digest = hashlib.sha256("".join(each.sha256 for each in documents).encode())
    return Corpus(documents[n_held_out:], documents[:n_held_out], digest.hexdigest())


def text_files(data: Data) -> list[TextFile]:
    """The files of a text source on this machine, in the order of their names; a hub's are fetched.

    Raises:
        ValueError: there are none.
    """
    match data:
        case HubData():
            return hub_text(data).text_files()
        case TextData():
            return _local_files(data)
        case _:
            raise ValueError(f"data: expected stdlib, text or hub, got {type(data).__name__}.")


def where_of(data: Data) -> str:
    """The configuration key and value that name the text, for messages."""
    match data:
        case TextData():
            return f"data.path={data.path}"
        case HubData():
            return f"data.name={data.name}"
        case _:
            return "data=stdlib"


def _documents(data: Data, hub: HubText | None) -> Iterator[Document]:
    if isinstance(data, StdlibData):
        yield from (document(name, text) for name, text in stdlib_texts())
        return
    assert isinstance(data, FileData)
    for file in hub.text_files() if hub else text_files(data):
        yield from documents_of(file, data)


def _named(data: HubData) -> tuple[str, ...]:
    found = hub_text(data)
    return (found.repository, found.commit, *found.files)


def _local_files(data: TextData) -> list[TextFile]:
    root = Path(data.path).expanduser()
    if root.is_file():
        return [TextFile(root.name, root)]
    names = [
        Path(folder, name).relative_to(root).as_posix()
        for folder, _, files in os.walk(root)
        for name in files
        if is_text(name)
    ]
    if not names:
        found = "a folder without them" if root.is_dir() else f"nothing at {root.resolve()}"
        raise ValueError(
            f"data.path={data.path}: expected a text file, or a folder with files *{', *'.join(SUFFIXES)}, "
            f"found {found}."
        )
    return [TextFile(name, root / name, _sub_folder(name)) for name in sorted(names)]


def _sub_folder(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""
