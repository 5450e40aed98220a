"""Formats of dictionaries: one small file each, listed here; the files of a folder tell which it is."""

from collections.abc import Collection
from pathlib import Path

from saeuniv.adapters.formats.dictionary_learning import DICTIONARY_LEARNING
from saeuniv.adapters.formats.entries import Contents as Contents
from saeuniv.adapters.formats.entries import Entry as Entry
from saeuniv.adapters.formats.entries import Files as Files
from saeuniv.adapters.formats.entries import Format as Format
from saeuniv.adapters.formats.entries import natural as natural
from saeuniv.adapters.formats.gemma_scope import GEMMA_SCOPE
from saeuniv.adapters.formats.gemma_scope_2 import GEMMA_SCOPE_2
from saeuniv.adapters.formats.llama_scope import LLAMA_SCOPE
from saeuniv.adapters.formats.sae_lens import SAE_LENS
from saeuniv.adapters.formats.sparsify import SPARSIFY
from saeuniv.adapters.formats.weights import DictionaryWeights as DictionaryWeights
from saeuniv.adapters.formats.weights import both_signs as both_signs
from saeuniv.config import ConfigError

FORMATS = (SPARSIFY, GEMMA_SCOPE, GEMMA_SCOPE_2, SAE_LENS, LLAMA_SCOPE, DICTIONARY_LEARNING)
"""Every format that can be read. A new one is a file, a line here and a member of `DictionaryFormat`."""

_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_BY_NAME = {each.name: each for each in FORMATS}


def find(source: Files, names: Collection[str], *, forced: str = "auto") -> tuple[Format, tuple[Entry, ...]]:
    """The format of a source with the dictionaries in it, by the names of its files.

    Raises:
        ConfigError: it holds dictionaries of no format, or of several, or none of the forced one.
    """
    tried = FORMATS if forced == "auto" else (_BY_NAME[forced],)
    found = {each.name: entries for each in tried if (entries := each.find(source, names))}
    if not found:
        expected = " or ".join(_BY_NAME) if forced == "auto" else forced
        shown = ", ".join(sorted(names, key=natural)[:6]) or "nothing"
        pickled = next((name for name in sorted(names, key=natural) if name.endswith(_PICKLES)), None)
        remedy = (
            f"{pickled} would be unpickled and can run code: load it where you trust it and save its tensors "
            f"as one of these formats."
            if pickled
            else "Choose another folder, or sae.format=... where names mislead."
        )
        raise ConfigError(
            f"{source.where}: expected dictionaries of the format {expected}, got none among {shown}"
            f"{' ...' if len(names) > 6 else ''}. {remedy}"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{source.where}: expected dictionaries of one format, got {' and '.join(found)}. Choose with "
            f"sae.format={' or '.join(found)}."
        )
    ((name, entries),) = found.items()
    return _BY_NAME[name], entries


def read(folder: Path, *, form: str | None = None) -> DictionaryWeights:
    """The dictionary in a folder of this machine; its files tell the format where `form` does not.

    Raises:
        ValueError: the files are of no format, damaged, or would have to be unpickled.
    """
    name = form or next((name for name, files in _MARKS.items() if (folder / files).is_file()), None)
    if name is None:
        raise ValueError(
            f"{folder}: expected a dictionary ({', '.join(_MARKS.values())}), got none of these files."
        )
    return _BY_NAME[name].read(folder)


_MARKS = {
    SPARSIFY.name: "sae.safetensors",
    GEMMA_SCOPE.name: "params.npz",
    GEMMA_SCOPE_2.name: "params.safetensors",
    SAE_LENS.name: "sae_weights.safetensors",
    LLAMA_SCOPE.name: "hyperparams.json",
    DICTIONARY_LEARNING.name: "ae.pt",
}
