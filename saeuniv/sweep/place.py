"""Where a sweep is and how it was asked for."""

from dataclasses import dataclass
from pathlib import Path

from saeuniv.config.launcher import Launcher


@dataclass(frozen=True)
class SweepPlace:
    """A sweep."""

    name: str
    folder: Path
    command: tuple[str, ...]
    """The arguments after the program's name."""

    launcher: Launcher
