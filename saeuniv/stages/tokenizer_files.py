"""The tokenizer that a stored token set was made with, found again by the hash of its vocabulary."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int

from saeuniv.adapters.checkpoints import byte_tokenizer_json, read_json, tokenizer_hash
from saeuniv.adapters.token_pieces import TokenBytes, words
from saeuniv.numerics.semantic import RowWords, row_words
from saeuniv.stages.stored import StoredComparison, config_of
from saeuniv.stages.task import LatentsReference, ModelReference
from saeuniv.stages.tokens import HeldOut, read_held_out
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


class RowText:
    """The text of the rows that layers are compared on, in tokens of one side."""

    def __init__(self, read: TokenBytes, held_out: HeldOut, rows: Int[np.ndarray, " rows"]) -> None:
        """`rows` are the rows of the token set that are compared on."""
        self._read = read
        self._held_out = held_out
        self._rows = rows

    @property
    def tokens(self) -> list[str]:
        """The token of each row, decoded alone; bytes that are no character become U+FFFD."""
        ids, place = np.unique(self._held_out.ids[self._held_out.keep][self._rows], return_inverse=True)
        texts = [self._read(int(each)).decode("utf-8", errors="replace") for each in ids]
        return [texts[each] for each in place]

    @property
    def words(self) -> RowWords:
        """The word that the token of each row is a part of; positions that are no rows complete it."""
        known = {int(each): self._read(int(each)) for each in np.unique(self._held_out.ids)}
        found: list[str] = []
        for ids, keep in zip(self._held_out.ids, self._held_out.keep, strict=True):
            whole = words([known[each] for each in ids.tolist()])
            found.extend(itertools.compress(whole, keep))
        return row_words([found[each] for each in self._rows.tolist()])


def row_text(store: Store, side: LatentsReference, rows: Int[np.ndarray, " rows"]) -> RowText | None:
    """The text of these rows.

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
    return RowText(read, read_held_out(store, side.tokens), rows)


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
