"""Cells that belong together, united: the layer pairs and metrics that one comparison must fill."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

from saeuniv.alignments import AlignmentMethod
from saeuniv.compare import CompareSettings
from saeuniv.config import Cell, ConfigError, names_all, parse_count, select_layers, select_pairs
from saeuniv.metrics import METRICS, MetricMethod
from saeuniv.stages.compare import Layer, PairOutputs
from saeuniv.stages.described import Described, SideDescription
from saeuniv.stages.prepared import RowChoice
from saeuniv.sweep.naming import Naming
from saeuniv.sweep.sides import ResolvedSide, Sides
from saeuniv.sweep.tokenizers import are_aligned, tokenizer_faults

_log = logging.getLogger(__name__)

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
    def rows(self) -> RowChoice:
        """Which rows are compared on."""
        data = self.cell.data
        return RowChoice(parse_count(data.n_tokens), data.mask_high_norm)

    @property
    def described(self) -> Described:
        """What its rows say."""
        a, b = (
            SideDescription(
                side.side.model.label,
                side.model.revision or "",
                "<-".join(dict.fromkeys((side.side.sae.hookpoint.value, side.side.sae.given.value))),
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

    @cached_property
    def pairs(self) -> tuple[tuple[Wanted, PairOutputs], ...]:
        """Every wanted layer pair with what it publishes, named by everything that changes it."""
        naming = Naming(self.settings, self.rows)
        layers_a = {group: self.latents(self.a, group) for group in self.layers("a")}
        layers_b = {group: self.latents(self.b, group) for group in self.layers("b")}
        return tuple(
            (wanted, naming.outputs(layers_a[wanted.layer_a], layers_b[wanted.layer_b], wanted.metrics))
            for wanted in self.wanted
        )


def _require_same_options(
    known: Mapping[str, MetricMethod], metrics: Mapping[str, MetricMethod], cell: Cell
) -> None:
    """Refuse a metric with two sets of options: they would fill one matrix, and the last one would win."""
    for name in known.keys() & metrics.keys():
        if known[name] != metrics[name]:
            raise ConfigError(
                f"metrics.{name}: expected the same options in all cells of {cell.comparison}, got several: "
                f"they share one matrix. Run them as sweeps of their own (sweep.name=...)."
            )


def unite(cells: Sequence[Cell], sides: Sides) -> Comparison:
    """The comparison that these cells are parts of: cells that differ only in layers and metrics.

    Raises:
        ConfigError: files that do not fit, layers that a model lacks, nulls or options of a metric that
            differ, or two models that would not read the same tokens.
    """
    first = cells[0]
    if any(cell.nulls != first.nulls for cell in cells):
        raise ConfigError(
            f"nulls: expected the same nulls in all cells of {first.comparison}, got several: they share one "
            f"matrix. Run them as sweeps of their own (sweep.name=...)."
        )
    wanted: dict[tuple[LayerGroup, LayerGroup], dict[str, MetricMethod]] = {}
    text = sides.text(first)
    known = {side.name: sides.resolve(side, text, ()) for side in first.sides}
    depths = {name: side.facts.n_layers for name, side in known.items()}
    absent = {name: _absent(cells, name, sides) for name in depths}
    for cell in cells:
        groups = {
            side.name: select_layers(
                side.layers,
                range(depths[side.name]),
                key=f"layers.{side.name}",
                owner=side.model.label,
                absent=absent[side.name],
            )
            for side in cell.sides
        }
        metrics = {each.name: each for each in cell.metrics if isinstance(each, MetricMethod)}
        for pair in select_pairs(
            cell.pairs, groups["a"], groups["b"], n_layers_a=depths["a"], n_layers_b=depths["b"]
        ):
            _require_same_options(wanted.setdefault(pair, {}), metrics, first)
            wanted[pair].update(metrics)
    requests = tuple(
        Wanted(a, b, tuple(sorted(metrics.values(), key=_order)))
        for (a, b), metrics in sorted(wanted.items())
    )
    layers_a = {layer for request in requests for layer in request.layer_a}
    layers_b = {layer for request in requests for layer in request.layer_b}
    tokenizer_a, tokenizer_b = known["a"].tokenizer, known["b"].tokenizer
    if faults := tokenizer_faults(first, tokenizer_a.key, tokenizer_b.key):
        raise ConfigError(*faults)
    aligned = are_aligned(first, tokenizer_a.key, tokenizer_b.key)
    lent = layers_b if first.b.lender else set[int]()
    a = sides.resolve(first.a, text, layers_a | lent, partner=tokenizer_b if aligned else None)
    b = sides.resolve(first.b, text, layers_b, partner=tokenizer_a if aligned else None)
    a, b = replace(a, absent=absent["a"]), replace(b, absent=absent["b"])
    return Comparison(first, a, b, requests)


def _order(metric: MetricMethod) -> tuple[int, str]:
    """The place of its kind among all, and its name: one kind may be there for several categories."""
    return METRICS.index(type(metric)), metric.name


def _absent(cells: Sequence[Cell], name: str, sides: Sides) -> Mapping[int, str]:
    """The layers of a side that `all` leaves out, and why: said once, at planning."""
    asking = [side for cell in cells for side in cell.sides if side.name == name and names_all(side.layers)]
    absent = sides.absent(asking[0]) if asking else {}
    if absent:
        reasons = "; ".join(f"{layer}: {why}" for layer, why in sorted(absent.items()))
        _log.info("layers.%s=all: %d layers left out (%s)", name, len(absent), reasons)
    return absent


@cache
def layer_label(group: LayerGroup) -> str:
    """`3`, or `3+4` for layers read as one."""
    return "+".join(map(str, group))
