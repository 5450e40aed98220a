"""Records of text files: lines of plain text, objects of *.jsonl, rows of *.parquet (no torch).

Read as a stream with nothing but what is asked for held: text sets are larger than memories. Not the
datasets library, which writes what it reads into a cache of its own, takes seconds to import, and
refuses *.jsonl whose objects differ.
"""

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

PLAIN = (".txt", ".md")
KEYED = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
SUFFIXES = (*PLAIN, *KEYED)
"""How the names of files that can be read end."""

_ROWS_PER_BATCH = 512


class TextFile(NamedTuple):
    """A file of text on this machine."""

    name: str
    """What it goes by: relative to the folder or repository, so that it is the same everywhere."""

    path: Path
    domain: str = ""
    """The sub-folder it is in; empty at the top."""

    @property
    def is_plain(self) -> bool:
        """Plain text, whatever its name where it is named outright: no records with keys."""
        return not self.name.endswith(KEYED)


def is_text(name: str) -> bool:
    """Whether a file of this name can be read."""
    return name.endswith(SUFFIXES)


def plain_text(file: TextFile) -> str:
    """All of a plain file.

    Raises:
        ValueError: it is not UTF-8, or binary.
    """
    content = file.path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8 text, got a file that is not: {file.path} ({error.reason})."
        ) from error
    if "\0" in text:
        raise ValueError(f"expected plain text, got a binary file (NUL bytes): {file.path}.")
    # As a file opened for text would read it.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def records(file: TextFile, keys: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers (from 1) and records of a file with keys; a column that no key needs is not read.

    Raises:
        ValueError: the file is damaged or something else.
    """
    if file.name.endswith(".parquet"):
        return _rows(file, keys)
    return _objects(file)


def value_at(record: dict[str, Any], key: str, *, option: str, where: str) -> Any:
    """What a record has under a key; a dot goes into records within records where no key has one.

    Raises:
        ValueError: there is no such key; the message lists those there are.
    """
    if key in record:
        return record[key]
    inner: Any = record
    for part in key.split("."):
        if not isinstance(inner, dict) or part not in inner:
            raise ValueError(missing_key(key, _dotted(record), option=option, where=where))
        inner = cast(dict[str, Any], inner)[part]
    return inner


def missing_key(key: str, there: Sequence[str], *, option: str, where: str) -> str:
    """That a key is absent, with those that are there."""
    return (
        f"{option}={key}: expected this key in every record, got one without it in {where}, which has "
        f"{', '.join(there) or 'none'}. Choose {option}=<one of these>."
    )


def _dotted(record: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key of a record, those of records within as `outer.inner`."""
    keys: list[str] = []
    for name, value in record.items():
        inner = cast(dict[str, Any], value) if isinstance(value, dict) else {}
        keys += _dotted(inner, f"{prefix}{name}.") or [f"{prefix}{name}"]
    return keys


def _objects(file: TextFile) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with _lines(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _object(line, file, number)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8 text, got a file that is not: {file.path} ({error.reason})."
        ) from error
    except (OSError, EOFError) as error:
        raise ValueError(
            f"expected a whole {file.name}, got a damaged file: {file.path} ({error})."
        ) from error


def _object(line: str, file: TextFile, number: int) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"expected a JSON object in each line, got none in line {number} of {file.path} ({error.msg})."
        ) from error
    if not isinstance(value, dict):
        got = type(value).__name__
        raise ValueError(f"expected a JSON object in each line, got a {got} in line {number} of {file.path}.")
    return cast(dict[str, Any], value)


def _lines(file: TextFile) -> io.TextIOBase:
    if file.name.endswith(".gz"):
        return cast(io.TextIOBase, gzip.open(file.path, "rt", encoding="utf-8"))
    if file.name.endswith(".zst"):
        import pyarrow as pa

        # Arrow reads Zstandard; Python's own library does not before 3.14.
        stream = cast(Any, pa.input_stream(str(file.path), compression="zstd"))
        return io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8")
    return file.path.open(encoding="utf-8")


def _rows(file: TextFile, keys: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = cast(Any, pq.ParquetFile(file.path))
        there: list[str] = table.schema_arrow.names
        wanted = {key if key in there else key.split(".")[0] for key in keys}
        columns = [name for name in there if name in wanted]
        if len(columns) < len(wanted):
            # All of them, so that a message can list what there is.
            columns = there
        number = 0
        for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"expected a parquet file, got a damaged one: {file.path} ({error}).") from error
