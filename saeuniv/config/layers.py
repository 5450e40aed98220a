"""The forms in which layers and widths are written on the command line."""

from enum import Enum
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


def select_layers(value: object, layers: range, *, key: str, owner: str) -> tuple[tuple[int, ...], ...]:
    """The layers that `value` names, as groups (a single layer is a group of one), in the order given.

    Accepts all, 3, -1, [0,3,5], 0-11, 0-11:2, every2, last and groups [[3,4],5].

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
    return tuple(dict.fromkeys(numbers))


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
