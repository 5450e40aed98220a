"""The parts of the cells that share their choices: set and typed once for each choice of values."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from saeuniv.config.config_yaml import PlainPart, plain_part
from saeuniv.config.inspection import Part, read_part
from saeuniv.preflight.choices import doubtful_value_fault, value_fault
from saeuniv.preflight.composer import Override

# A value taken from elsewhere in the configuration; the environment is the same for all cells.
_INTERPOLATION = re.compile(r"\$\{(?!oc\.env:)")


class Values(NamedTuple):
    """A configuration with its values set, part by part."""

    parts: Mapping[str, Part]
    plain: Mapping[str, PlainPart]
    """The same parts as config.yaml shows them; without those that have no value."""

    faults: tuple[str, ...]
    """What is wrong with the values set, in their order."""


class _Block(NamedTuple):
    """Parts that were set together."""

    parts: dict[str, Part]
    plain: dict[str, PlainPart]
    faults: dict[str, str]
    """By the override's line."""


class Parts:
    """A composed configuration that takes values; cells that give a part the same values share it.

    Setting and typing a whole configuration takes milliseconds, and sweeps have thousands of cells that
    differ in a part or two. Where a value is taken from another part, all parts are set together.
    """

    def __init__(self, cfg: DictConfig, groups: tuple[str, ...]) -> None:
        """`cfg` is copied before it is changed; `groups` are what a misspelt key may have meant."""
        self._cfg = cfg
        self._groups = groups
        self._names = tuple(map(str, cfg))
        self._blocks: dict[tuple[str, tuple[str, ...]], _Block] = {}
        self._linked = _linked(str(OmegaConf.to_container(cfg, resolve=False)))

    def with_values(self, overrides: Iterable[Override], *, doubtful: frozenset[str]) -> Values:
        """The parts with these values; those in `doubtful` keep their stand-in."""
        given = tuple(overrides)
        linked = self._linked or any(_linked(str(each.value)) for each in given)
        faults: dict[str, str] = {}
        by_block: dict[str, list[Override]] = {name: [] for name in (("",) if linked else self._names)}
        for each in given:
            name = each.key.partition(".")[0]
            if name in doubtful:
                faults |= {each.line: fault} if (fault := doubtful_value_fault(each)) else {}
            else:
                by_block.setdefault("" if linked else name, []).append(each)
        parts: dict[str, Part] = {}
        plain: dict[str, PlainPart] = {}
        for name, values in by_block.items():
            key = (name, tuple(each.line for each in values))
            block = self._blocks.get(key) or self._blocks.setdefault(key, self._set(name, values))
            parts |= block.parts
            plain |= block.plain
            faults |= block.faults
        if doubtful:
            # The defaults that stand in would be called a mixture with what was chosen beside them.
            parts["allow_mixed"] = Part(True)
        return Values(parts, plain, tuple(faults[each.line] for each in given if each.line in faults))

    def _set(self, name: str, values: Sequence[Override]) -> _Block:
        cfg = copy.deepcopy(self._cfg) if values else self._cfg
        faults = {each.line: fault for each in values if (fault := value_fault(each, cfg, self._groups))}
        names = [each for each in self._names if name in ("", each)]
        parts = {each: read_part(cfg, each) for each in names}
        typed = [each for each, part in parts.items() if part.fault is None]
        return _Block(parts, {each: plain_part(cfg, each) for each in typed}, faults)


def _linked(text: str) -> bool:
    return _INTERPOLATION.search(text) is not None
