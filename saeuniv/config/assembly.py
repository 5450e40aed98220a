"""A cell from a typed configuration."""

import contextlib
import dataclasses
from pathlib import Path
from typing import cast

from saeuniv.config.cell import Cell, Side
from saeuniv.config.dictionaries import SharedSae
from saeuniv.config.errors import ConfigError
from saeuniv.config.layers import Expansion, Width, parse_count, parse_width
from saeuniv.config.rules import faults_of
from saeuniv.config.settings import Config
from saeuniv.config.sources import Sae
from saeuniv.config.text import Data
from saeuniv.config.trained import TrainedSae


def assemble(config: Config) -> tuple[Cell, tuple[str, ...]]:
    """The cell of a configuration whose parts are all chosen, and every fault that needs no file."""
    a, faults_a = _side(config, "a")
    b, faults_b = _side(config, "b")
    if isinstance(b.sae, SharedSae):
        shared = dataclasses.replace(b.sae, hookpoint=a.sae.hookpoint)
        b = dataclasses.replace(b, sae=shared, width=a.width, lender=a)
    return _cell(config, a, b), tuple(dict.fromkeys((*faults_a, *faults_b, *faults_of(config))))


def _cell(config: Config, a: Side, b: Side) -> Cell:
    embedded = config.a.embedded and config.b.embedded
    firings = config.eligibility.min_firings
    if firings is None:
        firings = 10 if embedded else 100
    return Cell(
        a=a,
        b=b,
        pairs=config.layers.pairs,
        alignment=config.alignment,
        metrics=tuple(config.metrics.values()),
        primary_metric=_primary_metric(config),
        data=_data(config.data),
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


def _data(data: Data) -> Data:
    """The text with its budget as a number, so that 10k and 10000 are one comparison."""
    with contextlib.suppress(ConfigError):  # The rules say so.
        return dataclasses.replace(data, n_tokens=parse_count(data.n_tokens))
    return data


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
