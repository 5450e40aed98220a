"""The names of what layer pairs publish: keys that hold what changes a number, and nothing else."""

import dataclasses
from typing import NamedTuple

from saeuniv.compare import CompareSettings
from saeuniv.config import canonical_json, plain
from saeuniv.metrics import MetricMethod
from saeuniv.metrics.base import SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.stages.compare import Layer, PairOutputs
from saeuniv.stages.prepared import RowChoice
from saeuniv.store import Artifact, Kind, artifact_named


class _Method(NamedTuple):
    """What all layer pairs share in a spec, and its canonical JSON."""

    spec: dict[str, object]
    text: str


class Naming:
    """Names matches and scores; what layer pairs share is encoded once for all of them."""

    def __init__(self, settings: CompareSettings, rows: RowChoice) -> None:
        self._settings = settings
        self._rows = dataclasses.asdict(rows)
        self._layers: dict[int, tuple[Layer, list[str], str]] = {}
        self._matchings: dict[str, _Method] = {}
        self._scorings: dict[int, tuple[MetricMethod, _Method]] = {}

    def outputs(self, layer_a: Layer, layer_b: Layer, metrics: tuple[MetricMethod, ...]) -> PairOutputs:
        """Matches, re-matched nulls and scores of one layer pair."""
        keys_a, text_a = self._keys(layer_a)
        keys_b, text_b = self._keys(layer_b)
        latents = f'{{"a":{text_a},"b":{text_b},"method":'
        parents = tuple(each.artifact.path for each in (*layer_a, *layer_b))

        def named(kind: Kind, method: _Method) -> Artifact:
            spec = {"a": keys_a, "b": keys_b, "method": method.spec}
            return artifact_named(kind, f"{latents}{method.text}}}", spec, parents)

        null_matches = tuple(
            (name, named(Kind.matches, self._matching(name)))
            for name in dict.fromkeys(null for metric in metrics for null in metric.needs_nulls)
        )
        scores = tuple((metric, named(Kind.scores, self._scoring(metric))) for metric in metrics)
        any_aligned = any(metric.aligned for metric in metrics)
        matches = named(Kind.matches, self._matching("")) if any_aligned else None
        return PairOutputs(layer_b, matches, null_matches, scores)

    def _keys(self, layer: Layer) -> tuple[list[str], str]:
        """The keys of a layer's latents, and their canonical JSON."""
        if id(layer) not in self._layers:
            keys = [each.artifact.key for each in layer]
            # The layer is kept beside: an id names an object only while it lives.
            self._layers[id(layer)] = (layer, keys, canonical_json(keys))
        return self._layers[id(layer)][1:]

    def _matching(self, null: str) -> _Method:
        """The alignment, on broken pairings where a null is named."""
        if null not in self._matchings:
            drawn = _null(null, self._settings) if null else None
            alignment = plain(self._settings.alignment)
            self._matchings[null] = self._method({"alignment": alignment, "null": drawn})
        return self._matchings[null]

    def _scoring(self, metric: MetricMethod) -> _Method:
        """The metric; nulls enter where it draws them, the bootstrap where it resamples."""
        # As above: by id, since a metric is no key of a dictionary.
        if id(metric) not in self._scorings:
            spec: dict[str, object] = {"metric": {"name": metric.name, **plain(metric)}}
            if metric.aligned:
                spec |= {"alignment": plain(self._settings.alignment)}
            if metric.aligned or metric.draws_shifts:
                spec |= {"nulls": plain(self._settings.nulls)}
            elif metric.draws_permutations:
                spec |= {"nulls": {"seed": self._settings.nulls.seed}}
            if metric.space == "tokens":
                spec |= {"bootstrap": _resampling(self._settings)}
            self._scorings[id(metric)] = (metric, self._method(spec))
        return self._scorings[id(metric)][1]

    def _method(self, spec: dict[str, object]) -> _Method:
        whole = {"eligibility": plain(self._settings.eligibility), "rows": self._rows, **spec}
        return _Method(whole, canonical_json(whole))


def _null(name: str, settings: CompareSettings) -> dict[str, object]:
    draws = {SELECTION_SHIFT: settings.nulls.draws, WITHIN_TOKEN_SHUFFLE: settings.nulls.shuffle_draws}
    return {"name": name, "seed": settings.nulls.seed, "draws": draws[name]}


def _resampling(settings: CompareSettings) -> dict[str, object]:
    """The bootstrap less its confidence, which is applied to stored draws."""
    return {name: value for name, value in plain(settings.bootstrap).items() if name != "confidence"}
