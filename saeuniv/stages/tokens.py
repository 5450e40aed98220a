"""Text to token sets: the held-out sequences that all models are compared on, and the training stream."""

import json
import logging
from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from safetensors.numpy import load_file, save_file

from saeuniv.config import Data, canonical_json, plain
from saeuniv.stages.task import Progress, Task
from saeuniv.store import Artifact, Store

_log = logging.getLogger(__name__)

_TENSORS = "tokens.safetensors"
_TEXT = "text.json"

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

    @property
    def label(self) -> str:
        """The kind of text."""
        return type(self.data).__name__.removesuffix("Data").lower()

    @property
    def group(self) -> Hashable:
        """The text and the tokenizer: it is read once."""
        return (self.stage, canonical_json(plain(self.data)), self.tokenizer, self.revision)

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
        from saeuniv.adapters.corpus import read_corpus
        from saeuniv.adapters.tokens import token_set, token_stream

        corpus = read_corpus(self.data)
        progress(1, 3)
        tokenizer = self._tokenizer()
        about: dict[str, object] = {"sha256": corpus.sha256}
        if self.training and not self.store.exists(self.training):
            stream = token_stream(corpus.training, tokenizer)
            _publish(self.store, self.training, {"stream": stream.astype(np.int32)}, about)
            _log.info("tokens: %d training tokens from %d documents", len(stream), len(corpus.training))
        progress(2, 3)
        if self.held_out and not self.store.exists(self.held_out):
            tokens = token_set(
                corpus.held_out,
                tokenizer,
                context_length=self.data.context_length,
                max_sequences_per_document=self.data.max_sequences_per_document,
                skip_first=self.data.skip_first,
            )
            arrays = {
                "ids": tokens.ids.astype(np.int32),
                "keep": tokens.keep,
                "documents": tokens.documents.astype(np.int32),
            }
            named = {"documents": list(tokens.names), "domains": list(tokens.domains)}
            _publish(self.store, self.held_out, arrays, {**about, **named, "masked": dict(tokens.masked)})
            _log.info("tokens: %d sequences from %d held-out documents", len(tokens.ids), len(tokens.names))

    def _tokenizer(self) -> Any:
        # A Hugging Face tokenizer: its type is named in adapters only.
        if self.tokenizer == TINY_TOKENIZER:
            from saeuniv.adapters.tiny import byte_tokenizer

            return byte_tokenizer(self.data.context_length)
        from saeuniv.adapters.model_folders import load_tokenizer

        return load_tokenizer(self.tokenizer, self.revision)


# Parts of a sequence that token_x_position tells apart.
_POSITION_BUCKETS = 8


class HeldOut(NamedTuple):
    """The sequences that models are compared on."""

    ids: Int[np.ndarray, "sequences context"]
    keep: Bool[np.ndarray, "sequences context"]
    """The positions that are rows of the comparison, in reading order; the model reads all."""

    documents: Int[np.ndarray, " sequences"]
    """Document of each sequence, non-decreasing, in the order of the documents' hash."""

    @property
    def rows_per_sequence(self) -> Int[np.ndarray, " sequences"]:
        """Kept positions of each sequence."""
        return self.keep.sum(1)

    @property
    def row_documents(self) -> Int[np.ndarray, " rows"]:
        """Document of each row."""
        return np.repeat(self.documents, self.rows_per_sequence)

    def groups(self) -> dict[str, Int[np.ndarray, " rows"]]:
        """Labels of rows: the current token, the last two, the last three, and token and position.

        Groups may look back at positions that are no rows.

        Raises:
            ValueError: a row among the first two positions, which have no two tokens before them.
        """
        if self.keep[:, :2].any():
            raise ValueError(
                "expected rows from the third position on (data.skip_first of 2 or more), as trigrams look "
                "back two tokens, got rows among the first two."
            )
        ids = self.ids.astype(np.int64)
        n_ids = int(ids.max()) + 1
        sequence, position = np.nonzero(self.keep)
        current, previous, before = (ids[sequence, position - back] for back in (0, 1, 2))
        bigram = _compact(previous * n_ids + current)
        first = int(position.min())
        eighth = (position - first) * _POSITION_BUCKETS // (ids.shape[1] - first)
        return {
            "token": current,
            "token_bigram": bigram,
            "token_trigram": _compact(before * (int(bigram.max()) + 1) + bigram),
            "token_x_position": _compact(current * _POSITION_BUCKETS + eighth),
        }


def read_held_out(store: Store, tokens: Artifact) -> HeldOut:
    """The sequences of a token set, verified."""
    arrays = load_file(store.open(tokens) / _TENSORS)
    return HeldOut(arrays["ids"], arrays["keep"], arrays["documents"].astype(np.int64))


def read_stream(store: Store, tokens: Artifact) -> Int[np.ndarray, " tokens"]:
    """The training stream, verified."""
    return load_file(store.open(tokens) / _TENSORS)["stream"]


def text_sha256(store: Store, tokens: Artifact) -> str:
    """Hash of the text that a token set was made from."""
    return str(json.loads((store.folder(tokens) / _TEXT).read_text())["sha256"])


def _compact(labels: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    return np.unique(labels, return_inverse=True)[1]


def _publish(
    store: Store, artifact: Artifact, arrays: dict[str, np.ndarray], about: dict[str, object]
) -> None:
    with store.publish(artifact) as folder:
        save_file(arrays, Path(folder) / _TENSORS)
        (folder / _TEXT).write_text(json.dumps(about, sort_keys=True, indent=1))
