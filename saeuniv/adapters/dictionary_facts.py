"""What dictionaries say of themselves, read without loading them (no torch, for preflight)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.adapters.custom import custom_identity
from saeuniv.adapters.dictionary_sources import Shelf, shelf
from saeuniv.adapters.formats import Contents, Entry
from saeuniv.adapters.formats.weights import pre_acts_fault
from saeuniv.adapters.model_facts import ModelFacts
from saeuniv.adapters.published import Release, base_fault, same_width
from saeuniv.config import (
    ConfigError,
    CustomSae,
    LatentKind,
    Model,
    NoSae,
    Processing,
    PublishedSae,
    Sae,
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


def dictionary_facts(
    sae: Sae,
    model: Model,
    facts: ModelFacts,
    layers: Sequence[int],
    width: int | Width,
    *,
    key: str,
) -> tuple[DictionaryFacts, ...]:
    """What dictionaries that are not trained here say of themselves, in the order of `layers`.

    `key` is as in messages: sae_a.

    Raises:
        ConfigError: with every fault: layers without a dictionary, a d_in that is not the model's, a
            width the source lacks, another base model, signed latents, transcoders, unreadable files.
    """
    if isinstance(sae, NoSae):
        return tuple(_without(sae, facts, layer, width, key) for layer in layers)
    if isinstance(sae, CustomSae):
        return tuple(_custom(sae, layer, width, key) for layer in layers)
    if not isinstance(sae, PublishedSae):
        raise TypeError(f"{key}: expected dictionaries that are not trained here, got {type(sae).__name__}.")
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


def require_same_width(lender: ModelFacts, reader: ModelFacts, lender_label: str, reader_label: str) -> None:
    """Check that dictionaries of one model can read another's activations.

    Raises:
        ConfigError: they have other dimensions.
    """
    if lender.d_model != reader.d_model:
        raise ConfigError(
            f"sae_b=shared: expected models of one width, got d_model={lender.d_model} ({lender_label}) and "
            f"{reader.d_model} ({reader_label}): A's dictionaries cannot read B's activations. Choose "
            "sae_b=..."
        )


def _without(sae: NoSae, facts: ModelFacts, layer: int, width: int | Width, key: str) -> DictionaryFacts:
    """The activation itself, in its positive and negative parts."""
    d_in, hookpoint = facts.width_at(sae.hookpoint), Hookpoint(sae.hookpoint, layer)
    if d_in > sae.max_width:
        raise ConfigError(
            f"{key}=none: expected at most {sae.max_width} dimensions at {hookpoint}, got {d_in}: every row "
            f"has as many entries. Raise {key}.max_width if memory and disk allow it ({4 * d_in} bytes a row "
            "and more)."
        )
    if not isinstance(width, Width) and width != 2 * d_in:
        raise ConfigError(f"width={width}: {key}=none has {2 * d_in} latents. Choose width=published.")
    identity = {"none": str(hookpoint.kind.value), "d_in": str(d_in)}
    return DictionaryFacts(hookpoint, d_in, 2 * d_in, None, identity, "none", (), "", "relu", None, False)


def _custom(sae: CustomSae, layer: int, width: int | Width, key: str) -> DictionaryFacts:
    hookpoint = Hookpoint(sae.hookpoint, layer)
    if isinstance(width, Width):
        raise ConfigError(
            f"{key}=custom: expected the number of latents, got width=published, which nothing says before "
            f"the object is made. Set width=..."
        )
    identity = {**custom_identity(sae, hookpoint, key=key), "width": str(width)}
    return DictionaryFacts(hookpoint, None, width, None, identity, sae.object, (), "", "custom", None, False)


def _one(
    sae: PublishedSae,
    model: Model,
    facts: ModelFacts,
    found: Shelf,
    entry: Entry,
    hookpoint: Hookpoint,
    key: str,
) -> DictionaryFacts:
    """One dictionary. Raises ConfigError with what is wrong with it, ValueError for damaged files."""
    source, about = found.source, found.form.contents(found.source, entry)
    named = entry.folder or source.title
    faults = [f"{source.where}: {named} {fault}" for fault in about.faults]
    if sae.latent_kind is LatentKind.pre_acts and (fault := pre_acts_fault(about.activation)):
        faults.append(f"{source.where}: {named} {fault}")
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
            f"{source.where}: {named} reads centred activations (processing=tl_compat), which only models "
            f"with LayerNorm have, got {facts.architecture}. Choose {key}.processing=none."
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
        f"{found.source.where}: no dictionary for layers {', '.join(map(str, absent))}{reasons}. It has "
        f"layers {has}. Choose layers among these, or all for these."
    ]


def _width_faults(known: Sequence[DictionaryFacts], width: int | Width, where: str) -> list[str]:
    widths = sorted({each.width for each in known})
    if isinstance(width, Width) or all(same_width(width, each) for each in widths):
        return []
    return [
        f"{where}: width={width} was asked, the dictionaries have {', '.join(map(str, widths))} latents. "
        f"Choose width=published or one of these."
    ]
