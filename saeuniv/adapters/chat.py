"""Conversations as text: written by a chat template, with the place of what each role says.

A template is a small program that came with a model. It is rendered in transformers' own sandbox, where it
can read what it is given and write text.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.documents import Document, Turn, turn_starts
from saeuniv.adapters.folders import ModelFacts
from saeuniv.adapters.hub import HubFolder
from saeuniv.config import ChatTemplate, ConfigError, Data, FileData, canonical_json

_log = logging.getLogger(__name__)

TEMPLATE_FILE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"
# Llama's templates write today's date unless they are told one: their own default, so that text stays equal.
_DATE = "26 Jul 2024"


class Template(NamedTuple):
    """A chat template, and whose special tokens it writes."""

    text: str
    sha256: str
    """Of the template and the special tokens of its tokenizer: what it writes depends on nothing else."""

    folder: str
    """Folder or repository of the tokenizer."""

    revision: str | None


class Span(NamedTuple):
    """The place of what a role says, in characters."""

    start: int
    end: int
    role: str


class Rendered(NamedTuple):
    """A document as the text that is tokenized."""

    text: str
    """Without a BOS at its beginning: sequences begin with it as `data.bos` says."""

    spans: tuple[Span, ...]
    """In order, apart from one another; empty where the document is no conversation."""

    began_with_bos: bool


Render = Callable[[Document], Rendered]
"""Writes a document as text. Raises RefusedConversation."""


class RefusedConversation(ValueError):
    """A chat template takes no conversation of this kind: roles that it does not know, or their order."""


def as_written(document: Document) -> Rendered:
    """The document's own text; of a conversation the contents, joined by blank lines."""
    starts = turn_starts(document.turns)
    places = zip(document.turns, starts, strict=True)
    spans = tuple(Span(at, at + len(turn.content), turn.role) for turn, at in places)
    return Rendered(document.text, spans, began_with_bos=False)


def renderer(template: Template) -> Render:
    """A function that writes conversations by a template, and other documents as they are."""
    from jinja2.exceptions import TemplateError

    from saeuniv.adapters.language_model import load_tokenizer

    tokenizer = cast(Any, load_tokenizer(template.folder, template.revision))

    def write(turns: Sequence[Turn]) -> str:
        messages = [turn._asdict() for turn in turns]
        return tokenizer.apply_chat_template(
            messages, chat_template=template.text, tokenize=False, date_string=_DATE
        )

    def render(document: Document) -> Rendered:
        try:
            text = write(document.turns)
            spans = _spans(text, document.turns, write)
        except TemplateError as error:
            raise RefusedConversation(f"{document.name}: {error}") from error
        bos = tokenizer.bos_token or ""
        began = bool(bos) and text.startswith(bos)
        cut = len(bos) if began else 0
        moved = tuple(Span(each.start - cut, each.end - cut, each.role) for each in spans)
        return Rendered(text[cut:], moved, began)

    return render


def all_rendered(documents: Iterable[Document], render: Render) -> list[tuple[Document, Rendered]]:
    """The documents as texts; those that the template refuses are left out, which is said in one line.

    Raises:
        ValueError: it refuses all of them.
    """
    read: list[tuple[Document, Rendered]] = []
    refused: list[RefusedConversation] = []
    for each in documents:
        try:
            read.append((each, render(each)))
        except RefusedConversation as error:
            refused.append(error)
    if refused and not read:
        raise ValueError(
            f"data.chat_template: expected conversations that the template takes, and it refuses all "
            f"{len(refused)}: {refused[0]}. Choose other conversations, or data.chat_template=none."
        )
    if refused:
        whole = len(refused) + len(read)
        _log.warning(
            "%d of %d conversations left out, refused by the chat template: %s",
            len(refused),
            whole,
            refused[0],
        )
    return read


def _spans(text: str, turns: Sequence[Turn], write: Callable[[Sequence[Turn]], str]) -> list[Span]:
    """Where each content is in the rendered text.

    The template is rendered once more with marks in place of the contents; the text between the marks and
    the contents, as they are or stripped, must give the rendered text. Where they do not (templates that
    look into contents), contents are looked for from left to right, which may take a role's name for them.
    """
    marks = [Turn(turn.role, f"\ue000{number}\ue001") for number, turn in enumerate(turns)]
    marked = write(marks)
    for contents in ([turn.content for turn in turns], [turn.content.strip() for turn in turns]):
        spans, built, at = list[Span](), "", 0
        for mark, content in zip(marks, contents, strict=True):
            found = marked.find(mark.content, at)
            if found < 0:
                continue
            built += marked[at:found]
            spans.append(Span(len(built), len(built) + len(content), mark.role))
            built, at = built + content, found + len(mark.content)
        if built + marked[at:] == text:
            return spans
    return list(_searched(text, turns))


def _searched(text: str, turns: Sequence[Turn]) -> Iterator[Span]:
    at = 0
    for turn in turns:
        content = turn.content.strip()
        found = text.find(content, at) if content else -1
        if found >= 0:
            at = found + len(content)
            yield Span(found, at, turn.role)


def chosen_template(data: Data, a: ModelFacts, b: ModelFacts) -> Template | None:
    """The template that a configuration chooses; None where no conversations are written by one.

    Raises:
        ConfigError: the tokenizer that it chooses has no template.
    """
    if not isinstance(data, FileData) or data.messages_key is None or data.chat_template is ChatTemplate.none:
        return None
    side = data.chat_template.value
    facts = {"a": a, "b": b}[side]
    found = _template(facts) if facts.folder else None
    if found is None:
        other = "b" if side == "a" else "a"
        raise ConfigError(
            f"data.chat_template={side}: expected a tokenizer with a chat template (in {_CONFIG} or "
            f"{TEMPLATE_FILE}), got none in {facts.folder or 'the embedded model'}. Choose a chat model for "
            f"{side}=, data.chat_template={other}, or data.chat_template=none."
        )
    return found


def _template(facts: ModelFacts) -> Template | None:
    """The template in its own file, else the one in the configuration, the default one of several."""
    commit = facts.identity.get("commit")
    if commit is None:
        source = LocalFolder.at(facts.folder, facts.folder)
        own = source.path / TEMPLATE_FILE
    else:
        source = HubFolder(facts.folder, commit, facts.folder)
        own = source.file(TEMPLATE_FILE)
    config = source.json(_CONFIG) or {}
    written = config.get("chat_template")
    if own is not None and own.is_file():
        written = own.read_text("utf-8")
    elif isinstance(written, list):
        several = cast(list[dict[str, str]], written)
        written = next((each["template"] for each in several if each.get("name") == "default"), None)
    if not isinstance(written, str):
        return None
    special = {name: value for name, value in config.items() if name.endswith("_token")}
    digest = hashlib.sha256(canonical_json([written, special]).encode()).hexdigest()
    return Template(written, digest, facts.folder, commit)
