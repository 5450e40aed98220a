"""How a plan ended, wherever it ran."""

import logging
from typing import NamedTuple

from saeuniv.stages.task import Task

_log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A task that did not do its work."""

    task: Task
    message: str


class Outcome(NamedTuple):
    """What became of the tasks of a plan."""

    failures: tuple[Failure, ...]
    not_run: tuple[Task, ...]
    """Tasks that needed what failed."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """Largest memory of a single worker; 0 where it is not known."""


def tell(outcome: Outcome) -> None:
    """Log every failure, tasks that failed alike together."""
    alike: dict[str, list[Task]] = {}
    for failure in outcome.failures:
        alike.setdefault(failure.message, []).append(failure.task)
    for message, (first, *others) in alike.items():
        more = f" (and {len(others)} more)" if others else ""
        _log.error("%s %s%s failed: %s", first.stage, first.label, more, message)
    if outcome.not_run:
        _log.error("%d tasks that need what failed were not run.", len(outcome.not_run))
