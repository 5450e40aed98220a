"""The text of a comparison, identified: what names token sets in the store, and what their task is given."""

import dataclasses
from enum import Enum
from typing import NamedTuple

from saeuniv.adapters.chat import Template, chosen_template
from saeuniv.adapters.corpus import fingerprint
from saeuniv.adapters.folders import model_facts
from saeuniv.adapters.hub_text import HubText, hub_text
from saeuniv.config import Bos, Cell, ChatTemplate, Data, Documents, FileData, HubData, Packing, TextData
from saeuniv.store import Artifact, Kind, artifact

# What changes documents, and what changes sequences and rows; keys hold those that are not as usual, so
# that an option that is added changes no key.
_READING = ("text_key", "domain_key", "document_starts", "messages_key", "max_documents")
_SEQUENCES = {
    "bos": Bos.auto,
    "packing": Packing.document,
    "mask_special": True,
    "mask_padding": True,
    "roles": [],
}


class ResolvedText(NamedTuple):
    """A text source that has been found."""

    data: Data
    fingerprint: str
    """Of the files; a hub's need not be here yet."""

    hub: HubText | None
    template: Template | None
    """What conversations are written by."""

    def training(self, tokenizer: str) -> Artifact:
        """The training stream for a tokenizer."""
        return artifact(Kind.tokens, {**_source(self, tokenizer), "split": "training"})

    def held_out(self, tokenizer: str, partner: str | None = None) -> Artifact:
        """The token set for a tokenizer, alone or aligned with that of a partner's tokenizer."""
        data = self.data
        chosen = {name: getattr(data, name) for name in _SEQUENCES if hasattr(data, name)}
        spec = {
            **_source(self, tokenizer),
            "split": "held_out",
            "context_length": data.context_length,
            "max_sequences_per_document": data.max_sequences_per_document,
            "skip_first": data.skip_first,
            **{name: _plain(value) for name, value in chosen.items() if value != _SEQUENCES[name]},
        }
        return artifact(Kind.tokens, {**spec, "aligned_with": partner} if partner else spec)


def resolve_text(cell: Cell) -> ResolvedText:
    """The text of a cell.

    Raises:
        ConfigError: a data set of the hub that cannot be had, or a tokenizer without the template chosen.
        ValueError: the text is missing.
    """
    data = cell.data
    found = hub_text(data) if isinstance(data, HubData) else None
    template = None
    if isinstance(data, FileData) and data.chat_template is not ChatTemplate.none:
        a, b = (model_facts(side.model, key=side.name) for side in cell.sides)
        template = chosen_template(data, a, b)
    return ResolvedText(data, fingerprint(data), found, template)


def _source(text: ResolvedText, tokenizer: str) -> dict[str, object]:
    data = text.data
    spec: dict[str, object] = {
        "text": text.fingerprint,
        "tokenizer": tokenizer,
        "held_out": data.held_out,
    }
    if isinstance(data, TextData) or (isinstance(data, FileData) and data.document is not Documents.file):
        spec["document"] = data.document.value
    if isinstance(data, FileData):
        usual = {each.name: each.default for each in dataclasses.fields(FileData)}
        spec |= {name: value for name in _READING if (value := getattr(data, name)) != usual[name]}
    if text.template is not None:
        spec["template"] = text.template.sha256
    return spec


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else sorted(value) if isinstance(value, list) else value
