"""`saeuniv task run FILE`: one task that `saeuniv plan --emit` wrote, for other schedulers."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from saeuniv.adapters.offline import OFFLINE
from saeuniv.commands.shell import DONE, FAILED, parser
from saeuniv.config import ConfigError
from saeuniv.stages.serial import read_task, task_json
from saeuniv.stages.task import Task
from saeuniv.store import ArtifactError
from saeuniv.sweep.job import do

_log = logging.getLogger("saeuniv")

_STOOD = "stood"

# What went wrong is said in one sentence by these; anything else is a bug and shows its traceback.
_SAID_IN_WORDS = (ValueError, ArtifactError, OSError)


def main(argv: Sequence[str]) -> int:
    """Run the task; 0 done, 1 failed."""
    arguments = parser(
        "task", "Run one task that `saeuniv plan --emit DIR` wrote; done, it is not done again."
    )
    arguments.add_argument("action", choices=["run"], metavar="run")
    arguments.add_argument("file", type=Path, metavar="FILE", help="a file of DIR but index.json")
    task, stood = read(arguments.parse_args(argv).file)
    _log.setLevel(logging.INFO)
    if stood.is_dir():
        os.chdir(stood)
    if task.stage != "fetch":
        os.environ.update(OFFLINE)
    return run(task)


def written(task: Task, stood: Path) -> str:
    """The text of a file that `read` reads: the task, and the folder that its relative paths start from."""
    return json.dumps({**json.loads(task_json(task)), _STOOD: str(stood)}, separators=(",", ":")) + "\n"


def read(file: Path) -> tuple[Task, Path]:
    """The task in a file, and the folder that its relative paths start from.

    Raises:
        ConfigError: there is none.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return read_task(text), Path(str(json.loads(text).get(_STOOD, ".")))
    except OSError as error:
        raise ConfigError(
            f"{file}: expected a file that `saeuniv plan --emit DIR` wrote, but it cannot be read "
            f"({error.strerror})."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error} Run a file that `saeuniv plan --emit DIR` wrote.") from error


def run(task: Task) -> int:
    """Run it unless it is done; says what happened on the log."""
    name = f"{task.stage} {task.label}"
    try:
        do(task)
    except _SAID_IN_WORDS as error:
        _log.error("%s failed: %s", name, error)
        return FAILED
    except Exception as error:
        _log.exception("%s failed: %r", name, error)
        return FAILED
    return DONE
