"""What a user may have meant."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from omegaconf import DictConfig, OmegaConf

from saeuniv.config.registry import ALIASES, SOURCES


def choose(wrong: str, valid: Sequence[str]) -> str:
    """`Choose one of ...; did you mean x?`: the valid choices and the nearest of them."""
    near = nearest(wrong, valid)
    listed = f"Choose one of {', '.join(valid)}"
    return f"{listed}; did you mean {near}?" if near else f"{listed}."


def nearest(wrong: str, valid: Iterable[str]) -> str | None:
    """The valid word most like the wrong one, or None if none is like it."""
    return next(iter(difflib.get_close_matches(wrong, list(valid), n=1, cutoff=0.6)), None)


def known_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a configuration that is a user's to set, dotted: layers, layers.a, layers.b ..."""
    for name in (each for each in map(str, cfg) if not each.startswith("_")):
        yield f"{prefix}{name}"
        node = None if OmegaConf.is_missing(cfg, name) or OmegaConf.is_interpolation(cfg, name) else cfg[name]
        if isinstance(node, DictConfig):
            yield from known_keys(node, f"{prefix}{name}.")


def group_keys(group: str) -> frozenset[str]:
    """The keys that any option of a group of sources has, `a.path` for example."""
    kinds = SOURCES.get(ALIASES.get(group, group), {})
    return frozenset(f"{group}.{each.name}" for kind in kinds.values() for each in dataclasses.fields(kind))


def unknown_key(key: str, cfg: DictConfig, groups: Sequence[str]) -> str:
    """That a key is unknown, with the nearest key, the option that has it, or the keys beside it."""
    keys = tuple(known_keys(cfg))
    parent, _, name = key.rpartition(".")
    while parent and parent not in keys:
        parent, _, name = parent.rpartition(".")
    unknown = f"{key} is no key of the configuration"
    beside = f"Choose one of {_beside(parent, keys)}"
    if owners := _owners(parent, name):
        return f"{unknown}: it belongs to {' or '.join(owners)}. Choose that first. {beside}."
    same_name = [each for each in keys if each.rpartition(".")[2] == key.rpartition(".")[2]]
    near = nearest(key, (*keys, *groups)) or " or ".join(same_name)
    listed = f". {beside}" if parent or not near else ""
    return f"{unknown}{listed}; did you mean {near}?" if near else f"{unknown}{listed}."


def choices_of(cfg: DictConfig, key: str) -> tuple[str, ...]:
    """The words a key accepts, if it is a closed choice; else none."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    if kind is None or not dataclasses.is_dataclass(kind):
        return ()
    written = next((each.type for each in dataclasses.fields(kind) if each.name == name), None)
    if isinstance(written, type) and issubclass(written, Enum):
        return tuple(str(member.value) for member in written)
    return ("true", "false") if written is bool else ()


def _owners(group: str, name: str) -> list[str]:
    """`a=hub` for the key a.name where a is something else."""
    kinds = SOURCES.get(ALIASES.get(group, group), {})
    return [
        f"{group}={option}"
        for option, kind in kinds.items()
        if name in {each.name for each in dataclasses.fields(kind)}
    ]


def _beside(parent: str, keys: Iterable[str]) -> str:
    prefix = f"{parent}." if parent else ""
    return ", ".join(
        key for key in keys if key.startswith(prefix) and key != parent and "." not in key[len(prefix) :]
    )
