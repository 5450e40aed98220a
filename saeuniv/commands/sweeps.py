"""The sweeps that there are: below multirun/, each with its record."""

import argparse
from pathlib import Path

from saeuniv.commands.shell import parser
from saeuniv.config import ConfigError
from saeuniv.sweep.record import FILE, Record, read_record

MULTIRUN = Path("multirun")


def sweep_parser(name: str, description: str, *, required: bool = True) -> argparse.ArgumentParser:
    """A parser of a command about one sweep."""
    arguments = parser(name, description)
    about = "its name below multirun/, or its folder"
    arguments.add_argument("sweep", nargs=None if required else "?", help=about)
    return arguments


def find_sweep(text: str) -> tuple[Path, Record]:
    """The folder and record of a sweep, by its name below multirun/ or by its folder.

    Raises:
        ConfigError: there is none, with the sweeps that there are; or its record is not ours to read.
    """
    for folder in (Path(text), MULTIRUN / text):
        if record := read_record(folder):
            return folder, record
    raise ConfigError(
        f"{text}: expected the name of a sweep or its folder, found no {FILE} in it or in "
        f"{MULTIRUN / text}. "
        f"Sweeps below {MULTIRUN.absolute()}: {', '.join(sweep_names()) or 'none'}."
    )


def sweep_names() -> list[str]:
    """The sweeps with a record below multirun/, sorted."""
    return sorted(path.parent.name for path in MULTIRUN.glob(f"*/{FILE}"))
