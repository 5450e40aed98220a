"""The untrained control that stands beside a comparison, found by its settings."""

from pathlib import Path

from saeuniv.config.config_yaml import control_config_text
from saeuniv.results import Results, load


def control_of(folder: Path, results: Results) -> Results | None:
    """The results of the untrained control beside it; None where it has none, or none that is there.

    Raises:
        ValueError: they are damaged.
    """
    if all(row.control is None for row in results.rows):
        return None
    wanted = _settings(control_config_text(results.config))
    for path in folder.absolute().parent.glob("*/results/config.yaml"):
        if _settings(path.read_text(encoding="utf-8")) == wanted:
            return load(path.parent)
    return None


def _settings(config: str) -> str:
    """config.yaml less the line that replays it: comparisons may share a control."""
    return config.partition("\n")[2]
