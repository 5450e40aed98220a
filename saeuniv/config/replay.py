"""config.yaml: the configuration of a comparison, and the command line that runs it again."""

import copy
import shlex
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from saeuniv.config.cell import Cell
from saeuniv.config.settings import ControlKind

_REPLAY = "# Replay: saeuniv "
_UNTRAINED = {"a.untrained": "true", "b.untrained": "true", "control": ControlKind.none.value}


def config_text(cfg: DictConfig, overrides: Sequence[str], cells: Sequence[Cell]) -> str:
    """config.yaml of the comparison that `cells` are parts of; `cfg` and `overrides` are the first one's.

    A sweep over layers or metrics is written as the one cell that asks for all of them.
    """
    united = copy.deepcopy(cfg)
    lines = list(overrides)
    for side in ("a", "b"):
        layers = _distinct([getattr(cell, side).layers for cell in cells])
        if len(layers) > 1:
            united.layers[side] = merged = _flat(layers)
            lines = _with(lines, f"layers.{side}", _shown(merged))
    pairs = _distinct([cell.pairs for cell in cells])
    if len(pairs) > 1:
        united.layers.pairs = chosen = "all" if "all" in pairs else _flat(pairs)
        lines = _with(lines, "layers.pairs", _shown(chosen))
    metrics = {metric.name: metric for cell in cells for metric in cell.metrics}
    if len(metrics) > len(cells[0].metrics):
        with open_dict(united):
            united.metrics = {name: OmegaConf.structured(metric) for name, metric in metrics.items()}
        lines = _with(lines, "metrics", _shown(list(metrics)))
    return _text(united, lines)


def control_config_text(text: str) -> str:
    """config.yaml of the untrained control of the comparison whose config.yaml is `text`."""
    first, _, rest = text.partition("\n")
    cfg = OmegaConf.create(rest)
    lines = shlex.split(first.removeprefix(_REPLAY))
    for key, value in _UNTRAINED.items():
        OmegaConf.update(cfg, "control.kind" if key == "control" else key, value == "true" or value)
        lines = _with(lines, key, value)
    return _text(cast(DictConfig, cfg), lines)


def _text(cfg: DictConfig, lines: Sequence[str]) -> str:
    return f"{_REPLAY}{shlex.join(lines)}\n{OmegaConf.to_yaml(cfg, resolve=True)}"


def _with(lines: list[str], key: str, value: str) -> list[str]:
    """The overrides with `key` set to `value`, in the place of what set it before."""
    new = f"{key}={value}"
    places = [place for place, line in enumerate(lines) if line.partition("=")[0].lstrip("+") == key]
    if not places:
        return [*lines, new]
    return [
        new if place == places[-1] else line for place, line in enumerate(lines) if place not in places[:-1]
    ]


def _distinct(values: Sequence[object]) -> list[object]:
    plain = [OmegaConf.to_container(cast(Any, each)) if OmegaConf.is_list(each) else each for each in values]
    return [value for place, value in enumerate(plain) if value not in plain[:place]]


def _flat(values: Sequence[object]) -> list[object]:
    """The items of lists and the values that are none, each once."""
    return _distinct(
        [item for each in values for item in (cast(list[object], each) if isinstance(each, list) else [each])]
    )


def _shown(value: object) -> str:
    """A value as it is written on the command line: [0,[3,4]]."""
    return f"[{','.join(map(_shown, cast(list[object], value)))}]" if isinstance(value, list) else str(value)
