"""Latents of every asked layer of one model on the held-out tokens, in one forward pass, shard by shard."""

import logging
import time
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from saeuniv.config import canonical_json, plain
from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.latents import ShardQuality, fit_of, save_shard, shard_cuts, shards
from saeuniv.stages.task import LatentsReference, ModelReference, Progress, Task
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Kind

_log = logging.getLogger(__name__)

# Sequences on which a dictionary's fit to its hookpoint is checked before anything is encoded.
_CHECKED_SEQUENCES = 64


@dataclass(frozen=True)
class Encode(Task):
    """Encodes all missing shards of all hookpoints of one model."""

    stage: ClassVar[str] = "latents"

    model: ModelReference
    tokens: Artifact
    latents: tuple[LatentsReference, ...]
    batch_sequences: int

    @property
    def label(self) -> str:
        """The model and how many of its hookpoints."""
        return f"{self.model.label} x {len(self.latents)}"

    @property
    def group(self) -> Hashable:
        """One forward pass makes the latents of all hookpoints: model, tokens, kind of dictionaries.

        Dictionaries of other settings are encoded apart, so that one kind that fails does not stop another.
        """
        first = self.latents[0].dictionary
        kind = (canonical_json(plain(first.sae)), first.width)
        return (self.stage, self.model.key, self.tokens.path, kind)

    def is_done(self) -> bool:
        """True if every shard of every hookpoint is there; their number is known once there are tokens.

        And if all fit as well as is asked for now: the bound may have been lowered since.
        """
        if not self.store.exists(self.tokens):
            return False
        held_out = read_held_out(self.store, self.tokens)
        n_shards = len(shard_cuts(held_out))
        parts = (shard for each in self.latents for shard in shards(each, n_shards))
        return all(map(self.store.exists, parts)) and not any(self._refused(n_shards))

    def _refused(self, n_shards: int) -> Iterator[str]:
        """Dictionaries that fit worse than asked for on all they have encoded, as sentences."""
        for each in self.latents:
            # Not verified: the shards of wide dictionaries are large.
            fvu = fit_of([self.store.folder(shard) for shard in shards(each, n_shards)]).fvu
            if fvu > each.dictionary.sae.max_fvu:
                yield (
                    f"{self.model.label} at {each.dictionary.hookpoint}: FVU {fvu:.3f} on all tokens, "
                    f"expected at most {each.dictionary.sae.max_fvu}. Choose other dictionaries, or raise "
                    f"sae.max_fvu."
                )

    def united(self, other: Any) -> "Encode":
        """The latents of both."""
        return self._encoding({each.artifact.key: each for each in (*self.latents, *other.latents)}.values())

    def without(self, paths: Collection[str]) -> "Encode | None":
        """Less the latents with these paths."""
        kept = [each for each in self.latents if each.artifact.path not in paths]
        return self._encoding(kept) if kept else None

    def _encoding(self, latents: Iterable[LatentsReference]) -> "Encode":
        chosen = tuple(sorted(latents, key=lambda each: each.dictionary.hookpoint.layer))
        inputs = {each.path: each for each in self.inputs if each.kind is not Kind.dictionaries}
        inputs |= {
            each.dictionary.artifact.path: each.dictionary.artifact
            for each in chosen
            if each.dictionary.artifact
        }
        outputs = tuple(each.artifact for each in chosen)
        return replace(self, latents=chosen, inputs=tuple(inputs.values()), outputs=outputs)

    def __call__(self, progress: Progress) -> None:
        """Check every dictionary on its own input, then encode and publish shard by shard.

        Raises:
            ValueError: a dictionary leaves more of its input unexplained than allowed, on the sequences
                that are looked at first (RefusedDictionary), or after all on all of them.
        """
        from saeuniv.adapters.dictionary import check_fvu, load_dictionary
        from saeuniv.adapters.language_model import load_language_model
        from saeuniv.adapters.quality import HIGH_NORM, row_norms

        held_out = read_held_out(self.store, self.tokens)
        model = load_language_model(self.model.locate(self.store), revision=self.model.revision)
        dictionaries = {
            each.dictionary.hookpoint: load_dictionary(each.dictionary.locate(self.store))
            for each in self.latents
        }
        step = max(len(held_out.ids) // _CHECKED_SEQUENCES, 1)
        checked = _Sequences(*(each[::step][:_CHECKED_SEQUENCES] for each in (held_out.ids, held_out.keep)))
        max_fvu = min(each.dictionary.sae.max_fvu for each in self.latents)
        for warning in check_fvu(
            model, dictionaries, checked.ids, checked.keep, max_fvu=max_fvu, label=self.model.label
        ):
            _log.warning(warning)
        bound = HIGH_NORM * float(np.median(row_norms(model, checked.ids, checked.keep)))
        cuts = shard_cuts(held_out)
        for shard, cut in enumerate(cuts):
            sequences = _Sequences(held_out.ids[cut], held_out.keep[cut])
            self._encode_shard(model, dictionaries, sequences, shard, bound)
            progress(shard + 1, len(cuts))
        if refused := [*self._refused(len(cuts))]:
            raise ValueError("\n".join(refused))
        _log.info("latents: %s, %d sequences in %d shards", self.label, len(held_out.ids), len(cuts))

    def _encode_shard(
        self,
        model: Any,
        dictionaries: dict[Hookpoint, Any],
        sequences: "_Sequences",
        shard: int,
        bound: float,
    ) -> None:
        missing = [
            (each.dictionary.hookpoint, replace(each.artifact, shard=shard))
            for each in self.latents
            if not self.store.exists(replace(each.artifact, shard=shard))
        ]
        if not missing:
            return
        from saeuniv.adapters.quality import encode_rows

        started = time.monotonic()
        wanted = {hookpoint: dictionaries[hookpoint] for hookpoint, _ in missing}
        encoded = encode_rows(
            model, wanted, sequences.ids, sequences.keep, bound=bound, batch_sequences=self.batch_sequences
        )
        share = (time.monotonic() - started) / len(missing)
        for hookpoint, output in missing:
            each = encoded[hookpoint]
            quality = ShardQuality(each.fit, each.fit_high_norm, each.high_norm, None)
            with self.store.publish(output, seconds=share) as folder:
                save_shard(folder, each.parts, quality, dictionaries[hookpoint].width)


class _Sequences(NamedTuple):
    ids: Int[np.ndarray, "sequences context"]
    keep: Bool[np.ndarray, "sequences context"]
