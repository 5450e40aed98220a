"""Text as documents: the embedded corpus, plain-text files, and the split by document (no torch)."""

import ast
import hashlib
import importlib.util
import os
import platform
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saeuniv.config import Data, Documents, StdlibData, TextData

# Test suites and bundled applications: their text is not documentation, and distributions leave them out.
_NOT_DOCUMENTATION = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"})
# A docstring of a line or less says little beyond the name it belongs to.
_MIN_DOCSTRING_CHARACTERS = 80
_SUFFIXES = frozenset({".txt", ".md"})
_NO_SOURCES = (
    "data=stdlib: expected the standard library with its sources and pydoc_data, found none beside {python}; "
    "some distributions strip them. Use a complete Python, or choose data=text data.path=<file or folder>."
)


class Document(NamedTuple):
    """One text; no sequence spans two documents, and the split is by document."""

    name: str
    text: str
    sha256: str
    """Of the text as UTF-8."""


class Corpus(NamedTuple):
    """Distinct documents, split; both parts in the order of their sha256."""

    training: tuple[Document, ...]
    held_out: tuple[Document, ...]
    """Kept from all training; what is compared on."""

    sha256: str
    """Over the hashes of all documents in order: equal exactly when the set of texts is."""


def fingerprint(data: Data) -> str:
    """What stands for the text in a store key: a hash of the source files' bytes, parsing nothing.

    For the standard library the Python version enters too, because it decides how sources are parsed.

    Raises:
        ValueError: the text is missing.
    """
    digest = hashlib.sha256()
    if isinstance(data, StdlibData):
        digest.update(platform.python_version().encode())
    for name, path in _sources(data):
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_corpus(data: Data) -> Corpus:
    """The documents of a text source, without duplicates, the first `held_out` of them held out.

    Documents stand in the order of sha256(text), so that the split depends on nothing else
    (docs/statistics.md A); the number held out is rounded, and at least one.

    Raises:
        ValueError: the text is missing, empty or not UTF-8.
    """
    read = _stdlib_texts if isinstance(data, StdlibData) else _file_texts
    distinct: dict[str, Document] = {}
    for name, text in read(data):
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        distinct.setdefault(sha256, Document(name, text, sha256))
    if not distinct:
        raise ValueError(f"{_where(data)}: expected text, got none.")
    documents = tuple(distinct[sha256] for sha256 in sorted(distinct))
    n_held_out = max(1, round(data.held_out * len(documents)))
    digest = hashlib.sha256("".join(document.sha256 for document in documents).encode())
    return Corpus(documents[n_held_out:], documents[:n_held_out], digest.hexdigest())


def text_faults(data: Data) -> tuple[str, ...]:
    """What is wrong with a text source as far as can be seen without a tokenizer, as sentences.

    Missing, empty or binary files, and text too short for one sequence: a token covers at least one
    byte, so a document of fewer bytes than `context_length` cannot hold a sequence.
    """
    where = _where(data)
    try:
        sources = _sources(data)
    except ValueError as error:
        return (str(error),)
    if not isinstance(data, TextData):
        return ()
    faults: list[str] = []
    longest = 0
    for _, path in sources:
        content = path.read_bytes()
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            faults.append(f"{where}: expected UTF-8 text, got a file that is not: {path} ({error.reason}).")
            continue
        if b"\0" in content:
            faults.append(f"{where}: expected plain text, got a binary file (NUL bytes): {path}.")
        documents = content.splitlines() if data.document is Documents.line else [content]
        longest = max(longest, max(map(len, documents), default=0))
    if not faults and not longest:
        faults.append(f"{where}: expected text, got only empty files.")
    elif not faults and longest < data.context_length:
        faults.append(
            f"{where}: expected a document of at least one sequence "
            f"(data.context_length={data.context_length} tokens), got at most {longest} bytes in a "
            f"{data.document.value}. Give longer text, choose data.document=file, or lower "
            f"data.context_length."
        )
    return tuple(faults)


def _where(data: Data) -> str:
    return f"data.path={data.path}" if isinstance(data, TextData) else "data=stdlib"


def _sources(data: Data) -> list[tuple[str, Path]]:
    """The files read, with the names they go by, in the order of the names."""
    match data:
        case StdlibData():
            root = Path(sysconfig.get_path("stdlib"))
            sources = _files(root, frozenset({".py"}))
            if importlib.util.find_spec("pydoc_data.topics") is None or not sources:
                raise ValueError(_NO_SOURCES.format(python=root))
            return sources
        case TextData():
            path = Path(data.path).expanduser()
            if path.is_file():
                return [(path.name, path)]
            sources = _files(path, _SUFFIXES)
            if not sources:
                found = "a folder without them" if path.is_dir() else f"nothing at {path.resolve()}"
                raise ValueError(
                    f"data.path={data.path}: expected a text file, or a folder with *.txt or *.md files, "
                    f"found {found}."
                )
            return sources
        case _:
            raise ValueError(f"data: expected stdlib or text, got {type(data).__name__}.")


def _files(root: Path, suffixes: frozenset[str]) -> list[tuple[str, Path]]:
    """Pruned while walking: a Python installation's site-packages can hold 100,000 files."""
    paths: list[Path] = []
    pruned = _NOT_DOCUMENTATION if ".py" in suffixes else frozenset[str]()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in pruned]
        paths += [Path(folder, name) for name in files if Path(name).suffix in suffixes]
    return sorted((path.relative_to(root).as_posix(), path) for path in paths)


def _file_texts(data: Data) -> Iterator[tuple[str, str]]:
    by_line = isinstance(data, TextData) and data.document is Documents.line
    for name, path in _sources(data):
        text = path.read_text("utf-8")
        if not by_line:
            yield name, text
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{name}:{number}", line


def _stdlib_texts(data: Data) -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield f"topics/{name}", text
    for name, path in _sources(data):
        text = "\n\n".join(_docstrings(path.read_bytes()))
        if text:
            # A docstring may name half of a surrogate pair, which no UTF-8 text can hold.
            yield name, text.encode("utf-8", "replace").decode()


def _docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of a module in breadth-first order: its own, of classes and functions, then of theirs.

    Only statements are visited (no docstring lies below an expression), a third of the cost of
    ast.walk. Files that are no Python source for this interpreter have none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old sources
            queue: deque[ast.AST] = deque([ast.parse(source)])
    except (SyntaxError, ValueError):
        return
    while queue:
        node = queue.popleft()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if len(text) > _MIN_DOCSTRING_CHARACTERS:
                yield text
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            children: object = getattr(node, field, None)
            if isinstance(children, list):
                queue.extend(children)
