"""What a model or a dictionary folder says of itself, read without loading it (no torch, for preflight)."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from saeuniv.adapters.checkpoints import (
    LocalFolder,
    byte_tokenizer_json,
    dictionary_faults,
    tokenizer_hash,
)
from saeuniv.adapters.downloads import weight_files
from saeuniv.adapters.hub import DICTIONARY_FILES, HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.model_facts import TINY_D_FF, ModelFacts, facts_of
from saeuniv.adapters.published import eleuther_repository
from saeuniv.config import (
    ConfigError,
    EleutherSae,
    HubModel,
    HubSae,
    LocalModel,
    LocalSae,
    Model,
    TinyModel,
    Width,
)
from saeuniv.hookpoints import Hookpoint

_PARTS = {"config": "config.json is", "weights": "weights are", "tokenizer": "tokenizer.json is"}


class DictionaryFacts(NamedTuple):
    """What is known of one dictionary before it is loaded."""

    hookpoint: Hookpoint
    d_in: int
    width: int
    """Number of latents."""

    k: int
    """Largest number of active latents per token."""

    identity: Mapping[str, str]
    """What names it in a store key: repository, commit and folder, or sha256."""

    folder: str
    """What loading takes: a folder, or (identity has a repository) the folder within the repository."""


def model_facts(model: Model, *, key: str) -> ModelFacts:
    """What a model's files say of it. `key` is the side (`a`, `b`) that messages name.

    Raises:
        ConfigError: with every fault of the folder: files missing, weights that would be unpickled,
            fields missing; or the hub repository cannot be reached, is closed, or has pickled weights only.
    """
    match model:
        case TinyModel():
            tokenizer = byte_tokenizer_json()
            n_ids = len(tokenizer["model"]["vocab"])
            hashed = tokenizer_hash(tokenizer)
            d_ff = TINY_D_FF * model.d_model
            return ModelFacts(
                model.n_layers, model.d_model, n_ids, "gpt_neox", hashed, {}, "", d_ff, parallel=True
            )
        case LocalModel():
            return _local_model(LocalFolder.at(model.path, f"{key}.path"))
        case HubModel():
            source = HubFolder(model.name, model.revision, f"{key}.name={model.name}")
            config, tokenizer = source.json("config.json"), source.json("tokenizer.json")
            faults = _missing(source.where, config=config, tokenizer=tokenizer)
            if config is None or tokenizer is None:
                raise ConfigError(*faults)
            if not model.untrained:
                with contextlib.suppress(HubUnreachable):  # Fetching says so, where they are needed at all.
                    weight_files(source)
            return facts_of(source, config, tokenizer, identity=source.identity(""))
        case _:
            raise ConfigError(f"{key}: expected a tiny, local or hub model, got {type(model).__name__}.")


def dictionary_facts(
    sae: HubSae | EleutherSae | LocalSae,
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
            width the source lacks, signed latents, transcoders, unreadable files.
    """
    source = _dictionary_source(sae, model, width, key)
    found: list[DictionaryFacts] = []
    faults: list[str] = []
    absent: list[str] = []
    for layer in layers:
        hookpoint = Hookpoint(sae.hookpoint, layer)
        try:
            folder = hookpoint.sparsify(facts.architecture)
            cfg, shapes = (source.json(f"{folder}/cfg.json"), source.shapes(f"{folder}/sae.safetensors"))
        except ValueError as error:
            faults += error.faults if isinstance(error, ConfigError) else [f"{source.where}: {error}"]
            continue
        if cfg is None or shapes is None:
            absent.append(folder)
            continue
        wrong = [
            f"{source.where}: {folder} {fault}" for fault in dictionary_faults(cfg, shapes, facts.d_model)
        ]
        faults += wrong
        if not wrong:
            found.append(_one_dictionary(source, folder, hookpoint, shapes["encoder.weight"], int(cfg["k"])))
    faults += [*_absence_faults(absent, source), *_width_faults(found, width, source.where)]
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return tuple(found)


def _local_model(source: LocalFolder) -> ModelFacts:
    faults: list[str] = []
    config, tokenizer = _parsed(source, "config.json", faults), _parsed(source, "tokenizer.json", faults)
    weights = source.weights()
    pickled = sorted(path.name for path in source.path.glob("pytorch_model*.bin"))
    faults += _missing(source.where, config=config, weights=weights or pickled or None, tokenizer=tokenizer)
    if pickled and not weights:
        faults.append(
            f"{source.where}: expected weights in *.safetensors, got {', '.join(pickled)}, which would be "
            f"unpickled and can run code. Convert them: load the model where you trust it and call "
            f"model.save_pretrained(folder)."
        )
    if faults or config is None or tokenizer is None:
        raise ConfigError(*faults)
    return facts_of(source, config, tokenizer, identity=source.identity("", "config.json", *weights))


def _parsed(source: LocalFolder, name: str, faults: list[str]) -> dict[str, Any] | None:
    """The file's content; an unreadable one is a fault of its own and counts as present (empty)."""
    try:
        return source.json(name)
    except ValueError as error:
        faults.append(f"{source.where}: {error}")
        return {}


def _missing(where: str, **parts: object) -> list[str]:
    return [
        f"{where}: expected a model folder with config.json, *.safetensors and tokenizer.json; "
        f"{_PARTS[name]} missing. Choose another folder, or write this one with "
        f"model.save_pretrained(folder) and tokenizer.save_pretrained(folder)."
        for name, part in parts.items()
        if part is None
    ]


def _dictionary_source(
    sae: HubSae | EleutherSae | LocalSae, model: Model, width: int | Width, key: str
) -> LocalFolder | HubFolder:
    match sae:
        case LocalSae():
            return LocalFolder.at(sae.path, f"{key}.path")
        case HubSae():
            return HubFolder(sae.name, sae.revision, f"{key}.name={sae.name}")
        case EleutherSae():
            name = eleuther_repository(model, width, key=key)
            return HubFolder(name, "main", f"{key}=eleuther ({name})")


def _one_dictionary(
    source: LocalFolder | HubFolder, folder: str, hookpoint: Hookpoint, shape: tuple[int, ...], k: int
) -> DictionaryFacts:
    identity = source.identity(folder, *DICTIONARY_FILES)
    return DictionaryFacts(hookpoint, shape[1], shape[0], k, identity, source.loadable(folder))


def _absence_faults(absent: Sequence[str], source: LocalFolder | HubFolder) -> list[str]:
    if not absent:
        return []
    return [
        f"{source.where}: no dictionary (cfg.json and sae.safetensors) for {', '.join(absent)}. It has "
        f"{', '.join(source.folders_with('cfg.json')) or 'none'}. Choose layers among these."
    ]


def _width_faults(found: Sequence[DictionaryFacts], width: int | Width, where: str) -> list[str]:
    widths = sorted({each.width for each in found})
    if isinstance(width, Width) or all(each == width for each in widths):
        return []
    return [
        f"{where}: width={width} was asked, the dictionaries have {', '.join(map(str, widths))} latents. "
        f"Choose width=published or one of these."
    ]
