"""What dictionaries say of themselves, read without loading them (no torch, for preflight)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from saeuniv.adapters import formats
from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.dictionary_choice import choose
from saeuniv.adapters.formats import Contents, Entry, Format
from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.model_facts import ModelFacts
from saeuniv.adapters.published import Release, base_fault, known_release, release_of, same_width
from saeuniv.config import (
    ConfigError,
    HubSae,
    LocalSae,
    Model,
    Processing,
    PublishedSae,
    ReleaseSae,
    Width,
)
from saeuniv.hookpoints import Hookpoint

# Only their norms subtract the mean, so that centring what is written changes nothing they compute.
_LAYER_NORM = frozenset({"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "phi", "falcon"})


class DictionaryFacts(NamedTuple):
    """What is known of one dictionary before it is loaded."""

    hookpoint: Hookpoint
    d_in: int | None
    """None where that is inside a file that is not on this machine yet."""

    width: int
    """Number of latents."""

    k: int | None
    """Largest number of active latents per token, where the dictionary bounds it."""

    identity: Mapping[str, str]
    """What names it in a store key: repository, commit and folder, or sha256."""

    folder: str
    """What loading takes: a folder, or (identity has a repository) the folder within the repository."""

    files: tuple[str, ...]
    """What loading reads, relative to `folder`."""

    form: str
    """The name of its format."""

    activation: str
    l0: str | None
    """Of several dictionaries of a layer: which, as its name says."""

    centred: bool
    """It reads activations less the mean over their dimensions."""


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

    `key` is as in messages: sae_a. A hub is not asked for its list where the cache has all the `wanted` layers.

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


def dictionary_facts(
    sae: PublishedSae,
    model: Model,
    facts: ModelFacts,
    layers: Sequence[int],
    width: int | Width,
    *,
    key: str,
) -> tuple[DictionaryFacts, ...]:
    """What published dictionaries say of themselves, in the order of `layers`; `key` as in messages: sae_a.

    Raises:
        ConfigError: with every fault: layers without a dictionary, a d_in that is not the model's, a
            width the source lacks, another base model, signed latents, transcoders, unreadable files.
    """
    found = shelf(sae, model, facts, width, key=key, wanted=layers)
    absent = [layer for layer in layers if layer not in found.entries]
    if absent and found.unlisted:
        raise found.unlisted
    faults: list[str] = []
    if found.release and not sae.allow_other_base and (fault := base_fault(found.release.model, model)):
        faults.append(_other_base(found.source.where, fault, key))
    known: list[DictionaryFacts] = []
    for layer in layers:
        if layer in found.entries:
            hookpoint = Hookpoint(sae.hookpoint, layer)
            try:
                known.append(_one(sae, model, facts, found, found.entries[layer], hookpoint, key))
            except ValueError as error:
                faults += (
                    error.faults if isinstance(error, ConfigError) else [f"{found.source.where}: {error}"]
                )
    faults += [*_absence_faults(absent, found), *_width_faults(known, width, found.source.where)]
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return tuple(known)


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


def _one(
    sae: PublishedSae,
    model: Model,
    facts: ModelFacts,
    found: Shelf,
    entry: Entry,
    hookpoint: Hookpoint,
    key: str,
) -> DictionaryFacts:
    """One dictionary. Raises ConfigError with what is wrong with it, ValueError for files that are damaged."""
    source, about = found.source, found.form.contents(found.source, entry)
    named = entry.folder or source.title
    faults = [f"{source.where}: {named} {fault}" for fault in about.faults]
    expected = facts.width_at(hookpoint.kind)
    if about.d_in is not None and about.d_in != expected:
        faults.append(
            f"{source.where}: {named} does not fit: it reads {about.d_in} dimensions, the model has "
            f"d_model={expected}. Choose the dictionaries of this model."
        )
    if about.base_model and not found.release and not sae.allow_other_base:
        fault = base_fault(about.base_model, model)
        faults += [_other_base(f"{source.where}: {named}", fault, key)] if fault else []
    centred = _is_centred(sae, found.release, about)
    if centred and facts.architecture not in _LAYER_NORM:
        faults.append(
            f"{source.where}: {named} reads centred activations (processing=tl_compat), which only models with "
            f"LayerNorm have, got {facts.architecture}. Choose {key}.processing=none."
        )
    if faults:
        raise ConfigError(*faults)
    identity = dict(source.identity(entry.folder, *entry.files))
    # Names of what was read before there were several formats stay.
    identity |= {"format": found.form.name} if found.form.name != "sparsify" else {}
    identity |= {"processing": Processing.tl_compat.value} if centred else {}
    return DictionaryFacts(
        hookpoint=hookpoint,
        d_in=about.d_in,
        width=about.width,
        k=about.k,
        identity=identity,
        folder=source.loadable(entry.folder) if entry.folder or isinstance(source, LocalFolder) else "",
        files=entry.files,
        form=found.form.name,
        activation=about.activation,
        l0=entry.l0,
        centred=centred,
    )


def _is_centred(sae: PublishedSae, release: Release | None, about: Contents) -> bool:
    if sae.processing is not Processing.auto:
        return sae.processing is Processing.tl_compat
    known = release.processing if release and release.processing != "none" else about.processing
    return known == Processing.tl_compat.value


def _other_base(where: str, fault: str, key: str) -> str:
    return (
        f"{where}: {fault}. Choose that model, or {key}.allow_other_base=true if this is meant (its FVU is "
        f"checked all the same)."
    )


def _absence_faults(absent: Sequence[int], found: Shelf) -> list[str]:
    if not absent:
        return []
    has = ", ".join(map(str, sorted(found.entries))) or "none"
    why = dict.fromkeys(found.absent.get(layer, "no dictionary") for layer in absent)
    reasons = (
        f" ({'; '.join(why)})" if len(why) < len(absent) or any("it has" in each for each in why) else ""
    )
    return [
        f"{found.source.where}: no dictionary for layers {', '.join(map(str, absent))}{reasons}. It has layers "
        f"{has}. Choose layers among these, or all for these."
    ]


def _width_faults(known: Sequence[DictionaryFacts], width: int | Width, where: str) -> list[str]:
    widths = sorted({each.width for each in known})
    if isinstance(width, Width) or all(same_width(width, each) for each in widths):
        return []
    return [
        f"{where}: width={width} was asked, the dictionaries have {', '.join(map(str, widths))} latents. "
        f"Choose width=published or one of these."
    ]
