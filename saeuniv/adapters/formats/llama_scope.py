"""Llama Scope (He et al. 2024): <name>-L12R-8x with hyperparams.json and checkpoints/final.safetensors."""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.formats.arrays import required, safetensors_arrays
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with, place_of
from saeuniv.adapters.formats.weights import Activation, DictionaryWeights, folded_decoder_norms
from saeuniv.hookpoints import HookpointKind

_HYPERPARAMS = "hyperparams.json"
_WEIGHTS = "checkpoints/final.safetensors"
_FILES = (_HYPERPARAMS, _WEIGHTS)
_FOLDER = re.compile(r"(?:.*-)?L(\d+)([RMA])-(\d+)x$")
_KINDS = {"R": HookpointKind.resid_post, "M": HookpointKind.mlp_out, "A": HookpointKind.attn_out}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for folder in folders_with(names, *_FILES):
        named = _FOLDER.match(folder.rsplit("/", 1)[-1] or source.title)
        place = (int(named[1]), _KINDS[named[2]]) if named else None
        if place is None:
            given = source.json(f"{folder}/{_HYPERPARAMS}" if folder else _HYPERPARAMS) or {}
            place = place_of(str(given.get("hook_point_in")))
        if place:
            entries.append(Entry(*place, folder, _FILES))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    given = source.json(entry.path(_HYPERPARAMS)) or {}
    shape = (source.shapes(entry.path(_WEIGHTS)) or {}).get("encoder.weight", ())
    if len(shape) != 2:
        fault = f"has no encoder.weight in {_WEIGHTS}. Expected a dictionary of Llama Scope."
        return Contents(None, 0, None, "", faults=(fault,))
    activation = _activation(given)
    k = given.get("top_k") if activation is Activation.topk else None
    return Contents(shape[1], shape[0], k, activation.value, faults=tuple(_faults(given)))


def _faults(given: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    if given.get("hook_point_in") != given.get("hook_point_out", given.get("hook_point_in")):
        faults.append(
            "is a transcoder; expected a dictionary that reconstructs its own input. Choose another."
        )
    if given.get("act_fn") not in ("jumprelu", "topk"):
        faults.append(f"has act_fn {given.get('act_fn')}; expected jumprelu or topk. Choose another.")
    if (norm := given.get("norm_activation", "dataset-wise")) not in ("dataset-wise", "none", "inference"):
        faults.append(
            f"has norm_activation {norm}; expected dataset-wise, inference or none. Choose another."
        )
    if given.get("use_glu_encoder"):
        faults.append("has an encoder with gates of its own (use_glu_encoder). Choose another.")
    return faults


def _activation(given: dict[str, Any]) -> Activation:
    # TopK ones with a threshold are used as JumpReLU, so that latents do not depend on one another.
    jumps = given.get("act_fn") == "jumprelu" or float(given.get("jump_relu_threshold") or 0) > 0
    return Activation.jumprelu if jumps else Activation.topk


def _read(folder: Path) -> DictionaryWeights:
    """The dictionary as its authors use it for inference: in the units of raw activations.

    In training the input is x sqrt(d) / (mean norm). Divided by that factor everywhere, latents are in units
    of x, only biases change, and the published threshold is for these latents.
    """
    given, path = read_json(folder / _HYPERPARAMS), folder / _WEIGHTS
    arrays = safetensors_arrays(path)
    encoder, bias, decoder = required(arrays, path, "encoder.weight", "encoder.bias", "decoder.weight")
    decoder_bias = arrays.get("decoder.bias", np.zeros(encoder.shape[1], dtype=np.float32))
    if given.get("norm_activation", "dataset-wise") == "dataset-wise":
        factor = np.float32(math.sqrt(encoder.shape[1]) / given["dataset_average_activation_norm"]["in"])
        bias, decoder_bias = bias / factor, decoder_bias / factor
    activation = _activation(given)
    thresholds = np.full(len(encoder), given.get("jump_relu_threshold") or 0, dtype=np.float32)
    weights = DictionaryWeights(
        encoder,
        bias,
        decoder.T,
        decoder_bias,
        activation,
        k=given.get("top_k") if activation is Activation.topk else None,
        thresholds=thresholds if activation is Activation.jumprelu else None,
        subtracts_decoder_bias=bool(given.get("apply_decoder_bias_to_pre_encoder", False)),
    )
    return folded_decoder_norms(weights) if given.get("sparsity_include_decoder_norm", True) else weights


LLAMA_SCOPE = Format("llama_scope", _find, _contents, _read)
