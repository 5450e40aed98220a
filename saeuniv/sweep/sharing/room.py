"""Whether a disk has room for what is to be written."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from saeuniv.store.usage import bytes_text


def room_faults(folder: Path, n_bytes: int, *, remedy: str) -> Iterator[str]:
    """What is said where the disk of a folder, there already or not, has less room than `n_bytes`."""
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    if (free := shutil.disk_usage(place).free) < n_bytes:
        yield f"{folder}: expected {bytes_text(n_bytes)} of room, got {bytes_text(free)}. {remedy}"
