"""Layer pairs: matches, re-matched nulls and scores, published one by one."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from safetensors import safe_open

from saeuniv.compare import CompareSettings, align, align_null, null_reason
from saeuniv.config import canonical_json, plain
from saeuniv.metrics import MetricMethod
from saeuniv.metrics.layer_pair import Draws, DrawSettings, LayerPair, Matches, make_draws
from saeuniv.numerics.latents import PreparedLayer, prepare_layer
from saeuniv.numerics.rows import Half, make_halves
from saeuniv.stages.latents import read_latents, shard_cuts
from saeuniv.stages.scores import LayerQuality, Scores, load_matches, save_matches, save_scores
from saeuniv.stages.task import LatentsReference, Progress, Task
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Store

_log = logging.getLogger(__name__)

# Prepared layers kept per process. A layer of 256 latents on 124k rows holds 0.2 GiB with its spectra.
_KEPT_BYTES = 1 << 30

Layer = tuple[LatentsReference, ...]
"""A layer, or a group of layers read as one."""


@dataclass(frozen=True)
class PairOutputs:
    """What one layer pair publishes."""

    layer_b: Layer
    matches: Artifact | None
    """The alignment's pairs; None where no metric asks for them."""

    null_matches: tuple[tuple[str, Artifact], ...]
    """The same alignment on broken pairings, by the null's name."""

    scores: tuple[tuple[MetricMethod, Artifact], ...]

    def united(self, other: "PairOutputs") -> "PairOutputs":
        """The scores of both, each once, with the matches they need."""
        nulls = dict((*self.null_matches, *other.null_matches))
        scores = {score.path: (metric, score) for metric, score in (*self.scores, *other.scores)}
        return PairOutputs(
            self.layer_b, self.matches or other.matches, tuple(nulls.items()), tuple(scores.values())
        )

    def without(self, paths: Collection[str]) -> "PairOutputs":
        """Less the scores with these paths, and the matches that only those needed."""
        kept = tuple((metric, score) for metric, score in self.scores if score.path not in paths)
        any_aligned = any(metric.aligned for metric, _ in kept)
        needed = {null for metric, _ in kept for null in metric.needs_nulls}
        nulls = tuple((name, each) for name, each in self.null_matches if name in needed)
        return PairOutputs(self.layer_b, self.matches if any_aligned else None, nulls, kept)


def inputs_of(layers: Iterable[LatentsReference]) -> dict[str, Artifact]:
    """What must have been published before these latents can be compared, by path."""
    found: dict[str, Artifact] = {}
    for each in layers:
        for artifact in (each.artifact, each.tokens, each.dictionary.artifact):
            found |= {artifact.path: artifact} if artifact else {}
    return found


@dataclass(frozen=True)
class ComparePairs(Task):
    """One layer of A with layers of B."""

    stage: ClassVar[str] = "scores"

    layer_a: Layer
    pairs: tuple[PairOutputs, ...]
    settings: CompareSettings
    skip_first: int

    @property
    def label(self) -> str:
        """The layer of A and how many of B."""
        names = "+".join(str(each.dictionary.hookpoint) for each in self.layer_a)
        partner = self.pairs[0].layer_b[0].model.label
        return f"{self.layer_a[0].model.label} {names} x {len(self.pairs)} of {partner}"

    @property
    def group(self) -> Hashable:
        """The layer of A, the dictionaries of B, and how they are compared: a layer is prepared once."""
        keys = tuple(each.artifact.key for each in self.layer_a)
        b = self.pairs[0].layer_b[0]
        partner = (b.model.key, b.dictionary.width, canonical_json(plain(b.dictionary.sae)))
        return (self.stage, keys, partner, self.skip_first, repr(self.settings))

    def is_done(self) -> bool:
        """True if everything it publishes is there, matches too: damaged ones are made again."""
        return all(self.store.exists(output) for pair in self.pairs for output in _outputs(pair))

    def united(self, other: Any) -> "ComparePairs":
        """The layer pairs of both, with the metrics of both."""
        pairs: dict[tuple[str, ...], PairOutputs] = {}
        for pair in (*self.pairs, *other.pairs):
            key = tuple(each.artifact.key for each in pair.layer_b)
            pairs[key] = pairs[key].united(pair) if key in pairs else pair
        return self._comparing(pairs.values(), {each.path: each for each in (*self.inputs, *other.inputs)})

    def without(self, paths: Collection[str]) -> "ComparePairs | None":
        """Less the scores with these paths."""
        if not any(output.path in paths for output in self.outputs):
            return self
        kept = [narrowed for pair in self.pairs if (narrowed := pair.without(paths)).scores]
        return self._comparing(kept, {each.path: each for each in self.inputs}) if kept else None

    def _comparing(self, pairs: Iterable[PairOutputs], inputs: dict[str, Artifact]) -> "ComparePairs":
        chosen = tuple(pairs)
        needed = set(inputs_of((*self.layer_a, *(each for pair in chosen for each in pair.layer_b))))
        return replace(
            self,
            pairs=chosen,
            inputs=tuple(each for path, each in inputs.items() if path in needed),
            outputs=tuple(score for pair in chosen for _, score in pair.scores),
            seconds=self.seconds / len(self.pairs) * len(chosen),
        )

    def __call__(self, progress: Progress) -> None:
        """Compare and publish pair by pair."""
        for done, pair in enumerate(self.pairs):
            if not all(self.store.exists(output) for output in _outputs(pair)):
                self._compare(pair)
            progress(done + 1, len(self.pairs))
        _log.info("scores: %s compared", self.label)

    def _compare(self, outputs: PairOutputs) -> None:
        tokens = self.layer_a[0].tokens
        halves, draws = _rows(self.store, tokens, self.skip_first, self.settings.draws)
        (a, quality_a), (b, quality_b) = (
            _prepared(self.store, layer, halves, self.skip_first, self.settings)
            for layer in (self.layer_a, outputs.layer_b)
        )
        pair = LayerPair(a, b, draws, self.settings.eligibility.min_df_share)
        pair = self._with_matches(pair, outputs)
        n_rows = sum(len(half.rows) for half in halves)
        n_documents = sum(len(half.rows_per_document) for half in halves)
        for metric, output in outputs.scores:
            if self.store.exists(output):
                continue
            with self.store.publish(output) as folder:
                measured = metric.measure(pair)
                save_scores(folder, Scores(measured, quality_a, quality_b, n_rows, n_documents))

    def _with_matches(self, pair: LayerPair, outputs: PairOutputs) -> LayerPair:
        """The pair with its matches and re-matched nulls, read from the store or made and published."""
        if outputs.matches is None:
            return pair
        alignment = self.settings.alignment
        observed = self._stored(outputs.matches, lambda: (align(pair, alignment),))
        pair = replace(pair, matches=observed[0] if observed else {})
        nulls: dict[str, tuple[Matches, ...]] = {}
        reasons: dict[str, str] = {}
        for name, output in outputs.null_matches:
            reasons[name] = null_reason(pair, alignment, name)
            drawn = self._stored(
                output, lambda name=name: () if reasons[name] else align_null(pair, alignment, name)
            )
            if not reasons[name]:
                nulls[name] = drawn
        return replace(pair, null_matches=nulls, null_reasons=reasons)

    def _stored(self, output: Artifact, make: Callable[[], tuple[Matches, ...]]) -> tuple[Matches, ...]:
        if not self.store.exists(output):
            with self.store.publish(output) as folder:
                save_matches(folder, make())
        return load_matches(self.store.open(output))


