"""Gemma Scope 2: resid_post/layer_12_width_16k_l0_medium with params.safetensors, JumpReLU."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from saeuniv.adapters.formats.arrays import required, safetensors_arrays
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with, latents_of
from saeuniv.adapters.formats.weights import Activation, DictionaryWeights, jumprelu_of_input
from saeuniv.hookpoints import HookpointKind

_WEIGHTS = "params.safetensors"
_CONFIG = "config.json"
# Seeds (..._seed_1), transcoders and cross-layer ones have other names.
_FOLDER = re.compile(r"(?:.*/)?([a-z_]+)/layer_(\d+)_width_(\d+[km])_l0_(small|medium|big)$")
_KINDS = {
    "resid_post": HookpointKind.resid_post,
    "mlp_out": HookpointKind.mlp_out,
    "attn_out": HookpointKind.attn_out,
}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for folder in folders_with(names, _WEIGHTS):
        found = _FOLDER.match(folder)
        kind = _KINDS.get(found[1].removesuffix("_all")) if found else None
        if found and kind:
            config = (_CONFIG,) if f"{folder}/{_CONFIG}" in names else ()
            files = (*config, _WEIGHTS)
            entries.append(Entry(int(found[2]), kind, folder, files, latents_of(found[3]), found[4]))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    config = (source.json(entry.path(_CONFIG)) if _CONFIG in entry.files else None) or {}
    shape = (source.shapes(entry.path(_WEIGHTS)) or {}).get("w_enc", ())
    activation = Activation.jumprelu.value
    if len(shape) != 2:
        fault = f"has no w_enc in {_WEIGHTS}. Expected a dictionary of Gemma Scope 2."
        return Contents(None, 0, None, activation, faults=(fault,))
    faults: list[str] = []
    if (architecture := config.get("architecture", "jump_relu")) != "jump_relu":
        faults.append(f"has architecture {architecture}; expected jump_relu. Choose another.")
    if entry.kind is HookpointKind.attn_out:
        # config.json: hf_hook_point_in model.layers.N.self_attn.o_proj.input.
        faults.append(
            "reads the heads' outputs before they are added up (hook_z), which no hookpoint here is. Choose "
            "sae.hookpoint=resid_post or mlp_out."
        )
    base = _base(config)
    return Contents(shape[0], shape[1], None, activation, base_model=base, faults=tuple(faults))


def _base(config: dict[str, Any]) -> str | None:
    """The hub's name of the model; files write gemma-v3-1b-pt."""
    name = config.get("model_name")
    if not isinstance(name, str):
        return None
    tail = name.rsplit("/", 1)[-1].replace("-v3", "-3")
    return f"google/{tail.removesuffix('-pt') if '270m' in tail else tail}"


def _read(folder: Path) -> DictionaryWeights:
    path = folder / _WEIGHTS
    return jumprelu_of_input(
        required(safetensors_arrays(path), path, "w_enc", "b_enc", "w_dec", "b_dec", "threshold")
    )


GEMMA_SCOPE_2 = Format("gemma_scope_2", _find, _contents, _read, several=True)
