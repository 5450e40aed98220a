"""Documents of text files: files, lines, records, conversations (no torch)."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from saeuniv.adapters.records import TextFile, plain_text, records, value_at
from saeuniv.config import Documents, FileData

_BETWEEN_TURNS = "\n\n"


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Document(NamedTuple):
    """One text; the split and all statistics are by document."""

    name: str
    text: str
    """Of a conversation: its contents, joined by blank lines."""

    sha256: str
    """Of the text as UTF-8; of a conversation, of its roles and contents."""

    domain: str = ""
    turns: tuple[Turn, ...] = ()
    """The messages, where the document is a conversation."""


def document(name: str, text: str, domain: str = "") -> Document:
    """A document that is plain text."""
    return Document(name, text, hashlib.sha256(text.encode()).hexdigest(), domain)


def conversation(name: str, turns: Sequence[Turn], domain: str = "") -> Document:
    """A document that is a conversation."""
    text = _BETWEEN_TURNS.join(turn.content for turn in turns)
    digest = hashlib.sha256(json.dumps(turns).encode()).hexdigest()
    return Document(name, text, digest, domain, tuple(turns))


def turn_starts(turns: Sequence[Turn]) -> list[int]:
    """Where each content begins in the text of a conversation."""
    starts, at = [], 0
    for turn in turns:
        starts.append(at)
        at += len(turn.content) + len(_BETWEEN_TURNS)
    return starts


def documents_of(file: TextFile, data: FileData) -> Iterator[Document]:
    """The documents of a file in their order; blank ones are left out, but for a file of plain text.

    Raises:
        ValueError: a record lacks a key or has something else under it; the file is damaged.
    """
    if not file.is_plain:
        pieces = _pieces_of_records(file, data)
    elif data.messages_key is not None:
        raise ValueError(
            f"data.messages_key={data.messages_key}: expected records with conversations (*.jsonl, "
            f"*.parquet), got plain text: {file.path}. Choose data.messages_key=null or other files."
        )
    elif data.document is Documents.line or data.document_starts is not None:
        lines = enumerate(plain_text(file).splitlines(), 1)
        pieces = (document(f"{file.name}:{number}", line, file.domain) for number, line in lines)
    else:
        yield document(file.name, plain_text(file), file.domain)
        return
    if data.document_starts is not None:
        pieces = _joined(pieces, re.compile(data.document_starts))
    yield from (each for each in pieces if each.text.strip())


def _pieces_of_records(file: TextFile, data: FileData) -> Iterator[Document]:
    content_key = data.text_key if data.messages_key is None else data.messages_key
    keys = [content_key] if data.domain_key is None else [content_key, data.domain_key]
    for number, record in records(file, keys):
        name = f"{file.name}:{number}"
        domain = file.domain
        if data.domain_key is not None:
            found = value_at(record, data.domain_key, option="data.domain_key", where=name)
            domain = "" if found is None else str(found)
        if data.messages_key is None:
            text = value_at(record, data.text_key, option="data.text_key", where=name)
            yield document(name, _text(text, data.text_key, name), domain)
        else:
            messages = value_at(record, data.messages_key, option="data.messages_key", where=name)
            yield conversation(name, _turns(messages, data.messages_key, name), domain)


def _text(value: Any, key: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"data.text_key={key}: expected text in every record, got {_kind(value)} in {where}. Choose "
            f"another key, or data.messages_key={key} where it is a list of {{role, content}}."
        )
    # Half of a surrogate pair, which JSON can hold and UTF-8 cannot.
    return value.encode("utf-8", "replace").decode()


def _turns(value: Any, key: str, where: str) -> list[Turn]:
    if value is None:
        return []
    turns: list[Turn] = []
    for each in cast(list[Any], value) if isinstance(value, list) else [value]:
        message = cast(dict[str, Any], each) if isinstance(each, dict) else {}
        role, content = message.get("role"), message.get("content")
        if not isinstance(value, list) or not isinstance(role, str) or not isinstance(content, str):
            got = f"a message with {', '.join(message)}" if message else _kind(value)
            raise ValueError(
                f"data.messages_key={key}: expected a list of {{role, content}}, both text, in every record, "
                f"got {got} in {where}. Choose another key, or data.text_key for plain text."
            )
        turns.append(Turn(role, _text(content, key, where)))
    return turns


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "a list", dict: "a record", str: "text"}
    return names.get(type(value), f"{value!r:.40}")


def _joined(pieces: Iterable[Document], starts: re.Pattern[str]) -> Iterator[Document]:
    """Documents that each begin at a piece that matches; what comes before the first match is one too."""
    first: Document | None = None
    texts: list[str] = []
    for piece in pieces:
        if first is not None and starts.search(piece.text):
            yield document(first.name, "".join(texts), first.domain)
            first = None
        if first is None:
            first, texts = piece, []
        texts.append(piece.text if piece.text.endswith("\n") else piece.text + "\n")
    if first is not None:
        yield document(first.name, "".join(texts), first.domain)
