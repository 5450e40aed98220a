"""Progress of a run: bars on a terminal, one plain line every 30 s elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from saeuniv.stages.task import Task

_PLAIN_EVERY_SECONDS = 30.0

_log = logging.getLogger("saeuniv")


@runtime_checkable
class Display(Protocol):
    """Where progress is shown."""

    def started(self, task: Task) -> None:
        """A task began."""

    def advanced(self, task: Task, done: int, total: int) -> None:
        """A task has done so many of its steps."""

    def ended(self, task: Task) -> None:
        """A task ended, well or not."""

    def tick(self) -> None:
        """Called several times a second."""


@contextmanager
def display(n_tasks: int) -> Generator[Display]:
    """Bars if stderr is a terminal, else plain lines; log lines go to stderr between them."""
    console = Console(stderr=True)
    handler = (
        RichHandler(console=console, show_path=False, markup=False)
        if console.is_terminal
        else _plain_handler()
    )
    before, level = list(_log.handlers), _log.level
    # The run's own log goes on; what else the root writes to is the terminal.
    files = [each for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    _log.handlers, _log.propagate = [handler, *files], False
    _log.setLevel(logging.INFO)
    try:
        if console.is_terminal:
            with _Bars(console, n_tasks) as bars:
                yield bars
        else:
            yield _Lines(n_tasks, _log.info)
    finally:
        _log.handlers, _log.propagate = before, True
        _log.setLevel(level)


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    return handler


class _Bars:
    """One bar for the run, one for each task at work."""

    def __init__(self, console: Console, n_tasks: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._whole = self._progress.add_task("tasks", total=n_tasks)
        self._bars: dict[int, object] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, task: Task) -> None:
        self._bars[id(task)] = self._progress.add_task(f"  {task.stage} {task.label}", total=None)

    def advanced(self, task: Task, done: int, total: int) -> None:
        self._progress.update(self._bars[id(task)], completed=done, total=total)  # pyright: ignore[reportArgumentType]

    def ended(self, task: Task) -> None:
        # What was not run, or ran between two looks at its job, has no bar.
        if id(task) in self._bars:
            self._progress.remove_task(self._bars.pop(id(task)))  # pyright: ignore[reportArgumentType]
        self._progress.advance(self._whole)

    def tick(self) -> None:
        """Bars redraw themselves."""


class _Lines:
    """A line every 30 s: how many tasks are done, and how far those at work are."""

    def __init__(self, n_tasks: int, write: Callable[[str], None]) -> None:
        self._n_tasks = n_tasks
        self._write = write
        self._done = 0
        self._working: dict[int, str] = {}
        self._next = time.monotonic() + _PLAIN_EVERY_SECONDS

    def started(self, task: Task) -> None:
        self._working[id(task)] = f"{task.stage} {task.label}"

    def advanced(self, task: Task, done: int, total: int) -> None:
        self._working[id(task)] = f"{task.stage} {task.label} {done}/{total}"

    def ended(self, task: Task) -> None:
        self._working.pop(id(task), None)
        self._done += 1

    def tick(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY_SECONDS
            self._write(
                f"{self._done} of {self._n_tasks} tasks done; at work: {'; '.join(self._working.values())}"
            )
