"""Latents of every asked layer of one model on the held-out tokens, in one forward pass, shard by shard."""

import dataclasses
import logging
import time
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from saeuniv.config import canonical_json, plain
from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.latents import ShardQuality, save_shard, shard_cuts, shards
from saeuniv.stages.stored_quality import fit_of
from saeuniv.stages.task import LatentsReference, ModelReference, Progress, Task
from saeuniv.stages.tokens import HeldOut, read_held_out
from saeuniv.store import Artifact, Kind

_log = logging.getLogger(__name__)

# Sequences on which a dictionary's fit to its hookpoint is checked before anything is encoded.
_CHECKED_SEQUENCES = 64
# Of these, those on which the loss with the reconstruction spliced in is measured.
_SPLICED_SEQUENCES = 32


@dataclass(frozen=True)
class Encode(Task):
    """Encodes all missing shards of all hookpoints of one model."""

    stage: ClassVar[str] = "latents"

    model: ModelReference
    tokens: Artifact
    latents: tuple[LatentsReference, ...]
    batch_sequences: int
    device: str = "cpu"
    """cpu, mps, cuda, cuda:1, or cuda:0,cuda:1 for a model that is spread over both; no part of a key."""

    @property
    def n_gpus(self) -> int:
        """Those that `device` names."""
        return sum(each.startswith("cuda") for each in self.device.split(","))

    def on_gpus(self, numbers: Sequence[int]) -> "Encode":
        """On these GPUs."""
        return replace(self, device=",".join(f"cuda:{number}" for number in numbers))

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
        wanted = self._shards(n_shards)
        parts = (shards(each, n_shards)[shard] for each in self.latents for shard in wanted)
        return all(map(self.store.exists, parts)) and not any(self._refused(n_shards))

    def _shards(self, n_shards: int) -> range:
        """Those that this task makes."""
        return range(n_shards)

    def output_of(self, latents: LatentsReference) -> Artifact:
        """What this task makes of these latents."""
        return latents.artifact

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
        return self._encoding(
            {each.artifact.key: each for each in (*self.latents, *other.latents)}.values(), other.inputs
        )

    def without(self, paths: Collection[str]) -> "Encode | None":
        """Less the latents with these paths."""
        kept = [each for each in self.latents if self.output_of(each).path not in paths]
        return self._encoding(kept) if kept else None

    def shared_by(self, n_tasks: int) -> "list[Encode]":
        """This task; or `n_tasks` that share its shards, and this one, which then checks them all."""
        if n_tasks == 1:
            return [self]
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        parts: list[Encode] = []
        for i in range(n_tasks):
            part = EncodePart(**fields, part=(i, n_tasks))
            parts.append(replace(part, outputs=tuple(map(part.output_of, self.latents))))
        made = tuple(output for part in parts for output in part.outputs)
        return [*parts, replace(self, inputs=(*self.inputs, *made))]

    def _encoding(self, latents: Iterable[LatentsReference], more: tuple[Artifact, ...] = ()) -> "Encode":
        chosen = tuple(sorted(latents, key=lambda each: each.dictionary.hookpoint.layer))
        keys = {each.artifact.key for each in chosen}
        inputs = {
            each.path: each
            for each in (*self.inputs, *more)
            if each.kind is not Kind.dictionaries and (each.kind is not Kind.latents or each.key in keys)
        }
        inputs |= {
            each.dictionary.artifact.path: each.dictionary.artifact
            for each in chosen
            if each.dictionary.artifact
        }
        outputs = tuple(self.output_of(each) for each in chosen)
        return replace(self, latents=chosen, inputs=tuple(inputs.values()), outputs=outputs)

    def __call__(self, progress: Progress) -> None:
        """Check every dictionary on its own input, then encode and publish shard by shard.

        Where other tasks have made all shards, it checks the fit on all of them, and no model is loaded.

        Raises:
            ValueError: a dictionary leaves more of its input unexplained than allowed, on the sequences
                that are looked at first (RefusedDictionary), or after all on all of them.
        """
        held_out = read_held_out(self.store, self.tokens)
        cuts = shard_cuts(held_out)
        wanted = [shard for shard in self._shards(len(cuts)) if self._missing(shard)]
        if wanted:
            self._encode(held_out, cuts, wanted, progress)
        if refused := [*self._refused(len(cuts))]:
            raise ValueError("\n".join(refused))
        _log.info("latents: %s, %d sequences in %d shards", self.label, len(held_out.ids), len(wanted))

    def _missing(self, shard: int) -> list[tuple[Hookpoint, Artifact]]:
        """Hookpoints whose shard of this number is not there."""
        outputs = ((each.dictionary.hookpoint, replace(each.artifact, shard=shard)) for each in self.latents)
        return [(hookpoint, output) for hookpoint, output in outputs if not self.store.exists(output)]

    def _encode(self, held_out: HeldOut, cuts: list[slice], wanted: list[int], progress: Progress) -> None:
        from saeuniv.adapters.dictionary import check_fvu
        from saeuniv.adapters.language_model import load_language_model
        from saeuniv.adapters.quality import HIGH_NORM, row_norms

        model = load_language_model(
            self.model.locate(self.store),
            revision=self.model.revision,
            device=self.device,
            dtype=self.model.dtype,
            backend=self.model.backend,
        )
        used = [each.dictionary for each in self.latents]
        dictionaries = {each.hookpoint: each.load(self.store, device=str(model.given_on)) for each in used}
        step = max(len(held_out.ids) // _CHECKED_SEQUENCES, 1)
        checked = held_out.part(slice(None, _CHECKED_SEQUENCES * step, step))
        max_fvu = min(each.dictionary.sae.max_fvu for each in self.latents)
        for warning in check_fvu(model, dictionaries, *checked.read, max_fvu=max_fvu, label=self.model.label):
            _log.warning(warning)
        bound = HIGH_NORM * float(np.median(row_norms(model, *checked.read)))
        for done, shard in enumerate(wanted):
            sequences = held_out.part(cuts[shard])
            self._encode_shard(model, dictionaries, sequences, checked, shard, bound)
            progress(done + 1, len(wanted))

    def _encode_shard(
        self,
        model: Any,
        dictionaries: dict[Hookpoint, Any],
        sequences: HeldOut,
        checked: HeldOut,
        shard: int,
        bound: float,
    ) -> None:
        from saeuniv.adapters.quality import encode_rows, splicing_losses

        missing = self._missing(shard)
        started = time.monotonic()
        wanted = {hookpoint: dictionaries[hookpoint] for hookpoint, _ in missing}
        encoded = encode_rows(
            model, wanted, *sequences.read, bound=bound, batch_sequences=self.batch_sequences
        )
        # Of the model on the whole token set: kept with the first shard.
        looked_at = checked.part(slice(_SPLICED_SEQUENCES))
        losses = splicing_losses(model, wanted, *looked_at.read) if shard == 0 else {}
        share = (time.monotonic() - started) / len(missing)
        for hookpoint, output in missing:
            each = encoded[hookpoint]
            quality = ShardQuality(each.fit, each.fit_high_norm, each.high_norm, losses.get(hookpoint))
            with self.store.publish(output, seconds=share) as folder:
                save_shard(folder, each.parts, quality, dictionaries[hookpoint].width)


@dataclass(frozen=True)
class EncodePart(Encode):
    """Encodes every n-th shard: one of several tasks on as many devices; `Encode` follows and checks all."""

    stage: ClassVar[str] = "shards"

    part: tuple[int, int] = (0, 1)
    """(i, n): shards i, i + n, i + 2n ..."""

    @property
    def label(self) -> str:
        """The model, how many of its hookpoints, and which part."""
        return f"{super().label}, part {self.part[0] + 1} of {self.part[1]}"

    @property
    def group(self) -> Hashable:
        """As for the whole, part by part."""
        return (super().group, self.part)

    def _shards(self, n_shards: int) -> range:
        return range(self.part[0], n_shards, self.part[1])

    def output_of(self, latents: LatentsReference) -> Artifact:
        """The part of them that this task makes; a name, nothing that is published."""
        return replace(latents.artifact, part=self.part)

    def _refused(self, n_shards: int) -> Iterator[str]:
        # The fit on all tokens is known when all parts are there.
        return iter(())
