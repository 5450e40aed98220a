"""Latents as an export has them: the store's shards, and with text the token sets they are on."""

from collections.abc import Sequence
from typing import NamedTuple, cast

from saeuniv.stages.stored import StoredComparison
from saeuniv.store import Artifact, ArtifactError, Kind
from saeuniv.sweep.sharing.contract import LATENTS
from saeuniv.sweep.sharing.dictionaries import remade, side_latents
from saeuniv.sweep.sharing.pieces import Piece, stored


class Shards(NamedTuple):
    """The latents of an export."""

    pieces: tuple[Piece, ...]
    artifacts: dict[str, str]
    """Folders of the export by the path of the artifact."""

    remarks: tuple[str, ...]


def latents(comparisons: Sequence[StoredComparison], *, with_text: bool) -> Shards:
    """Every shard that these comparisons rest on, each once.

    Raises:
        ArtifactError: the store lacks shards or what names them, or a manifest is damaged; all at once.
    """
    pieces: dict[str, tuple[Piece, ...]] = {}
    faults: list[str] = []
    remarks: list[str] = []
    for each in comparisons:
        for artifact in (*_shards(each), *(_tokens(each) if with_text else ())):
            if artifact.path in pieces:
                continue
            try:
                with each.explained():
                    pieces[artifact.path] = stored(each.store.folder(artifact), artifact.path, LATENTS)
                    remarks += remade(each, artifact)
            except ArtifactError as error:
                faults.append(str(error))
    if faults:
        raise ArtifactError("\n".join(dict.fromkeys(faults)))
    files = tuple(piece for each in pieces.values() for piece in each)
    return Shards(files, {path: path for path in pieces}, tuple(remarks))


def _shards(comparison: StoredComparison) -> list[Artifact]:
    """As the summary names them."""
    found: list[Artifact] = []
    for path in cast(dict[str, str], comparison.results.summary.get("artifacts") or {}):
        folder, key, *shard = path.split("/")
        if folder == Kind.latents.value and shard:
            found.append(Artifact(Kind.latents, key, {}, shard=int(shard[0])))
    return found


def _tokens(comparison: StoredComparison) -> list[Artifact]:
    sides = [layer for side in "ab" for layer in side_latents(comparison, side)]
    return list(dict.fromkeys(comparison.tokens((layer,)) for layer in sides))
