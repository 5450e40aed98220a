"""What a model folder says of itself, read without loading it (no torch, for preflight)."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from saeuniv.adapters.checkpoints import (
    LocalFolder,
    byte_tokenizer_json,
    tensor_shapes,
    tokenizer_hash,
)
from saeuniv.adapters.downloads import weight_files
from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.adapters.model_facts import TINY_D_FF, ModelFacts, facts_of
from saeuniv.config import (
    ConfigError,
    HubModel,
    LocalModel,
    Model,
    TinyModel,
)

# What tokenizers are saved as that do not say where their tokens are in a text.
_SLOW_TOKENIZERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_PARTS = {"config": "config.json is", "weights": "weights are", "tokenizer": "tokenizer.json is"}


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
            faults = _missing(source, config=config, tokenizer=tokenizer)
            if config is None or tokenizer is None:
                raise ConfigError(*faults)
            if not model.untrained:
                with contextlib.suppress(HubUnreachable):  # Fetching says so, where they are needed at all.
                    weight_files(source)
            return facts_of(source, config, tokenizer, identity=source.identity(""))
        case _:
            raise ConfigError(f"{key}: expected a tiny, local or hub model, got {type(model).__name__}.")


def _local_model(source: LocalFolder) -> ModelFacts:
    faults: list[str] = []
    config, tokenizer = _parsed(source, "config.json", faults), _parsed(source, "tokenizer.json", faults)
    weights = source.weights()
    pickled = sorted(path.name for path in source.path.glob("pytorch_model*.bin"))
    faults += _missing(source, config=config, weights=weights or pickled or None, tokenizer=tokenizer)
    if pickled and not weights:
        faults.append(
            f"{source.where}: expected weights in *.safetensors, got {', '.join(pickled)}, which would be "
            f"unpickled and can run code. Convert them: load the model where you trust it and call "
            f"model.save_pretrained(folder)."
        )
    faults += _damage(source, weights)
    if faults or config is None or tokenizer is None:
        raise ConfigError(*faults)
    return facts_of(source, config, tokenizer, identity=source.identity("", "config.json", *weights))


def _damage(source: LocalFolder, weights: Sequence[str]) -> Iterator[str]:
    """What is wrong with safetensors files, as far as their headers and sizes show."""
    for name in weights:
        try:
            tensor_shapes(source.path / name)
        except ValueError as error:
            yield f"{source.where}: {error}"


def _parsed(source: LocalFolder, name: str, faults: list[str]) -> dict[str, Any] | None:
    """The file's content; an unreadable one is a fault of its own and counts as present (empty)."""
    try:
        return source.json(name)
    except ValueError as error:
        faults.append(f"{source.where}: {error}")
        return {}


def _missing(source: LocalFolder | HubFolder, **parts: object) -> list[str]:
    lacking = [name for name, part in parts.items() if part is None]
    faults: list[str] = []
    if "tokenizer" in lacking and (slow := _slow_tokenizer(source)):
        lacking.remove("tokenizer")
        faults.append(
            f"{source.where}: expected a fast tokenizer (tokenizer.json), got a slow one ({slow}), which "
            f"does not say where its tokens are in a text. Convert it where you trust it: load it with "
            f"transformers.AutoTokenizer and call tokenizer.save_pretrained(folder)."
        )
    return [
        f"{source.where}: expected a model folder with config.json, *.safetensors and tokenizer.json; "
        f"{_PARTS[name]} missing. Choose another folder, or write this one with "
        f"model.save_pretrained(folder) and tokenizer.save_pretrained(folder)."
        for name in lacking
    ] + faults


def _slow_tokenizer(source: LocalFolder | HubFolder) -> str:
    with contextlib.suppress(ConfigError):  # A hub that cannot be asked again: what is missing is said.
        names = source.files("tokenizer.json") if isinstance(source, HubFolder) else source.names()
        return ", ".join(sorted(name for name in names if name in _SLOW_TOKENIZERS))
    return ""
