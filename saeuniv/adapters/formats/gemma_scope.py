"""Gemma Scope (Lieberum et al. 2024): layer_12/width_16k/average_l0_82/params.npz, JumpReLU."""

import re
from collections.abc import Collection
from pathlib import Path

from saeuniv.adapters.formats.arrays import npz_arrays, npz_shapes, required
from saeuniv.adapters.formats.entries import Contents, Entry, Files, Format, folders_with, latents_of
from saeuniv.adapters.formats.weights import Activation, DictionaryWeights, jumprelu_of_input
from saeuniv.hookpoints import HookpointKind

_FILES = ("params.npz",)
_FOLDER = re.compile(r"(?:.*/)?layer_(\d+)/width_(\d+[km])/average_l0_(\d+)$")
_KINDS = {"res": HookpointKind.resid_post, "mlp": HookpointKind.mlp_out}


def _find(source: Files, names: Collection[str]) -> tuple[Entry, ...]:
    # gemma-scope-2b-pt-res: only the repository's name tells what its dictionaries read.
    kind = _KINDS.get(source.title.rsplit("-", 1)[-1])
    entries: list[Entry] = []
    for folder in folders_with(names, *_FILES):
        found = _FOLDER.match(folder)
        if found:
            entries.append(Entry(int(found[1]), kind, folder, _FILES, latents_of(found[2]), found[3]))
    return tuple(entries)


def _contents(source: Files, entry: Entry) -> Contents:
    path = source.cached(entry.path(_FILES[0]))
    assert entry.width is not None
    faults: tuple[str, ...] = ()
    if source.title.endswith("-att"):
        faults = (
            "reads the heads' outputs before they are added up (hook_z), which no hookpoint here is. Choose "
            "the -res or -mlp dictionaries.",
        )
    if path is None:
        return Contents(None, entry.width, None, Activation.jumprelu.value, faults=faults)
    d_in, width = npz_shapes(path).get("W_enc", (0, 0))
    return Contents(d_in, width, None, Activation.jumprelu.value, faults=faults)


def _read(folder: Path) -> DictionaryWeights:
    path = folder / _FILES[0]
    return jumprelu_of_input(
        required(npz_arrays(path), path, "W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    )


GEMMA_SCOPE = Format("gemma_scope", _find, _contents, _read, several=True)
