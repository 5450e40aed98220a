"""The tokenizer that a stored token set was made with, found again by the hash of its vocabulary."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from saeuniv.adapters.checkpoints import byte_tokenizer_json, read_json, tokenizer_hash
from saeuniv.adapters.token_pieces import TokenBytes
from saeuniv.stages.stored import StoredComparison, config_of
from saeuniv.store import Artifact, Kind

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
    for tokenizer in _tokenizers(stored):
        if tokenizer_hash(tokenizer) == wanted:
            return TokenBytes(tokenizer)
    _log.warning(
        "%s: expected its tokenizer (%s) in the store, in the folders that config.yaml names or in the cache "
        "of the hub, found it nowhere: tokens are shown as numbers. Get it again: %s",
        tokens.path,
        wanted,
        stored.command,
    )
    return TokenBytes(_UNKNOWN)


def _tokenizers(stored: StoredComparison) -> Iterator[dict[str, Any]]:
    """Every tokenizer that may be it; one that cannot be read is none."""
    yield byte_tokenizer_json()
    for path in _files(stored):
        try:
            yield read_json(path)
        except (OSError, ValueError):
            continue


def _files(stored: StoredComparison) -> Iterator[Path]:
    for model in stored.named(Kind.models):
        yield stored.store.folder(model) / _FILE
    config = config_of(stored.results)
    for side in ("a", "b"):
        about = cast(Mapping[str, Any], config.get(side) or {})
        if about.get("path"):
            yield Path(str(about["path"])).expanduser() / _FILE
        if about.get("name"):
            from saeuniv.adapters.hub import HubFolder

            revision = str(about.get("revision") or "main")
            cached = HubFolder(str(about["name"]), revision, f"{side}.name={about['name']}").cached(_FILE)
            if cached is not None:
                yield cached