def _outputs(pair: PairOutputs) -> tuple[Artifact, ...]:
    matches = (pair.matches,) if pair.matches else ()
    return (*matches, *(each for _, each in pair.null_matches), *(each for _, each in pair.scores))


class _KeptLayers:
    """Prepared layers of this process, the ones used last, within a bound of memory."""

    def __init__(self) -> None:
        self._layers: OrderedDict[object, tuple[PreparedLayer, LayerQuality]] = OrderedDict()

    def get(
        self, key: object, make: Callable[[], tuple[PreparedLayer, LayerQuality]]
    ) -> tuple[PreparedLayer, LayerQuality]:
        """The layer under `key`; the least recently used ones go when memory is short."""
        if key not in self._layers:
            # What a layer holds grows while its pairs are computed: weighed now, before one more.
            while sum(layer.nbytes for layer, _ in self._layers.values()) > _KEPT_BYTES:
                self._layers.popitem(last=False)
            self._layers[key] = make()
        self._layers.move_to_end(key)
        return self._layers[key]


_layers = _KeptLayers()


@lru_cache(maxsize=1)
def _rows(
    store: Store, tokens: Artifact, skip_first: int, settings: DrawSettings
) -> tuple[tuple[Half, Half], Draws]:
    held_out = read_held_out(store, tokens)
    positions = held_out.ids.shape[1] - skip_first
    documents = np.repeat(held_out.documents, positions)
    halves = make_halves(documents, held_out.groups(skip_first), positions=positions)
    return halves, make_draws(halves, settings)


def _prepared(
    store: Store, layer: Layer, halves: tuple[Half, Half], skip_first: int, settings: CompareSettings
) -> tuple[PreparedLayer, LayerQuality]:
    def make() -> tuple[PreparedLayer, LayerQuality]:
        held_out = read_held_out(store, layer[0].tokens)
        n_shards = len(shard_cuts(held_out.documents, held_out.ids.shape[1] - skip_first))
        parts = [read_latents(store, each, n_shards) for each in layer]
        latents = sp.csr_array(sp.hstack([part.latents for part in parts], format="csr"))
        decoder = np.concatenate([_decoder(store, each) for each in layer])
        prepared = prepare_layer(latents, halves, floors=settings.floors, decoder=decoder)
        chosen = prepared.eligibility
        quality = LayerQuality(
            d_sae=latents.shape[1],
            l0=sum(part.l0 for part in parts),
            fvu=sum(part.error for part in parts) / max(sum(part.variance for part in parts), 1e-300),
            n_alive=int(chosen.alive.sum()),
            n_eligible=int(chosen.eligible.sum()),
            eligible_mass=chosen.mass_share,
            context_share=chosen.context_share,
        )
        return prepared, quality

    key = (store.root, tuple(each.artifact.path for each in layer), skip_first, settings.floors)
    return _layers.get(key, make)


def _decoder(store: Store, latents: LatentsReference) -> np.ndarray:
    """Decoder directions of a dictionary, read without loading it."""
    path = latents.dictionary.locate(store) / "sae.safetensors"
    with safe_open(path, framework="numpy") as tensors:
        return np.asarray(tensors.get_tensor("W_dec"), dtype=np.float32)
