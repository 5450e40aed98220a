"""Run a plan on this machine: tasks whose inputs are there, dearest first, failures never stop others."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from saeuniv.config import Cell, ConfigError
from saeuniv.report.console import console, summary_table
from saeuniv.report.meaning import meaning
from saeuniv.report.pairs import are_pairs, pairs_line, pairs_table
from saeuniv.results import load, write_status
from saeuniv.stages.report import Report
from saeuniv.stages.task import Task
from saeuniv.store import ArtifactError, Store
from saeuniv.sweep.plan import Plan, plan
from saeuniv.sweep.pool import Advanced, Ended, Pool, Spent, discard, pool
from saeuniv.sweep.progress import Display, display

_log = logging.getLogger(__name__)

DONE, FAILED = 0, 1

_LAST_WORDS_SECONDS = 2.0

# What went wrong is said in one sentence by these; anything else is a bug and shows its traceback.
_SAID_IN_WORDS = (ValueError, ArtifactError, OSError, BrokenProcessPool)

_EMBEDDED = (
    "Embedded experiment (experiment=tiny): two small byte-level language models trained here on Python's "
    "documentation. For other models choose a=, b=, sae= and data=; see --help."
)


class Failure(NamedTuple):
    """A task that did not do its work."""

    task: Task
    message: str


class Outcome(NamedTuple):
    """How a plan ended."""

    failures: tuple[Failure, ...]
    not_run: tuple[Task, ...]
    """Tasks that needed what failed."""

    cpu_seconds: float
    peak_bytes: int
    """Largest memory of a single worker."""


def run_comparison(cells: Sequence[Cell], *, folder: Path, config: str, sweep: str) -> int:
    """Do what the cells of one comparison and its control need, report, and say what came of it.

    Returns:
        0, or 1 where any task failed; everything that could be done is done first.

    Raises:
        ConfigError: the files of the two models do not fit together; nothing is run.
    """
    started = time.monotonic()
    first = cells[0]
    if first.a.model.embedded and first.b.model.embedded:
        console().print(_EMBEDDED, highlight=False)
    Store(first.store).remove_scratch()
    try:
        work = plan(cells, folder=folder, config=config, sweep=sweep)
    except ConfigError as error:
        write_status(folder, "failed", error=str(error))
        raise
    for report in work.reports:
        write_status(report.folder, "running")
    outcome = execute(work, pool(first.resources.processes))
    seconds = time.monotonic() - started
    unwritten = [*outcome.not_run, *(failure.task for failure in outcome.failures)]
    written = [report for report in work.reports if not any(report is each for each in unwritten)]
    for report in work.reports:
        if report not in written:
            write_status(
                report.folder, "failed", error=outcome.failures[0].message, seconds=round(seconds, 1)
            )
    if work.reports[0] in written:
        _conclude(written)
    console().print(
        f"{seconds:.0f} s wall, {outcome.cpu_seconds:.0f} CPU-s in tasks, "
        f"{outcome.peak_bytes / 2**30:.2f} GiB peak a process, {work.n_cached} artifacts cached.",
        highlight=False,
    )
    return FAILED if outcome.failures else DONE


def execute(work: Plan, workers: Pool) -> Outcome:
    """Run all tasks, then the reports; a task whose input could not be made fails without being run."""
    tasks: list[Task] = [*work.tasks, *work.reports]
    with display(len(tasks)) as shown:
        run = _Run(tasks, workers, shown)
        try:
            outcome = run.to_the_end()
        except BaseException:
            discard(workers)
            raise
        _tell(outcome)
        return outcome


def _tell(outcome: Outcome) -> None:
    """Every failure, tasks that failed alike together."""
    alike: dict[str, list[Task]] = {}
    for failure in outcome.failures:
        alike.setdefault(failure.message, []).append(failure.task)
    for message, (first, *others) in alike.items():
        more = f" (and {len(others)} more)" if others else ""
        _log.error("%s %s%s failed: %s", first.stage, first.label, more, message)
    if outcome.not_run:
        _log.error("%d tasks that need what failed were not run.", len(outcome.not_run))


class _Run:
    """The state of one execution."""

    def __init__(self, tasks: list[Task], workers: Pool, shown: Display) -> None:
        self._tasks = tasks
        self._workers = workers
        self._shown = shown
        self._waiting = sorted(range(len(tasks)), key=lambda number: -tasks[number].seconds)
        self._makers = {output.path: number for number, task in enumerate(tasks) for output in task.outputs}
        self._at_work: dict[Future[Spent], int] = {}
        self._done: set[int] = set()
        self._unheard: set[int] = set()
        self._failures: dict[int, str] = {}
        self._not_run: set[int] = set()
        self._spent: list[Spent] = []

    def to_the_end(self) -> Outcome:
        while self._waiting or self._at_work:
            self._start_ready()
            if self._at_work:
                finished, _ = wait(self._at_work, timeout=0.2, return_when=FIRST_COMPLETED)
                self._listen()
                for future in finished:
                    self._finish(future)
            self._shown.tick()
        self._hear_the_last()
        return Outcome(
            tuple(Failure(self._tasks[number], message) for number, message in self._failures.items()),
            tuple(self._tasks[number] for number in sorted(self._not_run)),
            sum(each.cpu_seconds for each in self._spent),
            max((each.peak_bytes for each in self._spent), default=0),
        )

    def _start_ready(self) -> None:
        for number in list(self._waiting):
            needed = {
                self._makers[each.path] for each in self._tasks[number].inputs if each.path in self._makers
            }
            if needed & (self._failures.keys() | self._not_run):
                self._waiting.remove(number)
                self._not_run.add(number)
                self._shown.ended(self._tasks[number])
            elif needed <= self._done and len(self._at_work) < self._workers.processes:
                self._waiting.remove(number)
                self._shown.started(self._tasks[number])
                self._unheard.add(number)
                self._at_work[self._workers.submit(number, self._tasks[number])] = number

    def _listen(self) -> None:
        for message in self._workers.messages():
            match message:
                case Advanced():
                    # What is said of a task that has ended comes too late to be shown.
                    if message.task in self._at_work.values():
                        self._shown.advanced(self._tasks[message.task], message.done, message.total)
                case Ended():
                    self._unheard.discard(message.task)
                case _:
                    logging.getLogger(message.name).handle(message)

    def _hear_the_last(self) -> None:
        """Results overtake the words of a worker: wait for these, but not for ever."""
        end = time.monotonic() + _LAST_WORDS_SECONDS
        self._listen()
        while self._unheard and time.monotonic() < end:
            time.sleep(0.01)
            self._listen()

    def _finish(self, future: Future[Spent]) -> None:
        number = self._at_work.pop(future)
        self._shown.ended(self._tasks[number])
        error = future.exception()
        if error is None:
            self._spent.append(future.result())
            self._done.add(number)
            return
        self._failures[number] = str(error) or repr(error)
        if isinstance(error, BrokenProcessPool):
            self._unheard.discard(number)
            self._failures[number] = (
                "a worker process died (killed, or out of memory). What it had published is kept: run the "
                "same command again, with a smaller resources.processes if memory was short."
            )
        elif not isinstance(error, _SAID_IN_WORDS):
            _log.error("%s %s", self._tasks[number].stage, self._tasks[number].label, exc_info=error)


def _conclude(written: list[Report]) -> None:
    """The table, the line that says what it means, and where everything was written."""
    folders = [report.folder for report in written]
    results = [load(folder) for folder in folders]
    control = results[1] if len(results) > 1 else None
    out = console()
    out.print(summary_table(results[0], control))
    out.print(meaning(results[0], control), highlight=False)
    for report in written:
        out.print(f"{report.job_type}: {report.folder / 'results'}", highlight=False, soft_wrap=True)


def conclude_sweep(folders: Sequence[Path]) -> None:
    """What several comparisons and their controls say together: over pairs of models, not of one pair."""
    found = {
        folder: load(folder)
        for folder in dict.fromkeys(folders)
        if (folder / "results" / "layer_pairs.csv").is_file()
    }
    comparable = [results for results in found.values() if results.rows]
    if are_pairs(comparable):
        console().print(pairs_table(comparable))
        console().print(pairs_line(comparable), highlight=False)
