"""The embedded corpus: the documentation of this interpreter's standard library."""

import ast
import importlib.util
import os
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path

# Test suites and bundled applications: their text is not documentation, and distributions leave them out.
_NOT_DOCUMENTATION = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"})
# A docstring of a line or less says little beyond the name it belongs to.
_MIN_DOCSTRING_CHARACTERS = 80
_NO_SOURCES = (
    "data=stdlib: expected the standard library with its sources and pydoc_data, found none beside {python}; "
    "some distributions strip them. Use a complete Python, or choose data=text data.path=<file or folder>."
)


def stdlib_sources() -> list[tuple[str, Path]]:
    """The modules of the standard library, with the names they go by, in the order of the names.

    Raises:
        ValueError: this Python has no sources.
    """
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, folders, files in os.walk(root):
        # Pruned while walking: an installation's site-packages can hold 100,000 files.
        folders[:] = [name for name in folders if name not in _NOT_DOCUMENTATION]
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    if importlib.util.find_spec("pydoc_data.topics") is None or not paths:
        raise ValueError(_NO_SOURCES.format(python=root))
    return sorted((path.relative_to(root).as_posix(), path) for path in paths)


def stdlib_texts() -> Iterator[tuple[str, str]]:
    """Names and texts: the topics of pydoc, then the docstrings of each module.

    Raises:
        ValueError: this Python has no sources.
    """
    sources = stdlib_sources()
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        yield f"topics/{name}", text
    for name, path in sources:
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
