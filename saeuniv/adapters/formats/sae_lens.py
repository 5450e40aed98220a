"""sae-lens' format, old and new: a folder with cfg.json and sae_weights.safetensors."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.formats.arrays import Arrays, required, safetensors_arrays
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with, place_of
from saeuniv.adapters.formats.weights import (
    Activation,
    DictionaryWeights,
    Normalisation,
    folded_decoder_norms,
)

_CONFIG = "cfg.json"
_WEIGHTS = "sae_weights.safetensors"
# What sae-lens saves beside a dictionary that is still being trained.
_SCALER = "activation_scaler.json"
_FILES = (_CONFIG, _WEIGHTS)
_AVERAGE = "expected_average_only_in"
_NORMALISATIONS = {
    "none": Normalisation.none,
    # Folded into the weights.
    _AVERAGE: Normalisation.none,
    "layer_norm": Normalisation.layer_norm,
    "constant_norm_rescale": Normalisation.rescale,
}
_ARCHITECTURES = {
    "standard": Activation.relu,
    "topk": Activation.topk,
    "jumprelu": Activation.jumprelu,
    "gated": Activation.gated,
}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for folder in folders_with(names, *_FILES):
        prefix = f"{folder}/" if folder else ""
        place = place_of(folder.rsplit("/", 1)[-1])
        if place is None:
            place = place_of(_hook_name(source.json(prefix + _CONFIG) or {}))
        if place:
            scaler = (_SCALER,) if prefix + _SCALER in names else ()
            entries.append(Entry(*place, folder, (*_FILES, *scaler)))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    cfg = source.json(entry.path(_CONFIG)) or {}
    shape = (source.shapes(entry.path(_WEIGHTS)) or {}).get("W_enc", ())
    if len(shape) != 2:
        fault = f"has no W_enc in {_WEIGHTS}. Expected a dictionary in sae-lens' format."
        return Contents(None, 0, None, "", faults=(fault,))
    about = cfg.get("metadata") or cfg
    activation = _ARCHITECTURES.get(_architecture(cfg))
    return Contents(
        shape[0],
        shape[1],
        _k(cfg) if activation is Activation.topk else None,
        activation.value if activation else _architecture(cfg),
        base_model=about.get("model_name"),
        processing="tl_compat" if _is_centred(about) else "none",
        faults=tuple(_faults(cfg, shape[0], has_factor=_has_factor(source, entry))),
    )


def _faults(cfg: dict[str, Any], d_in: int, *, has_factor: bool) -> list[str]:
    faults: list[str] = []
    architecture, normalisation = _architecture(cfg), _normalisation(cfg)
    if cfg.get("d_in") != d_in:
        faults.append(
            f"has a cfg.json with d_in={cfg.get('d_in')}; expected {d_in}, as the tensors. Fetch it again."
        )
    if architecture not in _ARCHITECTURES:
        faults.append(
            f"has architecture {architecture}; expected {', '.join(_ARCHITECTURES)}. Choose another."
        )
    elif architecture == "topk" and not isinstance(_k(cfg), int):
        faults.append("is a TopK dictionary without a number k in its cfg.json. Fetch it again.")
    if architecture == "standard" and (function := _activation_function(cfg)) not in ("relu", "topk"):
        faults.append(f"has activation function {function}; expected relu or topk. Choose another.")
    if normalisation == _AVERAGE and not has_factor:
        faults.append(
            f"has normalize_activations={_AVERAGE}, whose factor is in none of its files; expected it folded "
            f"into the weights, or {_SCALER}. In sae-lens, SAE.from_pretrained(release, sae_id) folds the "
            "factors of releases that it knows; for others call "
            "sae.fold_activation_norm_scaling_factor(factor). Then sae.save_model(folder), and choose that."
        )
    elif normalisation not in _NORMALISATIONS:
        faults.append(
            f"has normalize_activations={normalisation}; expected {', '.join(_NORMALISATIONS)}. Choose "
            "another."
        )
    about = cfg.get("metadata") or cfg
    if cfg.get("reshape_activations", "none") != "none" or _hook_name(cfg).endswith("hook_z"):
        faults.append(
            "reads the outputs of the heads before they are added up (hook_z); expected the residual stream, "
            "hook_attn_out, hook_mlp_out or mlp.hook_post. Choose a dictionary of one of these."
        )
    if about.get("hook_head_index", cfg.get("hook_point_head_index")) is not None:
        faults.append("reads a single head; expected all of a hookpoint. Choose another.")
    return faults


def _has_factor(source: Files, entry: Entry) -> bool:
    """Whether the factor that its input was multiplied by in training is beside it."""
    return _SCALER in entry.files and _factor(source.json(entry.path(_SCALER)) or {}) is not None


def _factor(scaler: dict[str, Any]) -> float | None:
    factor = scaler.get("scaling_factor")
    return float(factor) if isinstance(factor, int | float) and factor > 0 else None


def _hook_name(cfg: dict[str, Any]) -> str:
    about = cfg.get("metadata") or cfg
    return str(about.get("hook_name") or cfg.get("hook_point") or "")


def _architecture(cfg: dict[str, Any]) -> str:
    """What it is; old files say so by their activation function."""
    if _activation_function(cfg) == "topk":
        return "topk"
    return str(cfg.get("architecture", "standard"))


def _activation_function(cfg: dict[str, Any]) -> str:
    return str(cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu")


def _k(cfg: dict[str, Any]) -> int | None:
    return cfg.get("k", (cfg.get("activation_fn_kwargs") or {}).get("k"))


def _normalisation(cfg: dict[str, Any]) -> str:
    # Old files have a boolean: true is the mean norm of the data set.
    match cfg.get("normalize_activations"):
        case True:
            return _AVERAGE
        case None | False:
            return "none"
        case other:
            return str(other)


def _is_centred(about: dict[str, Any]) -> bool:
    """Whether it was trained on a model whose writing weights TransformerLens had centred."""
    return bool((about.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights"))


def _read(folder: Path) -> DictionaryWeights:
    cfg, path = read_json(folder / _CONFIG), folder / _WEIGHTS
    arrays = safetensors_arrays(path)
    activation = _ARCHITECTURES[_architecture(cfg)]
    encoder, decoder, decoder_bias = required(arrays, path, "W_enc", "W_dec", "b_dec")
    if _normalisation(cfg) == _AVERAGE:
        # As sae-lens does when training ends (fold_activation_norm_scaling_factor); what it loads from a
        # checkpoint it leaves in the units of training.
        factor = np.float32(_factor(read_json(folder / _SCALER)) or 1)
        encoder, decoder, decoder_bias = encoder * factor, decoder / factor, decoder_bias / factor
    (bias,) = required(arrays, path, "b_mag" if activation is Activation.gated else "b_enc")
    weights = DictionaryWeights(
        encoder.T,
        bias,
        _scaled(decoder, arrays, cfg, path),
        decoder_bias,
        activation,
        k=_k(cfg) if activation is Activation.topk else None,
        subtracts_decoder_bias=bool(cfg.get("apply_b_dec_to_input", True)),
        normalisation=_NORMALISATIONS[_normalisation(cfg)],
        centred=_is_centred(cfg.get("metadata") or cfg),
    )
    match activation:
        case Activation.jumprelu:
            (thresholds,) = required(arrays, path, "threshold")
            return weights._replace(thresholds=thresholds)
        case Activation.gated:
            gate_bias, r_mag = required(arrays, path, "b_gate", "r_mag")
            return weights._replace(gate_bias=gate_bias, magnitude=np.exp(r_mag))
        case _:
            return folded_decoder_norms(weights) if cfg.get("rescale_acts_by_decoder_norm") else weights


def _scaled(decoder: np.ndarray, arrays: Arrays, cfg: dict[str, Any], path: Path) -> np.ndarray:
    """The decoder times the scale that each latent was finetuned with, which concerns the decoder alone.

    Raises:
        ValueError: there are scales that cfg.json does not speak of, which sae-lens refuses too.
    """
    scale = arrays.get("finetuning_scaling_factor", arrays.get("scaling_factor"))
    # sae-lens once saved ones with every dictionary.
    if scale is None or np.allclose(scale, 1):
        return decoder
    if not cfg.get("finetuning_scaling_factor"):
        raise ValueError(
            f"{path}: expected no scaling_factor, as cfg.json has no finetuning_scaling_factor=true, got one "
            f"that is not 1. Fetch both files again, or set it in cfg.json if the latents were finetuned."
        )
    return decoder * scale[:, None]


SAE_LENS = Format("sae_lens", _find, _contents, _read)
