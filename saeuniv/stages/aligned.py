"""The held-out sequences of two models with different tokenizers, made together."""

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.adapters.hub_text import HubText
from saeuniv.config import Data, canonical_json, plain
from saeuniv.stages.task import Progress, Task
from saeuniv.stages.text import named_tokenizer
from saeuniv.stages.tokens import BY_DOMAIN, domain_counts, publish_tokens
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenizedText:
    """One of the two token sets."""

    tokenizer: str
    """Folder or repository whose tokenizer is used; TINY_TOKENIZER for the embedded one."""

    revision: str | None
    held_out: Artifact


@dataclass(frozen=True)
class MakeAlignedTokens(Task):
    """Reads the text once and publishes the sequences of both tokenizers, with a row for each common end."""

    stage: ClassVar[str] = "tokens"

    data: Data
    sides: tuple[TokenizedText, TokenizedText]
    hub: HubText | None = None
    """The files of a data set of the hub."""

    @property
    def label(self) -> str:
        """The kind of text."""
        return type(self.data).__name__.removesuffix("Data").lower() + " aligned"

    @property
    def group(self) -> Hashable:
        """The text and both tokenizers, whichever of the two models asks."""
        made = sorted(side.held_out.path for side in self.sides)
        return (self.stage, canonical_json(plain(self.data)), *made)

    def __call__(self, progress: Progress) -> None:
        """Read, tokenize twice, align, publish what is missing."""
        from saeuniv.adapters.aligned_tokens import aligned_token_sets
        from saeuniv.adapters.corpus import read_corpus

        corpus = read_corpus(self.data, self.hub)
        progress(1, 2)
        a, b = (named_tokenizer(side.tokenizer, side.revision, self.data) for side in self.sides)
        made = aligned_token_sets(
            corpus.held_out,
            a,
            b,
            context_length=self.data.context_length,
            max_sequences_per_document=self.data.max_sequences_per_document,
            skip_first=self.data.skip_first,
        )
        shared = {
            "sha256": corpus.sha256,
            "documents": list(made.names),
            "domains": list(made.domains),
            "kept_word_ends": made.kept_word_ends,
        }
        for side, tokens in zip(self.sides, (made.a, made.b), strict=True):
            if not self.store.exists(side.held_out):
                arrays = {"ids": tokens.ids, "keep": tokens.keep, "documents": made.documents}
                own = {
                    "rows": int(tokens.keep.sum()),
                    BY_DOMAIN: domain_counts(made.domains, made.documents, tokens.keep),
                    "masked": tokens.masked,
                    "kept_fraction": tokens.kept_fraction,
                }
                publish_tokens(self.store, side.held_out, arrays, {**shared, **own})
        _log.info(
            "tokens: %d pairs of sequences from %d held-out documents; rows are %.1f %% of the ends of "
            "words, %.1f %% and %.1f %% of the tokens",
            len(made.documents),
            len(made.names),
            *(100 * part for part in (made.kept_word_ends, made.a.kept_fraction, made.b.kept_fraction)),
        )
