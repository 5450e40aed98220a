"""The forms in which layers and widths are written on the command line."""

from collections.abc import Collection, Sequence
from enum import Enum
from fractions import Fraction
from typing import Any, cast

from omegaconf import OmegaConf

from saeuniv.config.errors import ConfigError


class Width(Enum):
    """`published`: take the width the dictionaries have."""

    published = "published"


class Expansion(int):
    """Number of latents as a multiple of d_model (`x8`)."""


def parse_width(value: object, key: str) -> int | Expansion | Width:
    """`16k`, `256`, `x8` or `published` as a number, an expansion factor or `Width.published`.

    Raises:
        ConfigError: for anything else.
    """
    text = str(value).strip().lower()
    if text == Width.published.value:
        return Width.published
    digits = text.removeprefix("x").removesuffix("k")
    if digits.isdecimal() and int(digits) > 0 and not (text.startswith("x") and text.endswith("k")):
        number = int(digits) * (1024 if text.endswith("k") else 1)
        return Expansion(number) if text.startswith("x") else number
    raise ConfigError(
        f"{key}={value}: expected a number of latents (256, 16k = 16384), an expansion factor (x8) "
        f"or published, got {value!r}."
    )


def parse_count(value: object, key: str = "data.n_tokens") -> int | None:
    """`10000`, `10k` (10,000) or `1M` (1,000,000) as a number; None stays None.

    Raises:
        ConfigError: for anything else.
    """
    if value is None:
        return None
    text = str(value).strip()
    scale = {"k": 1000, "M": 1_000_000}.get(text[-1:], 1)
    digits = text.removesuffix("k").removesuffix("M").replace("_", "")
    if digits.isdecimal() and int(digits) > 0:
        return int(digits) * scale
    raise ConfigError(f"{key}={value}: expected a number of tokens (10000, 10k, 1M), got {value!r}.")


