"""Whose tokens two models are compared on."""

from collections.abc import Iterator
from typing import NamedTuple

from saeuniv.adapters.model_facts import ModelFacts
from saeuniv.config import Bos, Cell, ChatTemplate, FileData, Model, Packing, TinyModel, Tokens
from saeuniv.stages.text import TINY_TOKENIZER
from saeuniv.store import Artifact


class TokenizerSource(NamedTuple):
    """A tokenizer, and where a task loads it from."""

    key: str
    """Hash of the vocabulary and all else that decides which ids a text has."""

    name: str
    """Folder or repository; TINY_TOKENIZER for the embedded one."""

    revision: str | None


class Partner(NamedTuple):
    """The other side of a comparison at common ends of words."""

    tokenizer: TokenizerSource
    held_out: Artifact


def tokenizer_source(model: Model, facts: ModelFacts) -> TokenizerSource:
    """The tokenizer of a model."""
    name = TINY_TOKENIZER if isinstance(model, TinyModel) else facts.folder
    return TokenizerSource(facts.tokenizer, name, facts.identity.get("commit"))


def are_aligned(cell: Cell, key_a: str, key_b: str) -> bool:
    """Whether the two models read tokens of their own, aligned at ends of words."""
    return cell.data.tokens is Tokens.aligned or (cell.data.tokens is Tokens.auto and key_a != key_b)


def tokenizer_faults(cell: Cell, key_a: str, key_b: str) -> tuple[str, ...]:
    """Why the two models cannot be compared on the tokens asked for."""
    if are_aligned(cell, key_a, key_b):
        return tuple(_unaligned_options(cell))
    if key_a == key_b:
        return ()
    return (
        f"data.tokens=same: expected models that share a tokenizer, got {cell.a.model.label} and "
        f"{cell.b.model.label}, whose vocabularies differ ({key_a} and {key_b}). Choose data.tokens=aligned, "
        f"which compares them at the ends of words, or models that share one.",
    )


def _unaligned_options(cell: Cell) -> Iterator[str]:
    """What is asked of the text that tokens of two tokenizers cannot be given together."""
    data = cell.data
    for name, usual in (
        ("bos", Bos.auto),
        ("packing", Packing.document),
        ("chat_template", ChatTemplate.none),
    ):
        if (chosen := getattr(data, name, usual)) is not usual:
            yield (
                f"data.{name}={chosen.value}: expected {usual.value} for models with different tokenizers, "
                f"which read each its own tokens, got {chosen.value}. Leave it out, or choose models that "
                f"share a tokenizer."
            )
    if isinstance(data, FileData) and data.roles:
        yield (
            f"data.roles={data.roles}: expected all roles for models with different tokenizers, got some. "
            f"Leave it out, or choose models that share a tokenizer."
        )
