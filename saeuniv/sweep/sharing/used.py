"""The models, dictionaries and texts that results name, from the results alone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from saeuniv.results import Results
from saeuniv.stages.stored import config_of

MODEL, DICTIONARIES, TEXT = "model", "dictionaries", "text"


class Used(NamedTuple):
    """Something that a comparison was made with."""

    role: str
    """model, dictionaries or text."""

    label: str
    """As results name it."""

    repository: str
    """Of the hub; empty where it is not from there."""

    revision: str
    """A commit where results know it, else what was asked for."""

    folder: str
    """Of this or another machine, as it was asked for; empty where it is none."""


def used(comparisons: Iterable[Results]) -> tuple[Used, ...]:
    """What these comparisons were made with, each once: models, then dictionaries, then texts."""
    found = dict.fromkeys(each for results in comparisons for each in _of(results))
    order = (MODEL, DICTIONARIES, TEXT)
    return tuple(sorted(found, key=lambda each: order.index(each.role)))


def sae_config(config: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """What config.yaml says of the dictionaries of a side."""
    return node(config.get(f"sae_{side}") or config.get("sae"))


def node(value: object) -> Mapping[str, Any]:
    """A node of config.yaml; empty where it is none."""
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _of(results: Results) -> Iterator[Used]:
    if not results.rows:
        return
    config, row = config_of(results), results.rows[0]
    for side in "ab":
        model = node(config.get(side))
        revision = getattr(row, f"revision_{side}") or str(model.get("revision", ""))
        label, sae = getattr(row, f"model_{side}"), sae_config(config, side)
        yield Used(MODEL, label, str(model.get("name", "")), revision, str(model.get("path", "")))
        source = getattr(row, f"sae_{side}")
        if sae.get("path"):
            yield Used(DICTIONARIES, f"of {label}", "", "", str(sae["path"]))
        elif sae.get("name") or sae.get("release"):
            repository, revision = str(sae.get("name") or source), str(sae.get("revision", "main"))
            yield Used(DICTIONARIES, f"of {label}", repository, revision, "")
        else:
            yield Used(DICTIONARIES, f"of {label}: {source}", "", "", "")
    data = node(config.get("data"))
    if data.get("name"):
        name = str(data["name"])
        yield Used(TEXT, name, f"datasets/{name}", str(data.get("revision", "main")), "")
    elif data.get("path"):
        yield Used(TEXT, "a file or folder", "", "", str(data["path"]))
