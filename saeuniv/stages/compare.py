"""Layer pairs: matches, re-matched nulls and scores, published one by one."""

import logging
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from saeuniv.adapters.correlation_search import search_on
from saeuniv.compare import CompareSettings
from saeuniv.config import canonical_json, plain
from saeuniv.matching import align, align_null, null_reason
from saeuniv.metrics import MetricMethod
from saeuniv.metrics.layer_pair import LayerPair, Matches
from saeuniv.stages.prepared import Layer, RowChoice, prepared_layer, rows_of
from saeuniv.stages.scores import Scores, load_matches, save_matches, save_scores
from saeuniv.stages.task import LatentsReference, Progress, Task
from saeuniv.stages.tokenizer_files import row_text
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)


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
    rows: RowChoice
    kept_bytes: int = 1 << 30
    """Of prepared layers that stay in memory for the next pairs; no part of a result."""

    device: str = "cpu"
    """Where raw correlations are searched; no part of a result."""

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
        return (self.stage, keys, partner, self.rows, repr(self.settings))

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
        first_a, first_b = self.layer_a[0], outputs.layer_b[0]
        on = rows_of(self.store, first_a, first_b, self.rows, self.settings.draws)
        whole = any(metric.reads == "dictionaries" for metric, _ in outputs.scores)
        (a, quality_a), (b, quality_b) = (
            prepared_layer(
                self.store, layer, on, self.settings, kept_bytes=self.kept_bytes, whole_dictionary=whole
            )
            for layer in (self.layer_a, outputs.layer_b)
        )
        search = search_on(self.device)
        pair = LayerPair(a, b, on.draws, self.settings.eligibility.min_df_share, search=search)
        pair = self._with_matches(self._with_text(pair, outputs, on.rows), outputs)
        n_rows = sum(len(half.rows) for half in on.halves)
        n_documents = sum(len(half.rows_per_document) for half in on.halves)
        for metric, output in outputs.scores:
            if self.store.exists(output):
                continue
            with self.store.publish(output) as folder:
                measured = metric.measure(pair)
                save_scores(folder, Scores(measured, quality_a, quality_b, n_rows, n_documents))

    def _with_text(self, pair: LayerPair, outputs: PairOutputs, rows: Int[np.ndarray, " kept"]) -> LayerPair:
        """The pair with the tokens or words of A's text, where a metric reads them."""
        tokens = any(metric.needs_token_text for metric, _ in outputs.scores)
        words = any(metric.needs_words for metric, _ in outputs.scores)
        text = row_text(self.store, self.layer_a[0], rows) if tokens or words else None
        if text is None:
            return pair
        return replace(pair, token_text=text.tokens if tokens else None, words=text.words if words else None)

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
