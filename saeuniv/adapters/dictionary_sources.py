"""Where a side's dictionaries are, and which there are for its layers, by names of files (no torch)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from saeuniv.adapters import formats
from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.dictionary_choice import choose
from saeuniv.adapters.folders import model_facts
from saeuniv.adapters.formats import Entry, Format
from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.model_facts import ModelFacts
from saeuniv.adapters.published import Release, known_release, release_of
from saeuniv.config import (
    ConfigError,
    Expansion,
    HubSae,
    LocalSae,
    Model,
    PublishedSae,
    ReleaseSae,
    Side,
    Width,
)
from saeuniv.hookpoints import Hookpoint


class Shelf(NamedTuple):
    """The dictionaries of a source that a side may take."""

    source: LocalFolder | HubFolder
    form: Format
    entries: Mapping[int, Entry]
    """By layer."""

    absent: Mapping[int, str]
    """Why a layer of the model has none."""

    release: Release | None
    unlisted: HubUnreachable | None
    """Why the hub's list is not known: only what is in the cache was looked at."""


def shelf(
    sae: PublishedSae,
    model: Model,
    facts: ModelFacts,
    width: int | Width,
    *,
    key: str,
    wanted: Collection[int] = (),
) -> Shelf:
    """The dictionaries that a source has for a model, by the names of its files.

    `key` is as in messages: sae_a. A hub is not asked for its list where the cache has all `wanted` layers.

    Raises:
        ConfigError: no such source, no dictionaries of a known format, hookpoint, width or L0, or of another
            base model.
    """
    source, release = _source(sae, model, width, key)
    names, unlisted = _names(source, sae, wanted)
    forced = sae.format.value if isinstance(sae, HubSae | LocalSae) else "auto"
    form, entries = formats.find(source, names, forced=forced)
    entries = _of_architecture(entries, form, source, facts)
    chosen = choose(entries, sae.hookpoint, width, sae.l0, where=source.where, key=key)
    kept = {layer: entry for layer, entry in chosen.entries.items() if layer < facts.n_layers}
    absent = {
        layer: chosen.absent.get(
            layer, f"no dictionary at {Hookpoint(sae.hookpoint, layer)} in {source.where}"
        )
        for layer in range(facts.n_layers)
        if layer not in kept
    }
    return Shelf(source, form, kept, absent, release, unlisted)


def absent_layers(side: Side, facts: ModelFacts, *, key: str | None = None) -> Mapping[int, str]:
    """Why layers of the side's model have no dictionary, for those that have none; `key` as in messages.

    Raises:
        ConfigError: there are no dictionaries for the model at all.
    """
    if side.lender:
        owner = model_facts(side.lender.model, key=side.lender.name)
        lacking = dict(absent_layers(side.lender, owner))
        beyond = range(owner.n_layers, facts.n_layers)
        lacking |= {layer: f"{side.lender.model.label} has {owner.n_layers} layers" for layer in beyond}
        return {layer: why for layer, why in lacking.items() if layer < facts.n_layers}
    if not isinstance(side.sae, PublishedSae):
        return {}
    assert not isinstance(side.width, Expansion)
    return shelf(side.sae, side.model, facts, side.width, key=key or f"sae_{side.name}").absent


def _source(
    sae: PublishedSae, model: Model, width: int | Width, key: str
) -> tuple[LocalFolder | HubFolder, Release | None]:
    match sae:
        case LocalSae():
            return LocalFolder.at(sae.path, f"{key}.path"), None
        case HubSae():
            source = HubFolder(sae.name, sae.revision, f"{key}.name={sae.name}")
            return source, known_release(sae.name)
        case ReleaseSae():
            release = release_of(sae, model, width, key=key)
            where = f"{key}={sae.release.value} ({release.repository})"
            return HubFolder(release.repository, "main", where), release
        case _:
            raise ConfigError(f"{key}: expected published dictionaries, got {type(sae).__name__}.")


def _names(
    source: LocalFolder | HubFolder, sae: PublishedSae, wanted: Collection[int]
) -> tuple[Collection[str], HubUnreachable | None]:
    """The names of a source's files; of a hub those in the cache where they are enough, or all there is."""
    here = _below(source.names(), sae)
    if isinstance(source, LocalFolder) or _suffices(source, here, sae, wanted):
        return here, None
    try:
        return _below(source.files("the list of its files"), sae), None
    except HubUnreachable as error:
        if not here:
            raise
        return here, error


def _below(names: Iterable[str], sae: PublishedSae) -> list[str]:
    folder = f"{sae.folder.strip('/')}/" if isinstance(sae, HubSae) and sae.folder else ""
    return [name for name in names if name.startswith(folder)]


def _suffices(source: HubFolder, names: list[str], sae: PublishedSae, wanted: Collection[int]) -> bool:
    """Whether the cache has every layer asked for, of a format that has one dictionary for each."""
    if not wanted or not names:
        return False
    try:
        form, entries = formats.find(source, names)
    except ConfigError:
        return False
    kinds = (None, sae.hookpoint)
    return not form.several and {*wanted} <= {each.layer for each in entries if each.kind in kinds}


def _of_architecture(
    entries: Sequence[Entry], form: Format, source: LocalFolder | HubFolder, facts: ModelFacts
) -> list[Entry]:
    """Those whose folder names a module of this architecture: `layers.3.mlp` is not mlp_out in all."""
    if form.name != "sparsify":
        return list(entries)
    kept: list[Entry] = []
    for each in entries:
        assert each.kind is not None
        module = Hookpoint(each.kind, each.layer).sparsify(facts.architecture)
        if (each.folder.rsplit("/", 1)[-1] or source.title) == module:
            kept.append(each)
    return kept
