"""Which dictionaries of a source a side takes: by hookpoint, width and mean number of active latents."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from saeuniv.adapters.formats import Entry, natural
from saeuniv.adapters.published import same_width
from saeuniv.config import ConfigError, Width
from saeuniv.hookpoints import HookpointKind

CANONICAL = "canonical"
_CANONICAL_L0 = 100
_CANONICAL_WORD = "medium"


class Choice(NamedTuple):
    """One dictionary for each layer that has one, and why other layers of the source have none."""

    entries: dict[int, Entry]
    absent: dict[int, str]


def choose(
    entries: Sequence[Entry], kind: HookpointKind, width: int | Width, l0: str, *, where: str, key: str
) -> Choice:
    """The dictionaries of a source that read `kind`, with this width and L0.

    Without a width it is the one that most layers have, the smallest of these; without an L0 (canonical) the
    one nearest to 100, or `medium`.

    Raises:
        ConfigError: none reads `kind`, or none has the width or L0; or a layer has several that no key tells
            apart. The message lists what exists.
    """
    reading = [each for each in entries if each.kind in (None, kind)]
    if not reading:
        kinds = ", ".join(sorted({each.kind.value for each in entries if each.kind}))
        raise ConfigError(
            f"{where}: expected dictionaries that read {kind.value}, got {kinds or 'none'}. Choose "
            f"{key}.hookpoint={kinds.split(', ')[0]}."
        )
    wide = _of_width(reading, width, where)
    taken: dict[int, Entry] = {}
    absent = {each.layer: f"no dictionary of width {_width(wide)}" for each in reading}
    for layer in sorted({each.layer for each in wide}):
        own = [each for each in wide if each.layer == layer]
        fitting = _of_l0(own, wide, l0)
        if fitting:
            taken[layer] = _single(fitting, wide, where, key)
            del absent[layer]
        else:
            absent[layer] = f"no dictionary with l0 {l0}; it has {_listed(own)}"
    if not taken:
        raise ConfigError(
            f"{where}: {key}.l0={l0} was asked, and there are {_listed(wide)}. Choose {key}.l0=canonical or "
            f"one of these."
        )
    return Choice(taken, absent)


def _of_width(entries: Sequence[Entry], width: int | Width, where: str) -> list[Entry]:
    """Those of the width; where names do not say widths, headers do later."""
    widths = {each.width for each in entries if each.width}
    if not widths:
        return list(entries)
    if isinstance(width, Width):
        layers = {each: len({entry.layer for entry in entries if entry.width == each}) for each in widths}
        chosen = min(widths, key=lambda each: (-layers[each], each))
    else:
        chosen = next((each for each in sorted(widths) if same_width(width, each)), None)
    if chosen is None:
        raise ConfigError(
            f"{where}: width={width} was asked, the dictionaries have {', '.join(map(str, sorted(widths)))} "
            f"latents. Choose width=published or one of these."
        )
    return [each for each in entries if each.width == chosen]


def _of_l0(own: Sequence[Entry], wide: Sequence[Entry], l0: str) -> list[Entry]:
    """Those of one layer that have the L0 asked for."""
    if l0 != CANONICAL:
        return [each for each in own if each.l0 == l0]
    numbers = {each: int(each.l0) for each in own if each.l0 and each.l0.isdecimal()}
    if numbers:
        nearest = min(numbers.values(), key=lambda number: (abs(number - _CANONICAL_L0), number))
        return [each for each, number in numbers.items() if number == nearest]
    if any(each.l0 == _CANONICAL_WORD for each in wide):
        return [each for each in own if each.l0 == _CANONICAL_WORD]
    return list(own)


def _single(fitting: Sequence[Entry], wide: Sequence[Entry], where: str, key: str) -> Entry:
    """The one; of two folders that hold alike ones, that which has more layers (resid_post_all)."""
    if len(fitting) > 1 and len({each.l0 for each in fitting}) == 1:
        sizes = Counter(_parent(each) for each in wide)
        most = max(sizes[_parent(each)] for each in fitting)
        fitting = [each for each in fitting if sizes[_parent(each)] == most]
    if len(fitting) > 1:
        folders = ", ".join(sorted((each.folder for each in fitting), key=natural)[:8])
        named = all(each.l0 for each in fitting) and len({each.l0 for each in fitting}) == len(fitting)
        fix = f"{key}.l0={fitting[0].l0}" if named else f"one of these folders ({key}.path or {key}.folder)"
        raise ConfigError(
            f"{where}: expected one dictionary for layer {fitting[0].layer}, got several: {folders}. Choose "
            f"{fix}."
        )
    return fitting[0]


def _parent(entry: Entry) -> str:
    return entry.folder.rpartition("/")[0]


def _width(entries: Sequence[Entry]) -> str:
    return str(entries[0].width) if entries else "any"


def _listed(entries: Sequence[Entry]) -> str:
    return ", ".join(sorted({each.l0 for each in entries if each.l0}, key=natural)) or "none by that name"
