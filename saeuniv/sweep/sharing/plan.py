"""What an export would hold, and everything that stands against it, before a byte is written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from saeuniv.config import ConfigError
from saeuniv.results import Results, load
from saeuniv.stages.stored import stored_comparison
from saeuniv.store import ArtifactError
from saeuniv.sweep.sharing.card import About, card
from saeuniv.sweep.sharing.contract import CARD, DICTIONARIES, KINDS, LATENTS, RESULTS, UNFINISHED, part_of
from saeuniv.sweep.sharing.dictionaries import SPARSIFY_FILE, Place, places, shelve
from saeuniv.sweep.sharing.latents import latents
from saeuniv.sweep.sharing.licences import licence_pieces
from saeuniv.sweep.sharing.pieces import Piece, written
from saeuniv.sweep.sharing.results import results_pieces, sweep_pieces
from saeuniv.sweep.sharing.room import room_faults
from saeuniv.sweep.sharing.used import used

UNKNOWN = "unknown"
"""What the hub calls a licence that nobody named."""

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass
class Export:
    """What is to be written."""

    name: str
    """Of the sweep."""

    kinds: tuple[str, ...]
    with_text: bool
    license: str
    pieces: list[Piece] = field(default_factory=list[Piece])
    artifacts: dict[str, str] = field(default_factory=dict[str, str])
    folders: dict[str, Place] = field(default_factory=dict[str, Place])
    """Of dictionaries."""

    published: list[Mapping[str, object]] = field(default_factory=list[Mapping[str, object]])
    left_out: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    remarks: list[str] = field(default_factory=list[str])

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(piece.n_bytes for piece in self.pieces)


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    folder: Path
    """Of a sweep or of one comparison."""

    comparisons: tuple[Path, ...]
    """Folders with results."""

    target: Path
    kinds: tuple[str, ...]
    with_text: bool = False
    license: str = UNKNOWN
    store: Path | None = None
    """Another than results name."""

    @property
    def alone(self) -> bool:
        """Whether it is one comparison."""
        return self.comparisons == (self.folder,)


def plan_export(wanted: Wanted) -> Export:
    """Everything that the export would hold, its card included; files are looked at, not read.

    Raises:
        ConfigError: the folder to write holds other things or has no room, an unknown kind, an unfit licence,
            damaged results, artifacts that the store lacks: all faults at once.
    """
    faults = [*_target_faults(wanted.target), *_choice_faults(wanted)]
    found: dict[Path, Results] = {}
    for folder in wanted.comparisons:
        try:
            found[folder] = load(folder)
        except ValueError as error:
            faults.append(str(error))
    name = _name(wanted, found)
    kinds = tuple(kind for kind in KINDS if kind in wanted.kinds)
    export = Export(name, kinds, wanted.with_text, wanted.license)
    try:
        _collect(export, wanted, found)
    except (ValueError, ArtifactError) as error:
        faults += str(error).splitlines()
    remedy = f"Choose another disk, or less: --what {RESULTS}."
    faults += room_faults(wanted.target, export.bytes - _done(wanted.target, export.pieces), remedy=remedy)
    if not faults:
        _finish(export, tuple(found.values()))
        faults += _left_faults(wanted.target, export.pieces)
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return export


def _name(wanted: Wanted, found: Mapping[Path, Results]) -> str:
    own = wanted.folder.absolute()
    if not wanted.alone:
        return own.name
    summary = next(iter(found.values())).summary if found else {}
    return str(summary.get("sweep") or own.parent.name)


def _collect(export: Export, wanted: Wanted, found: Mapping[Path, Results]) -> None:
    if {DICTIONARIES, LATENTS} & {*export.kinds}:
        comparisons = [stored_comparison(folder, wanted.store) for folder in found]
        if DICTIONARIES in export.kinds:
            shelf = shelve(places(comparisons))
            export.pieces += shelf.pieces
            export.artifacts |= shelf.artifacts
            export.folders |= shelf.folders
            export.published += shelf.published
            export.left_out += shelf.left_out
            export.remarks += shelf.remarks
        if LATENTS in export.kinds:
            shards = latents(comparisons, with_text=export.with_text)
            export.pieces += shards.pieces
            export.artifacts |= shards.artifacts
            export.remarks += shards.remarks
            if not export.with_text:
                why = "text is left out without --with-text"
                export.left_out.append({"what": "tokens of the latents", "why": why})
    if RESULTS in export.kinds:
        for folder, results in found.items():
            pieces, left_out = results_pieces(folder, results, with_text=export.with_text)
            export.pieces += pieces
            export.left_out += [each for each in left_out if each not in export.left_out]
        if not wanted.alone:
            export.pieces += sweep_pieces(wanted.folder, tuple(found))


def _finish(export: Export, comparisons: tuple[Results, ...]) -> None:
    """Licences and the card, which speaks of all the rest."""
    sources = used(comparisons)
    export.pieces += licence_pieces(sources)
    files = {piece.path for piece in export.pieces}
    about = About(
        name=export.name,
        license=export.license,
        kinds=export.kinds,
        used=sources,
        comparisons=comparisons,
        dictionaries=export.folders,
        in_sparsify=tuple(folder for folder in export.folders if f"{folder}/{SPARSIFY_FILE}" in files),
        published=export.published,
        left_out=export.left_out,
    )
    export.pieces.append(written("README.md", CARD, card(about)))


def _target_faults(target: Path) -> Iterator[str]:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        yield f"{target}: expected a new or an empty folder, found a file or a link. Choose another."
    elif target.is_dir() and any(target.iterdir()) and not (target / UNFINISHED).is_file():
        yield f"{target}: expected a new or an empty folder, found one that is not empty. Choose another."


def _done(target: Path, pieces: Sequence[Piece]) -> int:
    """Bytes that an unfinished export of the same has written."""
    there = (target / piece.path for piece in pieces)
    return sum(path.stat().st_size for path in there if path.is_file())


def _left_faults(target: Path, pieces: Sequence[Piece]) -> Iterator[str]:
    """What lies in the folder of an unfinished export and is not of this one."""
    if not (target / UNFINISHED).is_file():
        return
    names = {UNFINISHED, *(piece.path for piece in pieces)}
    names |= {str(Path(piece.path).with_name(part_of(Path(piece.path).name))) for piece in pieces}
    left = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    if others := [name for name in left if name not in names]:
        yield (
            f"{target}: expected what an unfinished export of the same left, found {len(others)} other files "
            f"({others[0]}). Export with the options that began it, or choose another folder."
        )


def _choice_faults(wanted: Wanted) -> Iterator[str]:
    for kind in wanted.kinds:
        if kind not in KINDS:
            yield f"--what {kind}: expected some of {','.join(KINDS)}, got another. Choose of these."
    if not _LICENSE.fullmatch(wanted.license):
        yield (
            f"--license {wanted.license}: expected an identifier as the hub has them (mit, apache-2.0, "
            f"cc-by-4.0, other), got another."
        )


def sizes(pieces: Sequence[Piece]) -> list[tuple[str, int, int]]:
    """Files and bytes of each kind that there is."""
    kinds = [kind for kind in (*KINDS, CARD) if any(piece.kind == kind for piece in pieces)]
    of_kind = {kind: [piece for piece in pieces if piece.kind == kind] for kind in kinds}
    return [(kind, len(each), sum(piece.n_bytes for piece in each)) for kind, each in of_kind.items()]
