"""The one door from Hydra: `to_cell` turns a composed configuration into typed, checked values."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from saeuniv.config.errors import ConfigError
from saeuniv.config.layers import Expansion, Width, parse_width
from saeuniv.config.rules import faults_of
from saeuniv.config.settings import (
    Alignment,
    Bootstrap,
    Config,
    ControlKind,
    Eligibility,
    Metric,
    Nulls,
    Resources,
    Sweep,
    Tracking,
)
from saeuniv.config.sources import Data, Model, Sae, TrainedSae

# Never part of an artifact's or a comparison's name: they do not change the number.
_NOT_IN_COMPARISON = frozenset(
    {
        "layers",
        "metrics",
        "nulls",
        "primary_metric",
        "tracking",
        "sweep",
        "resources",
        "store",
        "allow_mixed",
    }
)


@dataclass(frozen=True)
class Side:
    """One model with its dictionaries, and the layers asked of it."""

    name: str
    """a or b"""

    model: Model
    sae: Sae
    width: int | Expansion | Width
    layers: object
    """As written; `select_layers` turns it into layer numbers once the model's depth is known."""


@dataclass(frozen=True)
class Cell:
    """One Hydra job, typed and checked: what to compare, and how."""

    a: Side
    b: Side
    pairs: object
    alignment: Alignment
    metrics: tuple[Metric, ...]
    primary_metric: str
    data: Data
    control: ControlKind
    eligibility: Eligibility
    nulls: Nulls
    bootstrap: Bootstrap
    tracking: Tracking
    sweep: Sweep
    resources: Resources
    store: Path
    comparison: str
    """Name of the comparison this cell belongs to: its results folder and W&B run."""

    @property
    def sides(self) -> tuple[Side, Side]:
        """A and B."""
        return self.a, self.b


def to_cell(cfg: DictConfig) -> Cell:
    """The typed, checked cell of a composed configuration.

    Raises:
        ConfigError: with every fault that needs no file to be seen: unknown keys (`+key=` lets them
            into Hydra), missing values, values outside their range, embedded parts mixed with foreign.
    """
    faults = [f"{key}: unknown key." for key in _unknown_keys(cfg)]
    faults += [
        f"{key}: missing. Set {key}=..."
        for key in sorted(OmegaConf.missing_keys(cfg))
        if not key.startswith("hydra")
    ]
    if faults:
        raise ConfigError(*faults)
    try:
        config = cast(Config, OmegaConf.to_object(cfg))
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.__cause__ or error)) from error
    sides: list[Side] = []
    for name in ("a", "b"):
        try:
            sides.append(_side(config, name))
        except ConfigError as error:
            faults += error.faults
    faults += faults_of(config)
    if faults:
        raise ConfigError(*faults)
    embedded = config.a.embedded and config.b.embedded
    eligibility = dataclasses.replace(
        config.eligibility,
        min_firings=config.eligibility.min_firings or (10 if embedded else 100),
    )
    return Cell(
        a=sides[0],
        b=sides[1],
        pairs=config.layers.pairs,
        alignment=config.alignment,
        metrics=tuple(config.metrics.values()),
        primary_metric=config.primary_metric,
        data=config.data,
        control=config.control.kind,
        eligibility=eligibility,
        nulls=config.nulls,
        bootstrap=config.bootstrap,
        tracking=config.tracking,
        sweep=config.sweep,
        resources=config.resources,
        store=Path(config.store).expanduser(),
        comparison=comparison_name(cfg),
    )


def comparison_name(cfg: DictConfig) -> str:
    """`<model a>-<model b>-<alignment>-<hash>`; equal for cells that differ only in layers or metrics."""
    semantic = {
        str(key): _plain(cfg[key])
        for key in sorted(map(str, cfg))
        if key not in _NOT_IN_COMPARISON and key != "hydra"
    }
    digest = hashlib.sha256(canonical_json(semantic).encode()).hexdigest()[:8]
    config = cast(Config, OmegaConf.to_object(cfg))
    return f"{config.a.label}-{config.b.label}-{config.alignment.name}-{digest}".replace("/", "_")


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: what keys and names are hashes of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def plain(value: object) -> dict[str, object]:
    """A configuration dataclass as JSON values, with the name of its type under `type`."""
    assert dataclasses.is_dataclass(value) and not isinstance(value, type)
    out: dict[str, object] = {"type": type(value).__name__}
    for each in dataclasses.fields(value):
        item = getattr(value, each.name)
        out[each.name] = item.value if isinstance(item, Enum) else item
    return out


def _side(config: Config, name: str) -> Side:
    sae = cast(Sae | None, getattr(config, f"sae_{name}")) or config.sae
    written = getattr(config, f"width_{name}")
    key = "width" if written is None else f"width_{name}"
    written = config.width if written is None else written
    trained = isinstance(sae, TrainedSae)
    if written is None:
        written, key = (sae.width, "sae.width") if isinstance(sae, TrainedSae) else ("published", key)
    width = parse_width(written, key)
    if trained and width is Width.published:
        raise ConfigError(
            f"{key}=published: dictionaries trained here have no published width. Choose a number (16k) or a factor (x8)."
        )
    if not trained and isinstance(width, Expansion):
        raise ConfigError(
            f"{key}={written}: expansion factors are for dictionaries trained here (sae=train). Choose a number (32k) or published."
        )
    return Side(name, getattr(config, name), sae, width, getattr(config.layers, name))


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    known = {each.name for each in dataclasses.fields(OmegaConf.get_type(cfg) or Config)}
    for key in map(str, cfg):
        if key not in known and not (prefix == "" and key == "hydra"):
            yield f"{prefix}{key}"
            continue
        node = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if isinstance(node, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(node)):
            yield from _unknown_keys(node, f"{prefix}{key}.")
        elif key == "metrics" and isinstance(node, DictConfig):
            for name in map(str, node):
                if not dataclasses.is_dataclass(OmegaConf.get_type(node[name])):
                    yield f"metrics.{name}"
                else:
                    yield from _unknown_keys(node[name], f"metrics.{name}.")


def _plain(node: object) -> object:
    if isinstance(node, DictConfig):
        kind = OmegaConf.get_type(node)
        return {
            "type": kind.__name__ if kind else "",
            **{str(k): _plain(node[k]) for k in sorted(map(str, node))},
        }
    if OmegaConf.is_list(node):
        return OmegaConf.to_container(cast(Any, node))
    return node.value if isinstance(node, Enum) else node
