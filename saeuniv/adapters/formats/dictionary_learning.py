"""dictionary_learning's format (Marks, Karvonen and Mueller): a folder with ae.pt and config.json."""

import pickle
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.formats.arrays import Arrays, required
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with
from saeuniv.adapters.formats.weights import Activation, DictionaryWeights
from saeuniv.hookpoints import HookpointKind

_CONFIG = "config.json"
_WEIGHTS = "ae.pt"
_FILES = (_CONFIG, _WEIGHTS)
_SUBMODULE = re.compile(r"(resid_post|mlp_out|attn_out)_layer_(\d+)")
# Which of them subtract the decoder's bias from their input.
_CLASSES = {
    "AutoEncoder": (Activation.relu, True),
    "AutoEncoderNew": (Activation.relu, False),
    "AutoEncoderTopK": (Activation.topk, True),
    "BatchTopKSAE": (Activation.jumprelu, True),
    "MatryoshkaBatchTopKSAE": (Activation.jumprelu, True),
    "GatedAutoEncoder": (Activation.gated, True),
    "JumpReluAutoEncoder": (Activation.jumprelu, False),
}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for folder in folders_with(names, *_FILES):
        # The same layer has trainer_0, trainer_1 ... with different settings.
        trainer = re.search(r"trainer_(\d+)", folder)
        found = _SUBMODULE.search(f"{source.title}/{folder}")
        if found is None:
            given = _trainer(source.json(f"{folder}/{_CONFIG}" if folder else _CONFIG) or {})
            found = _SUBMODULE.search(str(given.get("submodule_name")))
            place = (int(given["layer"]), HookpointKind.resid_post) if "layer" in given else None
        else:
            place = None
        if found:
            place = int(found[2]), HookpointKind(found[1])
        if place:
            entries.append(Entry(*place, folder, _FILES, l0=trainer[0] if trainer else None))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    given = _trainer(source.json(entry.path(_CONFIG)) or {})
    name = str(given.get("dict_class"))
    activation = _CLASSES[name][0].value if name in _CLASSES else name
    faults: list[str] = []
    if name not in _CLASSES:
        faults.append(f"has dict_class {name}; expected {', '.join(_CLASSES)}. Choose another.")
    d_in, width = given.get("activation_dim"), given.get("dict_size")
    if not isinstance(d_in, int) or not isinstance(width, int):
        faults.append("has a config.json without trainer.activation_dim and dict_size. Fetch it again.")
        d_in, width = None, 0
    k = given.get("k") if name == "AutoEncoderTopK" else None
    return Contents(d_in, width, k, activation, base_model=given.get("lm_name"), faults=tuple(faults))


def _trainer(config: dict[str, Any]) -> dict[str, Any]:
    given = config.get("trainer")
    return cast(dict[str, Any], given) if isinstance(given, dict) else {}


def _read(folder: Path) -> DictionaryWeights:
    given, path = _trainer(read_json(folder / _CONFIG)), folder / _WEIGHTS
    arrays = _arrays(path)
    activation, subtracts = _CLASSES[str(given.get("dict_class"))]
    encoder, decoder = _matrices(arrays, path)
    weights = DictionaryWeights(
        encoder,
        _one_of(arrays, path, "mag_bias" if activation is Activation.gated else "encoder.bias", "b_enc"),
        decoder,
        _one_of(arrays, path, "b_dec", "bias", "decoder_bias", "decoder.bias"),
        activation,
        k=int(given["k"]) if activation is Activation.topk else None,
        subtracts_decoder_bias=subtracts,
    )
    if activation is Activation.gated:
        gate_bias, r_mag = required(arrays, path, "gate_bias", "r_mag")
        return weights._replace(gate_bias=gate_bias, magnitude=np.exp(r_mag))
    if activation is Activation.jumprelu:
        (thresholds,) = required(arrays, path, "threshold")
        if (thresholds < 0).any():
            raise ValueError(
                f"{path}: expected thresholds that training has set, got {float(thresholds.min())}. The "
                f"training of this BatchTopK dictionary ended too early; choose another."
            )
        return weights._replace(thresholds=np.broadcast_to(thresholds, len(encoder)).copy())
    return weights


def _arrays(path: Path) -> Arrays:
    """The tensors of a pickle of nothing but tensors.

    Raises:
        ValueError: reading it takes more, which could run code; or it is damaged.
    """
    import torch

    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: expected a file of tensors alone, got one that is damaged or whose reading could run "
            f"code ({str(error).splitlines()[0]}). Load it where you trust it and save its state_dict."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: expected a state_dict of tensors, got {type(state).__name__}.")
    items = cast(dict[str, Any], state).items()
    return {name: each.float().numpy() for name, each in items if isinstance(each, torch.Tensor)}


def _matrices(arrays: Arrays, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Encoder and decoder, a row per latent."""
    if "W_enc" in arrays:
        encoder, decoder = required(arrays, path, "W_enc", "W_dec")
        return encoder.T, decoder
    encoder, decoder = required(arrays, path, "encoder.weight", "decoder.weight")
    return encoder, decoder.T


def _one_of(arrays: Arrays, path: Path, *names: str) -> np.ndarray:
    found = next((arrays[name] for name in names if name in arrays), None)
    return required(arrays, path, names[0])[0] if found is None else found


DICTIONARY_LEARNING = Format("dictionary_learning", _find, _contents, _read, several=True)
