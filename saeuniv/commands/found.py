"""Where results are: of a comparison, of a sweep, or of a sweep by name."""

from pathlib import Path

from saeuniv.commands.sweeps import MULTIRUN, sweep_names
from saeuniv.config import ConfigError
from saeuniv.sweep.record import read_record

RESULTS, TABLE = "results", "layer_pairs.csv"


def result_folder(text: str) -> Path:
    """The folder of a sweep or a comparison that `text` names, by path or as a sweep's name.

    Raises:
        ConfigError: there is no such folder.
    """
    for folder in (Path(text), MULTIRUN / text):
        if folder.is_dir():
            # As written down by others, where results/ of a comparison is named.
            return folder.parent if folder.name == RESULTS and (folder / TABLE).is_file() else folder
    names = ", ".join(sweep_names()) or "none"
    raise ConfigError(
        f"{text}: expected the folder of a sweep or of a comparison, found no such folder. "
        f"Sweeps below {MULTIRUN.absolute()}: {names}."
    )


def has_results(folder: Path) -> bool:
    """Whether this is the folder of a comparison with results."""
    return (folder / RESULTS / TABLE).is_file()


def comparisons_in(folder: Path) -> list[Path]:
    """The sweep's comparisons, also those without results.

    Raises:
        ConfigError: none of them has results.
    """
    record = read_record(folder)
    # As the sweep has them; it may have been moved since.
    recorded = [folder / Path(each).name for each in record.comparisons] if record else []
    found = list(dict.fromkeys([*recorded, *sorted(path.parent for path in folder.glob(f"*/{RESULTS}"))]))
    if not any(map(has_results, found)):
        raise ConfigError(
            f"{folder}: expected the folder of a sweep or of a comparison, found no results in it. "
            f"Folders are multirun/<sweep>/<comparison>."
        )
    return found
