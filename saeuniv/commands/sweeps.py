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


def comparison_folders(text: str) -> tuple[Path, list[Path]]:
    """A folder by its path or a sweep by its name, and the comparisons that have results or W&B runs in it.

    The folder of one comparison is its own only one.

    Raises:
        ConfigError: there is no such folder, or no comparison in it.
    """
    given = next((each for each in (Path(text), MULTIRUN / text) if each.is_dir()), None)
    names = ", ".join(sweep_names()) or "none"
    if given is None:
        raise ConfigError(
            f"{text}: expected the folder of a sweep or of a comparison, found no such folder. "
            f"Sweeps below {MULTIRUN.absolute()}: {names}."
        )
    folders = [given] if _is_comparison(given) else sorted(filter(_is_comparison, given.iterdir()))
    if not folders:
        raise ConfigError(
            f"{given}: expected the folder of a sweep or of a comparison, found no results in it. "
            f"Folders are multirun/<sweep>/<comparison>. Sweeps below {MULTIRUN.absolute()}: {names}."
        )
    return given, folders


def _is_comparison(folder: Path) -> bool:
    has_runs = any(folder.glob("wandb/offline-run-*"))
    return has_runs or (folder / "results" / "layer_pairs.csv").is_file()
