"""config.yaml: the configuration of a comparison, and the command line that runs it again."""

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from saeuniv.config.cell import Cell
from saeuniv.config.models import STEP0
from saeuniv.config.settings import Control, ControlKind

_REPLAY = "# Replay: saeuniv "
_KIND = re.compile(r"(?m)^control:\n  kind: (\w+)$")
# It is said of a command and not of a comparison: the replay stays with its jobs.
_NOT_REPLAYED = "sweep.detach"


class PlainPart:
    """What stands under one key of the root: as plain values and, once asked for, as lines of config.yaml.

    Cells share the parts in which they do not differ: writing YAML is the dear step.
    """

    def __init__(self, name: str, value: object) -> None:
        """`value` holds dicts, lists, texts, numbers and None."""
        self.name = name
        self.value = value

    @cached_property
    def text(self) -> str:
        """The part's lines of config.yaml."""
        return OmegaConf.to_yaml(OmegaConf.create({self.name: self.value}))

    def changed(self, **values: object) -> "PlainPart":
        """The part with other values under some of its keys."""
        return PlainPart(self.name, {**cast(dict[str, object], self.value), **values})


def plain_part(cfg: DictConfig, name: str) -> PlainPart:
    """The part `name` of a composed configuration, interpolations resolved."""
    node = cfg[name]
    plain = (
        OmegaConf.to_container(node, resolve=True, enum_to_str=True) if OmegaConf.is_config(node) else node
    )
    return PlainPart(name, plain)


def config_text(cfg: DictConfig, overrides: Sequence[str], cells: Sequence[Cell]) -> str:
    """config.yaml of the comparison that `cells` are parts of; `cfg` and `overrides` are the first one's."""
    return text_of_parts({name: plain_part(cfg, name) for name in map(str, cfg)}, overrides, cells)


def text_of_parts(parts: Mapping[str, PlainPart], overrides: Sequence[str], cells: Sequence[Cell]) -> str:
    """config.yaml of the comparison that `cells` are parts of; `parts` and `overrides` are the first one's.

    A sweep over layers or metrics is written as the one cell that asks for all of them.
    """
    united = dict(parts)
    lines = [line for line in overrides if _key(line) != _NOT_REPLAYED]
    for side in ("a", "b"):
        layers = _distinct([getattr(cell, side).layers for cell in cells])
        if len(layers) > 1:
            merged = _flat(layers)
            united["layers"] = united["layers"].changed(**{side: merged})
            lines = _with(lines, f"layers.{side}", _shown(merged))
    pairs = _distinct([cell.pairs for cell in cells])
    if len(pairs) > 1:
        chosen = "all" if "all" in pairs else _flat(pairs)
        united["layers"] = united["layers"].changed(pairs=chosen)
        lines = _with(lines, "layers.pairs", _shown(chosen))
    metrics = {metric.name: metric for cell in cells for metric in cell.metrics}
    if len(metrics) > len(cells[0].metrics):
        schemas = OmegaConf.create({name: OmegaConf.structured(metric) for name, metric in metrics.items()})
        united["metrics"] = plain_part(OmegaConf.create({"metrics": schemas}), "metrics")
        lines = _with(lines, "metrics", _shown(list(metrics)))
    return "".join([_replay(lines), *(part.text for part in united.values())])


def control_config_text(text: str) -> str:
    """config.yaml of the control of the comparison whose config.yaml is `text`."""
    first, _, body = text.partition("\n")
    lines = shlex.split(first.removeprefix(_REPLAY))
    said = _KIND.search(body)
    kind = ControlKind(said[1]) if said else Control().kind
    for key, value in _of_control(kind).items():
        part, _, name = key.partition(".")
        lines = _with(lines, key.removesuffix(".kind"), value)
        # Written in place, because reading YAML takes longer than planning the comparison.
        inside = rf"(?m)^({part}:\n(?:  .*\n)*?  {name}: ).*$"
        body = re.sub(inside, rf"\g<1>{value}", body, count=1)
    return _replay(lines) + body


def _of_control(kind: ControlKind) -> dict[str, str]:
    """What the configuration of a control of this kind has in place of the comparison's."""
    match kind:
        case ControlKind.step0:
            own = {"untrained": "false", "revision": STEP0}
        case ControlKind.rerandomized | ControlKind.rerandomized_all:
            own = {"untrained": "false", "weights": kind.value}
        case _:
            own = {"untrained": "true"}
    sides = {f"{side}.{name}": value for side in "ab" for name, value in own.items()}
    return {**sides, "control.kind": ControlKind.none.value}


def _replay(lines: Sequence[str]) -> str:
    return f"{_REPLAY}{shlex.join(lines)}\n"


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+")


def _with(lines: list[str], key: str, value: str) -> list[str]:
    """The overrides with `key` set to `value`, in the place of what set it before."""
    new = f"{key}={value}"
    places = [place for place, line in enumerate(lines) if _key(line) == key]
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
