"""The tokenizer that a stored token set was made with, found again by the hash of its vocabulary."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int

from saeuniv.adapters.checkpoints import byte_tokenizer_json, read_json, tokenizer_hash
from saeuniv.adapters.token_pieces import TokenBytes
from saeuniv.stages.stored import StoredComparison, config_of
from saeuniv.stages.task import LatentsReference, ModelReference
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Kind, Store
from saeuniv.store.manifest import read_manifest

_log = logging.getLogger(__name__)

_FILE = "tokenizer.json"
# Shows every id as a number.
_UNKNOWN: Mapping[str, Any] = {"model": {"vocab": {}}}


def token_bytes(stored: StoredComparison, tokens: Artifact) -> TokenBytes:
    """What the ids of a token set stand for.

    Looked for among the embedded tokenizer, models in the store, and the folders or cached hub repositories
    that config.yaml names; nothing is fetched. Where it is nowhere, ids are shown as numbers, `[17]`, and a
    warning says so.
    """
    wanted = stored.spec(tokens)["tokenizer"]
    found = _found(str(wanted), _files(stored))
    if found is not None:
        return found
    _log.warning(
        "%s: expected its tokenizer (%s) in the store, in the folders that config.yaml names or in the cache "
        "of the hub, found it nowhere: tokens are shown as numbers. Get it again: %s",
        tokens.path,
        wanted,
        stored.command,
    )
    return TokenBytes(_UNKNOWN)


def row_text(store: Store, side: LatentsReference, rows: Int[np.ndarray, " rows"]) -> list[str] | None:
    """The token of each of these rows, decoded alone; bytes that are no character become U+FFFD.

    None where the tokenizer of the token set is neither the model's nor the embedded one: a warning says so.
    """
    wanted = str(read_manifest(store.folder(side.tokens))["spec"]["tokenizer"])
    read = _found(wanted, _model_files(store, side.model))
    if read is None:
        _log.warning(
            "%s: expected its tokenizer (%s) with %s, found it nowhere: metrics that read tokens are left "
            "empty. Put tokenizer.json into the folder of the model, or fetch the model again.",
            side.tokens.path,
            wanted,
            side.model.label,
        )
        return None
    held_out = read_held_out(store, side.tokens)
    ids, place = np.unique(held_out.ids[held_out.keep][rows], return_inverse=True)
    texts = [read(int(each)).decode("utf-8", errors="replace") for each in ids]
    return [texts[each] for each in place]


def _found(wanted: str, files: Iterable[Path]) -> TokenBytes | None:
    """The tokenizer with this hash; files that cannot be read are none."""
    embedded = byte_tokenizer_json()
    if tokenizer_hash(embedded) == wanted:
        return TokenBytes(embedded)
    for path in files:
        try:
            tokenizer = read_json(path)
        except (OSError, ValueError):
            continue
        if tokenizer_hash(tokenizer) == wanted:
            return TokenBytes(tokenizer)
    return None


def _model_files(store: Store, model: ModelReference) -> Iterator[Path]:
    if model.artifact is not None:
        yield store.folder(model.artifact) / _FILE
    if Path(model.folder).is_dir():
        yield Path(model.folder) / _FILE
    elif model.folder:
        yield from _cached(model.folder, model.revision, f"model={model.label}")


def _cached(name: str, revision: str | None, where: str) -> Iterator[Path]:
    """The file of a hub repository, where it is cached; of a folder none."""
    from saeuniv.adapters.hub import HubFolder

    cached = HubFolder(name, revision or "main", where).cached(_FILE)
    if cached is not None:
        yield cached


def _files(stored: StoredComparison) -> Iterator[Path]:
    for model in stored.named(Kind.models):
        yield stored.store.folder(model) / _FILE
    config = config_of(stored.results)
    for side in ("a", "b"):
        about = cast(Mapping[str, Any], config.get(side) or {})
        if about.get("path"):
            yield Path(str(about["path"])).expanduser() / _FILE
        if about.get("name"):
            name, revision = str(about["name"]), str(about.get("revision") or "main")
            yield from _cached(name, revision, f"{side}.name={name}")
