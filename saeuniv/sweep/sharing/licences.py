"""Licence files that lie beside local models and dictionaries: they go where these go."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from saeuniv.sweep.sharing.contract import CARD
from saeuniv.sweep.sharing.pieces import Piece, copied
from saeuniv.sweep.sharing.used import TEXT, Used

LICENCES = "licences"
_BEGINNINGS = ("license", "licence", "copying", "notice")
_ENDINGS = ("", ".txt", ".md")


def licence_pieces(sources: Iterable[Used]) -> Iterator[Piece]:
    """The licence files of every folder that models or dictionaries came from, in a folder for each."""
    folders = dict.fromkeys(each.folder for each in sources if each.folder and each.role != TEXT)
    taken: set[str] = set()
    for folder in (Path(each).expanduser() for each in folders):
        found = [path for path in sorted(folder.iterdir()) if _is_licence(path)] if folder.is_dir() else []
        below = folder.absolute().name
        while found and below in taken:
            below += "_"
        taken.add(below)
        yield from (copied(f"{LICENCES}/{below}/{path.name}", CARD, path) for path in found)


def _is_licence(path: Path) -> bool:
    name = path.name.lower()
    fits = name.startswith(_BEGINNINGS) and path.suffix.lower() in _ENDINGS
    return fits and path.is_file() and not path.is_symlink()
