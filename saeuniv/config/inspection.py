"""The one door from Hydra: `to_cell` turns a composed configuration into typed, checked values."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from saeuniv.config.cell import Cell, Side
from saeuniv.config.errors import ConfigError
from saeuniv.config.layers import Expansion, Width, parse_width
from saeuniv.config.rules import faults_of
from saeuniv.config.settings import Alignment, Config
from saeuniv.config.sources import Data, Model, Sae, TrainedSae

_BASES = {"a": Model, "b": Model, "sae": Sae, "data": Data, "alignment": Alignment}


class Inspection(NamedTuple):
    """What can be said of a composed configuration without opening a file."""

    cell: Cell | None
    """The cell, for further checks even where there are faults; None if a value has the wrong type."""

    faults: tuple[str, ...]
    """Every fault found, as sentences."""

    unset: frozenset[str]
    """Parts of the cell (a, b, sae, data ...) with a missing value, where a stand-in was put."""


def to_cell(cfg: DictConfig) -> Cell:
    """The typed, checked cell of a composed configuration.

    Raises:
        ConfigError: with every fault that needs no file to be seen: unknown keys (`+key=` lets them
            into Hydra), missing values, values outside their range, embedded parts mixed with foreign.
    """
    cell, faults, _ = inspect(cfg)
    if cell is None or faults:
        raise ConfigError(*faults)
    return cell


def inspect(cfg: DictConfig) -> Inspection:
    """The cell of a composed configuration with all its faults; `cfg` itself is left as it is."""
    unknown, missing = list(_unknown_keys(cfg)), sorted(OmegaConf.missing_keys(cfg))
    if unknown or missing:
        cfg = copy.deepcopy(cfg)
        for key in unknown:
            _remove(cfg, key)
        missing = sorted(OmegaConf.missing_keys(cfg))
    faults = [f"{key}: unknown key." for key in unknown if key != "hydra"]
    faults += [f"{key}: missing. Set {key}=..." for key in missing]
    unset = frozenset(key.partition(".")[0] for key in missing)
    for key in missing:
        _fill(cfg, key)
    try:
        config = cast(Config, OmegaConf.to_object(cfg))
    except OmegaConfBaseException as error:
        return Inspection(None, (*faults, str(error.__cause__ or error)), unset)
    if open_choices := [key for key, base in _BASES.items() if type(getattr(config, key)) is base]:
        faults += [f"{key}: expected a choice, got none. Set {key}=..." for key in open_choices]
        return Inspection(None, tuple(faults), unset)
    sides: list[Side] = []
    for name in ("a", "b"):
        side, side_faults = _side(config, name)
        sides.append(side)
        faults += side_faults
    faults += faults_of(config)
    return Inspection(_cell(config, *sides), tuple(dict.fromkeys(faults)), unset)


def _cell(config: Config, a: Side, b: Side) -> Cell:
    embedded = config.a.embedded and config.b.embedded
    firings = config.eligibility.min_firings or (10 if embedded else 100)
    return Cell(
        a=a,
        b=b,
        pairs=config.layers.pairs,
        alignment=config.alignment,
        metrics=tuple(config.metrics.values()),
        primary_metric=_primary_metric(config),
        data=config.data,
        control=config.control.kind,
        eligibility=dataclasses.replace(config.eligibility, min_firings=firings),
        nulls=config.nulls,
        bootstrap=config.bootstrap,
        tracking=config.tracking,
        sweep=config.sweep,
        resources=config.resources,
        store=Path(config.store).expanduser(),
    )


def _primary_metric(config: Config) -> str:
    headline = "partial_correlation"
    first = next(iter(config.metrics), headline)
    return config.primary_metric or (headline if headline in config.metrics else first)


def _side(config: Config, name: str) -> tuple[Side, tuple[str, ...]]:
    """The side and the faults of its width, which is then the dictionaries' own."""
    sae = cast(Sae | None, getattr(config, f"sae_{name}")) or config.sae
    written, key = getattr(config, f"width_{name}"), f"width_{name}"
    if written is None:
        written, key = config.width, "width"
    own = sae.width if isinstance(sae, TrainedSae) else Width.published.value
    if written is None:
        own_key = "sae" if getattr(config, f"sae_{name}") is None else f"sae_{name}"
        written, key = own, f"{own_key}.width"
    faults: tuple[str, ...] = ()
    try:
        width = _width(written, key, trained=isinstance(sae, TrainedSae))
    except ConfigError as error:
        faults = error.faults
        width = Width.published if key.endswith(".width") else parse_width(own, key)
    return Side(name, getattr(config, name), sae, width, getattr(config.layers, name)), faults


def _width(written: object, key: str, *, trained: bool) -> int | Expansion | Width:
    width = parse_width(written, key)
    if trained and width is Width.published:
        raise ConfigError(
            f"{key}=published: dictionaries trained here have no published width. "
            f"Choose a number (16k) or a factor (x8)."
        )
    if not trained and isinstance(width, Expansion):
        raise ConfigError(
            f"{key}={written}: expansion factors are for dictionaries trained here (sae=train). "
            f"Choose a number (32k) or published."
        )
    return width


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    known = {each.name for each in dataclasses.fields(OmegaConf.get_type(cfg) or Config)}
    for key in map(str, cfg):
        if key not in known:
            yield f"{prefix}{key}"
            continue
        node = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if isinstance(node, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(node)):
            yield from _unknown_keys(node, f"{prefix}{key}.")
        elif key == "metrics" and isinstance(node, DictConfig):
            yield from _unknown_metrics(node)


def _unknown_metrics(metrics: DictConfig) -> Iterator[str]:
    for name in map(str, metrics):
        if dataclasses.is_dataclass(OmegaConf.get_type(metrics[name])):
            yield from _unknown_keys(metrics[name], f"metrics.{name}.")
        else:
            yield f"metrics.{name}"


def _remove(cfg: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    with open_dict(node):
        del node[name]


def _fill(cfg: DictConfig, key: str) -> None:
    """Put a stand-in where a value is missing, so that the rest can be looked at."""
    try:
        OmegaConf.update(cfg, key, "missing")
    except OmegaConfBaseException:
        OmegaConf.update(cfg, key, 0)