def select_layers(
    value: object, layers: range, *, key: str, owner: str, absent: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """The layers that `value` names, as groups (a single layer is a group of one), in the order given.

    Accepts all, 3, -1, [0,3,5], 0-11, 0-11:2, every2, last and groups [[3,4],5]. `all` leaves out those that
    are `absent` (they have no dictionary); other forms name them all the same.

    Raises:
        ConfigError: a form not listed, or a layer that `owner` (the model's name) lacks.
    """
    if OmegaConf.is_list(value):
        value = OmegaConf.to_container(cast(Any, value))
    groups = _layer_groups(value, layers)
    advice = f"Choose {key}=all or {layers.start}-{layers.stop - 1}."
    if groups is None:
        raise ConfigError(
            f"{key}={value}: expected all, last, 3, -1, 0-5, 0-5:2, every2 or a list such as [0,3] or "
            f"[[0,1],3], got {value!r}. {advice}"
        )
    numbers = [tuple(layer + len(layers) if layer < 0 else layer for layer in group) for group in groups]
    if not numbers or any(layer not in layers for group in numbers for layer in group):
        raise ConfigError(
            f"{key}={value}: {owner} has {len(layers)} layers ({layers.start}..{layers.stop - 1}). {advice}"
        )
    if names_all(value):
        numbers = [group for group in numbers if group[0] not in absent]
    return tuple(dict.fromkeys(numbers))


def names_all(value: object) -> bool:
    """Whether layers are asked for as `all`: whichever have dictionaries."""
    return isinstance(value, str) and value.strip() == "all"


def select_pairs(
    value: object,
    layers_a: tuple[tuple[int, ...], ...],
    layers_b: tuple[tuple[int, ...], ...],
    *,
    n_layers_a: int,
    n_layers_b: int,
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The layer pairs that `value` (layers.pairs) names among the selected layers, A's layer first.

    all: every pair. same_depth: pairs at the same fraction of their model's blocks, to half a block of
    the deeper model; every layer of the shallower model has a partner. A list holds pairs (layer of A,
    layer of B); a negative layer counts from the end, a group of layers is written as a list.

    Raises:
        ConfigError: another form, no pair at all, or pairs of layers that are not selected.
    """
    if OmegaConf.is_list(value):
        value = OmegaConf.to_container(cast(Any, value))
    grid = tuple((a, b) for a in layers_a for b in layers_b)
    if value == "all":
        return grid
    if value == "same_depth":
        near = tuple(pair for pair in grid if _same_depth(pair, n_layers_a, n_layers_b))
        if near:
            return near
        raise ConfigError(
            f"layers.pairs=same_depth: expected layers at the same depth, got layers.a={_shown(layers_a)} of "
            f"{n_layers_a} and layers.b={_shown(layers_b)} of {n_layers_b}. Choose layers.pairs=all."
        )
    pairs = _listed_pairs(value, n_layers_a, n_layers_b)
    if not pairs:
        raise ConfigError(
            f"layers.pairs={value}: expected all, same_depth or a list of (layer of A, layer of B) such as "
            f"[[0,0],[1,2]], got {value!r}."
        )
    if strange := [pair for pair in pairs if pair not in grid]:
        raise ConfigError(
            f"layers.pairs={value}: {_shown(strange[0])} is no pair of selected layers. Choose from "
            f"layers.a={_shown(layers_a)} and layers.b={_shown(layers_b)}, or select more layers there."
        )
    return tuple(dict.fromkeys(pairs))


def _same_depth(pair: tuple[tuple[int, ...], tuple[int, ...]], n_layers_a: int, n_layers_b: int) -> bool:
    depth_a, depth_b = (
        (Fraction(sum(group), len(group)) + 1) / n
        for group, n in zip(pair, (n_layers_a, n_layers_b), strict=True)
    )
    return abs(depth_a - depth_b) <= Fraction(1, 2 * max(n_layers_a, n_layers_b))


def _listed_pairs(
    value: object, n_layers_a: int, n_layers_b: int
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The pairs of a list as groups of layers; none if any item has another form."""
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for item in cast(list[object], value) if isinstance(value, list) else []:
        sides = cast(list[object], item) if isinstance(item, list) else []
        groups = [_group(side, n) for side, n in zip(sides, (n_layers_a, n_layers_b), strict=False)]
        if len(sides) != 2 or not all(groups):
            return ()
        pairs.append((groups[0], groups[1]))
    return tuple(pairs)


def _group(value: object, n_layers: int) -> tuple[int, ...]:
    """A layer or a list of layers as a group; empty if it is neither."""
    layers = cast(list[object], value) if isinstance(value, list) else [value]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        return ()
    return tuple(layer + n_layers if layer < 0 else layer for layer in cast(list[int], layers))


def _shown(groups: Sequence[tuple[int, ...]]) -> str:
    """Groups of layers as they are written on the command line: [0,[3,4]]."""
    words = [str(group[0]) if len(group) == 1 else f"[{','.join(map(str, group))}]" for group in groups]
    return f"[{','.join(words)}]"


def _layer_groups(value: object, layers: range) -> list[tuple[int, ...]] | None:
    match value:
        case bool():
            return None
        case int():
            return [(value,)]
        case list() if all(isinstance(item, int | list | str) for item in cast(list[object], value)):
            groups: list[tuple[int, ...]] = []
            for item in cast(list[object], value):
                inner = _layer_groups(item, layers)
                if inner is None:
                    return None
                groups += (
                    [tuple(layer for group in inner for layer in group)] if isinstance(item, list) else inner
                )
            return groups
        case str():
            return _layer_words(value.strip(), layers)
        case _:
            return None


def _layer_words(text: str, layers: range) -> list[tuple[int, ...]] | None:
    if text == "all":
        return [(layer,) for layer in layers]
    if text == "last":
        return [(layers.stop - 1,)]
    if text.startswith("every") and text[5:].isdecimal() and int(text[5:]) > 0:
        return [(layer,) for layer in layers[:: int(text[5:])]]
    span, _, step = text.partition(":")
    first, dash, last = span.partition("-")
    if dash and first.isdecimal() and last.isdecimal() and (not step or (step.isdecimal() and int(step) > 0)):
        return [(layer,) for layer in range(int(first), int(last) + 1, int(step or 1))]
    return [(int(text),)] if text.removeprefix("-").isdecimal() else None
