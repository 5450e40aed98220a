"""sweep.json: what a sweep consists of, for those who ask about it later."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saeuniv.config import ConfigError
from saeuniv.store.text import write_text

FORMAT = 1
FILE = "sweep.json"


@dataclass(frozen=True)
class Record:
    """A sweep on SLURM."""

    name: str
    store: str
    command: tuple[str, ...]
    """The arguments it was last asked for with."""

    stood: str
    """The folder in which that was."""

    comparisons: tuple[str, ...]
    """Folders of comparisons and controls."""

    tasks: tuple[str, ...]
    """Keys of all tasks that were ever given to jobs for it."""


def write_record(folder: Path, record: Record) -> None:
    """Write sweep.json, atomically; comparisons and tasks of an earlier record are kept.

    Raises:
        ConfigError: the folder holds a record of another format version.
    """
    earlier = read_record(folder)
    merged = asdict(record)
    if earlier:
        for name in ("comparisons", "tasks"):
            merged[name] = list(dict.fromkeys([*getattr(earlier, name), *getattr(record, name)]))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps({"format": FORMAT, **merged}, indent=1) + "\n")


def read_record(folder: Path) -> Record | None:
    """The record in a sweep's folder; None where there is none.

    Raises:
        ConfigError: it is of another format version, or damaged.
    """
    path = folder / FILE
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = values.pop("format")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path}: expected the record of a sweep, got something else ({error}).") from error
    if written != FORMAT:
        raise ConfigError(
            f"{path}: expected a sweep of format {FORMAT}, got {written}. Another version of saeuniv "
            f"wrote it: go on with that version, or choose another sweep.name; both share the store."
        )
    try:
        lists: dict[str, Any] = {name: tuple(values[name]) for name in ("command", "comparisons", "tasks")}
        return Record(**{**values, **lists})
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: expected the record of a sweep, got something else ({error}).") from error
