"""How well dictionaries fit a model on a few tokens, at their hookpoint and at those around it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saeuniv.adapters import formats
from saeuniv.adapters.corpus import read_corpus
from saeuniv.adapters.dictionary import Dictionary, neighbourhood_fvu
from saeuniv.adapters.dictionary_facts import DictionaryFacts
from saeuniv.adapters.hub import local_folder
from saeuniv.adapters.language_model import load_language_model
from saeuniv.adapters.model_folders import load_tokenizer
from saeuniv.config import Data, TextData
from saeuniv.hookpoints import Hookpoint

_TOKENS = 2048
_CONTEXT = 128
# The first positions of a sequence are attention sinks of huge norm.
_SKIPPED = 4


def fvu_of(
    folder: str, revision: str | None, dictionaries: Sequence[DictionaryFacts], text: Data
) -> dict[Hookpoint, dict[str, float]]:
    """The FVU of each dictionary on 2048 tokens, by the places that it is given: its own one first.

    Raises:
        ValueError: the text has too few tokens; damaged files.
        ConfigError: files are neither in the cache nor to be had.
    """
    ids = _sequences(folder, revision, text)
    keep = np.ones(ids.shape, dtype=bool)
    keep[:, :_SKIPPED] = False
    model = load_language_model(folder, revision=revision)
    loaded = {each.hookpoint: _load(each) for each in dictionaries}
    return neighbourhood_fvu(model, loaded, ids, keep)


def _sequences(folder: str, revision: str | None, text: Data) -> np.ndarray:
    tokenizer = load_tokenizer(folder, revision)
    corpus = read_corpus(text)
    found: list[int] = []
    for document in (*corpus.held_out, *corpus.training):
        found += tokenizer(document.text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(found) >= _TOKENS:
            return np.array(found[:_TOKENS], dtype=np.int32).reshape(-1, _CONTEXT)
    where = text.path if isinstance(text, TextData) else "the standard library's documentation"
    raise ValueError(f"{where}: expected {_TOKENS} tokens or more, got {len(found)}. Choose a longer text.")


def _load(facts: DictionaryFacts) -> Dictionary:
    repository = facts.identity.get("repository")
    folder = (
        local_folder(repository, facts.identity["commit"], facts.folder, facts.files)
        if repository
        else Path(facts.folder)
    )
    return Dictionary(formats.read(folder, form=facts.form)._replace(centred=facts.centred))
