"""Rows as CSV: floats round-trip exactly, empty means None, the header is the contract."""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast, get_args

from saeuniv.results.rows import NullRow, Row

AnyRow = TypeVar("AnyRow", Row, NullRow)


def columns(row_type: type[Row] | type[NullRow]) -> tuple[str, ...]:
    """The header of the table of these rows, in order."""
    return tuple(field.name for field in dataclasses.fields(row_type))


def write_table(path: Path, rows: Sequence[AnyRow], row_type: type[AnyRow]) -> None:
    """Writes the rows in their order; equal rows give equal bytes."""
    names = columns(row_type)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_text(getattr(row, name)) for name in names] for row in rows)


def read_table(path: Path, row_type: type[AnyRow]) -> list[AnyRow]:
    """The rows of a table written by `write_table`.

    Raises:
        ValueError: where the header is not that of the row type, or an entry is not of its type.
    """
    names = columns(row_type)
    make = cast(Callable[..., AnyRow], row_type)
    parsers = [_parser(field) for field in dataclasses.fields(row_type)]
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        _check_header(path, tuple(next(reader, ())), names)
        rows: list[AnyRow] = []
        for entries in reader:
            try:
                rows.append(make(*_parsed(parsers, entries)))
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _parsed(parsers: Sequence[Callable[[str], object]], entries: Sequence[str]) -> list[object]:
    if len(entries) != len(parsers):
        raise ValueError(f"expected {len(parsers)} entries, got {len(entries)}; is the file cut off?")
    return [parse(text) for parse, text in zip(parsers, entries, strict=True)]


def _text(entry: object) -> str:
    match entry:
        case None:
            return ""
        case bool():
            return str(entry).lower()
        case float():
            # repr of a plain float is the shortest text that reads back exactly; numpy's has its type in it.
            return repr(float(entry))
        case _:
            return str(entry)


def _parser(field: "dataclasses.Field[object]") -> Callable[[str], object]:
    kinds = get_args(field.type) or (field.type,)
    kind = kinds[0]
    if kind is str:
        return str
    read = _PARSERS[cast(type, kind)]
    return (lambda text: read(text) if text else None) if type(None) in kinds else read


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text == "true"


_PARSERS: dict[type, Callable[[str], object]] = {bool: _parse_bool, int: int, float: float}


def _check_header(path: Path, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found == expected:
        return
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    raise ValueError(
        f"{path}: expected the columns {', '.join(expected)}; missing: {', '.join(missing) or 'none'}; "
        f"unknown: {', '.join(unknown) or 'none'}. Run the comparison again with this version."
    )
