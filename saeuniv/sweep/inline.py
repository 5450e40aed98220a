"""Run a plan on this machine: tasks whose inputs are there, dearest first, failures never stop others."""

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from saeuniv.adapters.offline import hub_cut_off
from saeuniv.stages.task import Task
from saeuniv.store import ArtifactError
from saeuniv.sweep.devices import Gpus
from saeuniv.sweep.outcome import Failure, Outcome, tell
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.pool import Advanced, Ended, Pool, Spent, discard
from saeuniv.sweep.progress import Display, display

_log = logging.getLogger(__name__)

_LAST_WORDS_SECONDS = 2.0

# What went wrong is said in one sentence by these; anything else is a bug and shows its traceback.
_SAID_IN_WORDS = (ValueError, ArtifactError, OSError, BrokenProcessPool)


def execute(work: Plan, workers: Pool) -> Outcome:
    """Run all tasks and reports; a task whose input could not be made fails without being run.

    Nobody asks a hub meanwhile, here or in workers: what is needed has been fetched.
    """
    tasks: list[Task] = [*work.tasks, *work.reports]
    with hub_cut_off(), display(len(tasks)) as shown:
        run = _Run(tasks, workers, shown)
        try:
            outcome = run.to_the_end()
        except BaseException:
            discard(workers)
            raise
        tell(outcome)
        return outcome


class _Run:
    """The state of one execution."""

    def __init__(self, tasks: list[Task], workers: Pool, shown: Display) -> None:
        self._tasks = tasks
        self._workers = workers
        self._shown = shown
        self._waiting = sorted(range(len(tasks)), key=lambda number: -tasks[number].seconds)
        self._makers = {output.path: number for number, task in enumerate(tasks) for output in task.outputs}
        self._gpus = Gpus.for_tasks(tasks)
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
            lost = needed & (self._failures.keys() | self._not_run)
            if lost and self._tasks[number].needs_all:
                self._waiting.remove(number)
                self._not_run.add(number)
                self._shown.ended(self._tasks[number])
            elif needed <= self._done | lost and len(self._at_work) < self._workers.processes:
                placed = self._gpus.take(number, self._tasks[number])
                if placed is None:
                    continue
                self._waiting.remove(number)
                self._shown.started(self._tasks[number])
                self._unheard.add(number)
                self._at_work[self._workers.submit(number, placed)] = number

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
        self._gpus.give_back(number)
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
