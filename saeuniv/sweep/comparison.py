"""Cells that belong together, united: the layer pairs and metrics that one comparison must fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from saeuniv.adapters.corpus import fingerprint
from saeuniv.alignments import AlignmentMethod
from saeuniv.compare import CompareSettings
from saeuniv.config import Cell, ConfigError, plain, select_layers, select_pairs
from saeuniv.metrics import METRICS, MetricMethod
from saeuniv.metrics.base import SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.stages.compare import Layer, PairOutputs
from saeuniv.stages.rows import Described, SideDescription
from saeuniv.store import Artifact, Kind, artifact
from saeuniv.sweep.sides import ResolvedSide, resolve_side

LayerGroup = tuple[int, ...]


class Wanted(NamedTuple):
    """One layer pair, and the metrics asked of it."""

    layer_a: LayerGroup
    layer_b: LayerGroup
    metrics: tuple[MetricMethod, ...]


@dataclass(frozen=True)
class Comparison:
    """Two models and everything to be computed of them; one results folder, one W&B run."""

    cell: Cell
    """The first of the cells: what they share."""

    a: ResolvedSide
    b: ResolvedSide
    wanted: tuple[Wanted, ...]

    @property
    def settings(self) -> CompareSettings:
        """How layers are compared."""
        cell = self.cell
        assert isinstance(cell.alignment, AlignmentMethod)
        return CompareSettings(
            alignment=cell.alignment,
            metrics=(),
            eligibility=cell.eligibility,
            nulls=cell.nulls,
            bootstrap=cell.bootstrap,
        )

    @property
    def described(self) -> Described:
        """What its rows say."""
        a, b = (
            SideDescription(
                side.side.model.label,
                side.model.revision or "",
                side.side.sae.hookpoint.value,
                next(iter(side.latents.values())).dictionary.source,
            )
            for side in (self.a, self.b)
        )
        cell, settings = self.cell, self.settings
        return Described(
            cell.comparison, a, b, settings.alignment, cell.bootstrap.confidence, cell.nulls.seed
        )

    def layers(self, side: str) -> tuple[LayerGroup, ...]:
        """The layers of a side that are asked for, by depth."""
        return tuple(sorted({pair.layer_a if side == "a" else pair.layer_b for pair in self.wanted}))

    def latents(self, side: ResolvedSide, group: LayerGroup) -> Layer:
        """What a layer, or a group of layers read as one, is made of."""
        return tuple(side.latents[layer] for layer in group)

    def outputs(self, wanted: Wanted) -> PairOutputs:
        """What the layer pair publishes, named by everything that changes it."""
        layer_a, layer_b = self.latents(self.a, wanted.layer_a), self.latents(self.b, wanted.layer_b)
        return pair_outputs(layer_a, layer_b, wanted.metrics, self.settings)


def unite(cells: Sequence[Cell]) -> Comparison:
    """The comparison that these cells are parts of: cells that differ only in layers and metrics.

    Raises:
        ConfigError: files that do not fit, layers that a model lacks, nulls that differ, or two models
            that would not read the same tokens.
    """
    first = cells[0]
    if any(cell.nulls != first.nulls for cell in cells):
        raise ConfigError(
            f"nulls: expected the same nulls in all cells of {first.comparison}, got several: they share one "
            f"matrix. Run them as sweeps of their own (sweep.name=...)."
        )
    wanted: dict[tuple[LayerGroup, LayerGroup], dict[str, MetricMethod]] = {}
    text = fingerprint(first.data)
    depths = {side.name: resolve_side(side, first.data, (), text=text).facts.n_layers for side in first.sides}
    for cell in cells:
        groups = {
            side.name: select_layers(
                side.layers, range(depths[side.name]), key=f"layers.{side.name}", owner=side.model.label
            )
            for side in cell.sides
        }
        for pair in select_pairs(
            cell.pairs, groups["a"], groups["b"], n_layers_a=depths["a"], n_layers_b=depths["b"]
        ):
            metrics = [metric for metric in cell.metrics if isinstance(metric, MetricMethod)]
            wanted.setdefault(pair, {}).update({metric.name: metric for metric in metrics})
    order = [metric.name for metric in METRICS]
    requests = tuple(
        Wanted(a, b, tuple(sorted(metrics.values(), key=lambda metric: order.index(metric.name))))
        for (a, b), metrics in sorted(wanted.items())
    )
    layers_a = {layer for request in requests for layer in request.layer_a}
    layers_b = {layer for request in requests for layer in request.layer_b}
    a = resolve_side(first.a, first.data, layers_a, text=text)
    b = resolve_side(first.b, first.data, layers_b, text=text)
    if a.held_out != b.held_out:
        raise ConfigError(
            f"token sets differ: expected {a.model.label} and {b.model.label} on the same tokens in the "
            f"same order, got token sets {a.held_out.key} and {b.held_out.key}. Their tokenizers are not "
            f"the same; compare models that share one."
        )
    return Comparison(first, a, b, requests)


def layer_label(group: LayerGroup) -> str:
    """`3`, or `3+4` for layers read as one."""
    return "+".join(map(str, group))


def pair_outputs(
    layer_a: Layer, layer_b: Layer, metrics: tuple[MetricMethod, ...], settings: CompareSettings
) -> PairOutputs:
    """Matches, re-matched nulls and scores of one layer pair.

    A score's key holds what changes its number and nothing else: nulls enter where the metric draws
    them, the bootstrap where it resamples.
    """
    latents: dict[str, object] = {
        "a": [each.artifact.key for each in layer_a],
        "b": [each.artifact.key for each in layer_b],
        "eligibility": plain(settings.eligibility),
    }
    parents = tuple(each.artifact.path for each in (*layer_a, *layer_b))
    aligned = {**latents, "alignment": plain(settings.alignment)}
    matches = artifact(Kind.matches, {**aligned, "null": None}, parents)
    null_matches = {
        name: artifact(Kind.matches, {**aligned, "null": _null(name, settings)}, parents)
        for name in dict.fromkeys(null for metric in metrics for null in metric.needs_nulls)
    }
    scores: list[tuple[MetricMethod, Artifact]] = []
    for metric in metrics:
        spec: dict[str, object] = {**latents, "metric": {"name": metric.name, **plain(metric)}}
        if metric.aligned:
            spec |= {"alignment": plain(settings.alignment), "nulls": plain(settings.nulls)}
        if metric.space == "tokens":
            spec |= {"bootstrap": _resampling(settings)}
        scores.append((metric, artifact(Kind.scores, spec, parents)))
    any_aligned = any(metric.aligned for metric in metrics)
    return PairOutputs(layer_b, matches if any_aligned else None, tuple(null_matches.items()), tuple(scores))


def _null(name: str, settings: CompareSettings) -> dict[str, object]:
    draws = {SELECTION_SHIFT: settings.nulls.draws, WITHIN_TOKEN_SHUFFLE: settings.nulls.shuffle_draws}
    return {"name": name, "seed": settings.nulls.seed, "draws": draws[name]}


def _resampling(settings: CompareSettings) -> dict[str, object]:
    """The bootstrap less its confidence, which is applied to stored draws."""
    return {name: value for name, value in plain(settings.bootstrap).items() if name != "confidence"}
