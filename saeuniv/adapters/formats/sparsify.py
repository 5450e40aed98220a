"""sparsify's format, of now and of 2024: a folder per module with cfg.json and sae.safetensors."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.formats.arrays import required, safetensors_arrays
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with
from saeuniv.adapters.formats.weights import Activation, DictionaryWeights
from saeuniv.hookpoints import HookpointKind

FILES = ("cfg.json", "sae.safetensors")
"""What a dictionary is, in its folder."""

# sparsify reads the OUTPUT of a module of the base model: `layers.3` is resid_post[3].
_MODULE = re.compile(r"(?:layers|h)\.(\d+)(\.\w+)?$")
_KINDS = {
    None: HookpointKind.resid_post,
    ".mlp": HookpointKind.mlp_out,
    ".attention": HookpointKind.attn_out,
    ".attn": HookpointKind.attn_out,
    ".self_attn": HookpointKind.attn_out,
}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for folder in folders_with(names, *FILES):
        module = _MODULE.match(folder.rsplit("/", 1)[-1] or source.title)
        if module and module[2] in _KINDS:
            entries.append(Entry(int(module[1]), _KINDS[module[2]], folder, FILES))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    cfg = source.json(entry.path("cfg.json")) or {}
    shapes = source.shapes(entry.path("sae.safetensors")) or {}
    shape = shapes.get("encoder.weight", ())
    if len(shape) != 2 or "W_dec" not in shapes:
        fault = "has no encoder.weight and W_dec. Expected a dictionary in sparsify's format."
        return Contents(None, 0, None, "", faults=(fault,))
    k = cfg.get("k")
    return Contents(shape[1], shape[0], k, cfg.get("activation", "topk"), faults=_faults(cfg, shape[1]))


def _faults(cfg: dict[str, Any], d_in: int) -> tuple[str, ...]:
    faults: list[str] = []
    if cfg.get("d_in") != d_in or not isinstance(cfg.get("k"), int):
        faults.append(
            f"has a cfg.json with d_in={cfg.get('d_in')}, k={cfg.get('k')}; expected d_in={d_in} (as the "
            f"tensors) and a number k. Fetch it again."
        )
    if cfg.get("signed"):
        faults.append("has signed latents; expected latents that are not negative. Choose another.")
    if cfg.get("transcode"):
        faults.append(
            "is a transcoder; expected a dictionary that reconstructs its own input. Choose another."
        )
    known = (Activation.topk.value, Activation.groupmax.value, Activation.relu.value)
    if cfg.get("activation", "topk") not in known:
        faults.append(f"has activation {cfg['activation']}; expected {', '.join(known)}. Choose another.")
    return tuple(faults)


def _read(folder: Path) -> DictionaryWeights:
    cfg, path = read_json(folder / FILES[0]), folder / FILES[1]
    arrays = safetensors_arrays(path)
    encoder, bias, decoder, decoder_bias = required(
        arrays, path, "encoder.weight", "encoder.bias", "W_dec", "b_dec"
    )
    activation = Activation(cfg.get("activation", "topk"))
    k = cfg.get("k")
    return DictionaryWeights(encoder, bias, decoder, decoder_bias, activation, k=k, skip=arrays.get("W_skip"))


SPARSIFY = Format("sparsify", _find, _contents, _read)
