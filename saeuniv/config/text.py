"""Where text comes from and how it becomes sequences: the schemas of the group data.

Like all schemas they stay unfrozen because Hydra merges YAML into them; nothing mutates them later.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from omegaconf import MISSING

from saeuniv.config.sources import UNNAMED_DEFAULT


class Documents(Enum):
    """What one document is in plain text; in *.jsonl and *.parquet it is a record."""

    file = "file"
    line = "line"


class Bos(Enum):
    """Whether each sequence begins with the beginning-of-sequence token."""

    auto = "auto"
    """As the tokenizer itself begins a text (Llama and Gemma do, GPT-2 and Pythia do not)."""

    always = "always"
    never = "never"


class Packing(Enum):
    """How documents fill sequences."""

    document = "document"
    """A sequence is of one document; rests are dropped."""

    concatenated = "concatenated"
    """Documents follow one another, joined by the end-of-text token."""

    truncated = "truncated"
    """One sequence a document, its first tokens; a shorter document is filled up with padding."""


class ChatTemplate(Enum):
    """Whose template writes conversations as text."""

    none = "none"
    """Contents, joined by blank lines."""

    a = "a"
    b = "b"


class Tokens(Enum):
    """Whether two models read the same tokens, or each its own tokens of the same text."""

    auto = "auto"
    """The same where the vocabularies are equal, else aligned."""

    same = "same"
    aligned = "aligned"
    """Compared on at the ends of words, where both have read the same characters."""


@dataclass
class Data:
    """Base of the text sources: how text becomes sequences, and which documents are held out."""

    embedded: ClassVar[bool] = False

    context_length: int = 128
    """Tokens per sequence, BOS included."""

    packing: Packing = Packing.document
    """document: a sequence never spans two documents. concatenated: it may, and only what it has of one
    of them, the one that has most of it, is compared on. truncated: one sequence a document, its first
    tokens, with padding behind a shorter one."""

    bos: Bos = Bos.auto
    """Whether each sequence (never its middle) begins with BOS: auto, always, never."""

    held_out: float = 0.3
    """Fraction of documents, in the order of their hash, kept from all training and compared on."""

    max_sequences_per_document: int = 10
    """Cap that keeps one long document from dominating the held-out text."""

    skip_first: int = 4
    """Positions dropped at the start of each sequence (attention sinks of huge norm); 0 drops none."""

    mask_special: bool = True
    """Leave out positions of special tokens: BOS, end of text, padding, those of chat templates."""

    mask_padding: bool = field(default=True, metadata=UNNAMED_DEFAULT)
    """Leave out padding (data.packing=truncated alone has some); false: compare on it like on any token."""

    mask_high_norm: bool = True
    """Compare on no token whose residual norm in the middle of either model is above 10 times the median."""

    tokens: Tokens = Tokens.auto
    """Tokens of models whose tokenizers differ: auto and aligned compare at ends of words that both end a
    token with; same refuses such models."""

    n_tokens: Any = None
    """Compare on the first so many tokens (10k, 100k, 1M), of one encoding; unset: all."""


@dataclass
class StdlibData(Data):
    """The documentation of Python's standard library, read from this interpreter at run time."""

    embedded: ClassVar[bool] = True


@dataclass
class FileData(Data):
    """Base of the sources that are files: plain text, and records with keys (*.jsonl, *.parquet)."""

    document: Documents = Documents.file
    """What one document is in plain text: a file, or a line of it."""

    text_key: str = "text"
    """Where a record has its text; a dot goes into records within records (meta.name)."""

    domain_key: str | None = None
    """Where a record names its domain; unset: the sub-folder, where text is a folder of your own."""

    document_starts: str | None = None
    """Regular expression: a record or line whose text it matches begins a document, what follows belongs
    to it. Unset: each is a document."""

    messages_key: str | None = None
    """Where a record has its conversation, a list of {role, content}; then text_key is not read."""

    chat_template: ChatTemplate = ChatTemplate.none
    """Whose chat template writes conversations: a, b, or none (contents joined by blank lines)."""

    roles: list[str] = field(default_factory=list[str])
    """Roles whose tokens are compared on, [assistant] for example; empty: all tokens, the template's too."""

    max_documents: int | None = None
    """Only so many documents are read, the first ones, to bound memory; unset: all."""

    held_out: float = 1.0
    """Lower it (0.3) when dictionaries are trained on this text."""


@dataclass
class TextData(FileData):
    """A file, or a folder whose *.txt, *.md, *.jsonl[.gz, .zst] and *.parquet are read recursively."""

    path: str = MISSING


@dataclass
class HubData(FileData):
    """Files of a data set of the Hugging Face hub, fetched once at one commit."""

    name: str = MISSING
    """Repository, for example Salesforce/wikitext."""

    revision: str = "main"
    """Branch, tag or commit."""

    files: str = "*"
    """Which files, as a pattern in which * matches any characters: data/train-*.parquet."""

    max_files: int = 1
    """Of the files that match, in the order of their names, so many are fetched and read."""

    max_documents: int | None = 20_000
