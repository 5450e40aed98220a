"""Text to token sets, in one task: text is read once for what is compared on and what is trained on."""

import logging
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from saeuniv.adapters.chat import Template
from saeuniv.adapters.hub_text import HubText
from saeuniv.config import Data, canonical_json, plain
from saeuniv.stages.task import Progress, Task
from saeuniv.stages.tokens import BY_DOMAIN, TEMPLATE_BEGINS, domain_counts, publish_tokens
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)

TINY_TOKENIZER = ""
"""Stands for the embedded byte tokenizer, which needs no folder."""


@dataclass(frozen=True)
class MakeTokens(Task):
    """Reads the text once and publishes the training stream, the held-out sequences, or both."""

    stage: ClassVar[str] = "tokens"

    data: Data
    tokenizer: str
    """Folder or repository whose tokenizer is used; TINY_TOKENIZER for the embedded one."""

    revision: str | None
    training: Artifact | None
    held_out: Artifact | None
    hub: HubText | None = None
    """The files of a data set of the hub."""

    template: Template | None = None
    """What conversations are written by."""

    @property
    def label(self) -> str:
        """The kind of text."""
        return type(self.data).__name__.removesuffix("Data").lower()

    @property
    def group(self) -> Hashable:
        """The text and the tokenizer: it is read once."""
        read = (canonical_json(plain(self.data)), self.hub, self.template)
        return (self.stage, *read, self.tokenizer, self.revision)

    def united(self, other: Any) -> "MakeTokens":
        """Both splits that either makes."""
        training, held_out = self.training or other.training, self.held_out or other.held_out
        return self._making(training, held_out)

    def without(self, paths: Collection[str]) -> "MakeTokens | None":
        """Less the splits with these paths."""
        kept = (each if each and each.path not in paths else None for each in (self.training, self.held_out))
        training, held_out = kept
        return self._making(training, held_out) if training or held_out else None

    def _making(self, training: Artifact | None, held_out: Artifact | None) -> "MakeTokens":
        outputs = tuple(each for each in (training, held_out) if each)
        return replace(self, training=training, held_out=held_out, outputs=outputs)

    def __call__(self, progress: Progress) -> None:
        """Read, split, tokenize, publish what is missing."""
        from saeuniv.adapters.chat import as_written, renderer
        from saeuniv.adapters.corpus import read_corpus

        corpus = read_corpus(self.data, self.hub)
        progress(1, 3)
        tokenizer = named_tokenizer(self.tokenizer, self.revision, self.data)
        render = renderer(self.template) if self.template else as_written
        if self.training and not self.store.exists(self.training):
            self._publish_training(self.training, corpus, tokenizer, render)
        progress(2, 3)
        if self.held_out and not self.store.exists(self.held_out):
            self._publish_held_out(self.held_out, corpus, tokenizer, render)

    def _publish_training(self, output: Artifact, corpus: Any, tokenizer: Any, render: Any) -> None:
        from saeuniv.adapters.token_stream import token_stream

        stream = token_stream(corpus.training, tokenizer, render)
        about: dict[str, object] = {"sha256": corpus.sha256, TEMPLATE_BEGINS: stream.template_begins}
        publish_tokens(self.store, output, {"stream": stream.ids.astype(np.int32)}, about)
        _log.info("tokens: %d training tokens from %d documents", len(stream.ids), len(corpus.training))

    def _publish_held_out(self, output: Artifact, corpus: Any, tokenizer: Any, render: Any) -> None:
        from saeuniv.adapters.tokens import TokenRules, token_set

        tokens = token_set(corpus.held_out, tokenizer, TokenRules.of(self.data), render)
        arrays = {"ids": tokens.ids, "keep": tokens.keep, "documents": tokens.documents}
        if tokens.lengths is not None:
            arrays["lengths"] = tokens.lengths
        about: dict[str, object] = {
            "sha256": corpus.sha256,
            "documents": list(tokens.names),
            "domains": list(tokens.domains),
            BY_DOMAIN: domain_counts(tokens.domains, tokens.documents, tokens.keep),
            "rows": int(tokens.keep.sum()),
            "masked": dict(tokens.masked),
        }
        if tokens.truncated:
            about["truncated"] = dict(tokens.truncated)
        publish_tokens(self.store, output, arrays, about)
        _log.info(
            "tokens: %d sequences from %d of %d held-out documents, %d rows; masked: %s%s",
            len(tokens.ids),
            len(tokens.names),
            len(corpus.held_out),
            tokens.keep.sum(),
            _counted(tokens.masked) or "none",
            f"; {_counted(tokens.truncated)}" if tokens.truncated else "",
        )


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items() if number)


def named_tokenizer(name: str, revision: str | None, data: Data) -> Any:
    """The Hugging Face tokenizer that a task names; its type is named in adapters only."""
    if name == TINY_TOKENIZER:
        from saeuniv.adapters.tiny import byte_tokenizer

        return byte_tokenizer(data.context_length)
    from saeuniv.adapters.model_folders import load_tokenizer

    return load_tokenizer(name, revision)
