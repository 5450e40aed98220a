"""The one door from Hydra: `to_cell` turns a composed configuration into typed, checked values."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from saeuniv.config.assembly import assemble
from saeuniv.config.cell import Cell
from saeuniv.config.errors import ConfigError
from saeuniv.config.models import Model
from saeuniv.config.settings import Alignment, Config
from saeuniv.config.sources import Sae
from saeuniv.config.text import Data

_BASES = {"a": Model, "b": Model, "sae": Sae, "data": Data, "alignment": Alignment}


class Inspection(NamedTuple):
    """What can be said of a composed configuration without opening a file."""

    cell: Cell | None
    """The cell, for further checks even where there are faults; None if a value has the wrong type."""

    faults: tuple[str, ...]
    """Every fault found, as sentences."""

    unset: frozenset[str]
    """Parts of the cell (a, b, sae, data ...) with a missing value, where a stand-in was put."""


class Part(NamedTuple):
    """What stands under one key of the root."""

    value: object
    """Typed: a dataclass, a plain value, or a dict of dataclasses (metrics)."""

    unknown: tuple[str, ...] = ()
    """Dotted keys that no schema has (`+key=` lets them into Hydra)."""

    missing: tuple[str, ...] = ()
    """Dotted keys without a value, where a stand-in was put."""

    fault: str | None = None
    """Why it has no typed value."""


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
    return united({name: read_part(cfg, name) for name in map(str, cfg)})


def read_part(cfg: DictConfig, name: str) -> Part:
    """The part `name` of a composed configuration; `cfg` itself is left as it is."""
    if name not in _FIELDS:
        return Part(None, unknown=(name,))
    try:
        return _read(cfg, name)
    except OmegaConfBaseException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        return Part(None, fault=f"{name}: {reason.removesuffix('.')}.")
    except ValueError as error:
        # What a dataclass refuses of its own values names its key.
        return Part(None, fault=str(error))


def united(parts: Mapping[str, Part]) -> Inspection:
    """The cell that the parts of one configuration make, with all its faults."""
    unknown = [key for part in parts.values() for key in part.unknown if key != "hydra"]
    missing = sorted(key for part in parts.values() for key in part.missing)
    unset = frozenset(key.partition(".")[0] for key in missing)
    faults = [f"{key}: unknown key." for key in unknown]
    faults += [f"{key}: missing. Set {key}=..." for key in missing]
    if untyped := [part.fault for part in parts.values() if part.fault is not None]:
        return Inspection(None, (*faults, *untyped), unset)
    values: dict[str, Any] = {name: part.value for name, part in parts.items() if name in _FIELDS}
    config = Config(**values)
    if open_choices := [key for key, base in _BASES.items() if type(getattr(config, key)) is base]:
        faults += [f"{key}: expected a choice, got none. Set {key}=..." for key in open_choices]
        return Inspection(None, tuple(faults), unset)
    cell, more = assemble(config)
    return Inspection(cell, tuple(dict.fromkeys((*faults, *more))), unset)


_FIELDS = frozenset(each.name for each in dataclasses.fields(Config))


def _read(cfg: DictConfig, name: str) -> Part:
    unknown = tuple(_unknown_keys_of(cfg, name))
    missing = _missing_keys(cfg, name)
    if unknown or missing:
        cfg = copy.deepcopy(cfg)
        for key in unknown:
            _remove(cfg, key)
        missing = _missing_keys(cfg, name)
        for key in missing:
            _fill(cfg, key)
    node = cfg[name]
    value = OmegaConf.to_object(node) if OmegaConf.is_config(node) else node
    return Part(value, unknown, missing)


def _unknown_keys_of(cfg: DictConfig, name: str) -> Iterator[str]:
    node = None if OmegaConf.is_missing(cfg, name) else cfg[name]
    if not isinstance(node, DictConfig):
        return
    if name == "metrics":
        for metric in map(str, node):
            if dataclasses.is_dataclass(OmegaConf.get_type(node[metric])):
                yield from _unknown_keys(node[metric], f"metrics.{metric}.")
            else:
                yield f"metrics.{metric}"
    else:
        yield from _unknown_keys(node, f"{name}.")


def _unknown_keys(node: DictConfig, prefix: str) -> Iterator[str]:
    kind = OmegaConf.get_type(node)
    if not dataclasses.is_dataclass(kind):
        return
    known = {each.name for each in dataclasses.fields(kind)}
    for key in map(str, node):
        if key not in known:
            yield f"{prefix}{key}"
        elif not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            yield from _unknown_keys(node[key], f"{prefix}{key}.")


def _missing_keys(cfg: DictConfig, name: str) -> tuple[str, ...]:
    if OmegaConf.is_missing(cfg, name):
        return (name,)
    node = cfg[name]
    return tuple(sorted(OmegaConf.missing_keys(node))) if OmegaConf.is_config(node) else ()


def _remove(cfg: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = cast(DictConfig, OmegaConf.select(cfg, parent)) if parent else cfg
    with open_dict(node):
        del node[name]


def _fill(cfg: DictConfig, key: str) -> None:
    """Put a stand-in where a value is missing, so that the rest can be looked at."""
    try:
        OmegaConf.update(cfg, key, "missing")
    except OmegaConfBaseException:
        OmegaConf.update(cfg, key, 0)
