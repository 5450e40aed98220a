"""Waiting for jobs: done is a file in the store, failed is a job that has ended without it."""

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from saeuniv.results import read_status
from saeuniv.stages.report import Report
from saeuniv.stages.task import Task
from saeuniv.store import Store
from saeuniv.sweep import claims, slurm, submit
from saeuniv.sweep.job import read_error
from saeuniv.sweep.outcome import Failure, Outcome, tell
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.progress import display
from saeuniv.sweep.slurm import JobState, QueueError

_log = logging.getLogger(__name__)

# Shared file systems show new files late: a job is failed when it has ended and nothing has come for so
# many looks.
_LOOKS = 3
_LOG_LINES = 15


def watch(tasks: Sequence[Task], jobs: Mapping[str, set[str]], sweep: SweepPlace, root: Path) -> Outcome:
    """Wait until every task is done or cannot be done any more.

    Args:
        tasks: of the plan, each after what it needs.
        jobs: key of a task -> ids of the jobs that make its outputs.
        sweep: for how often to look.
        root: the store.
    """
    with display(len(tasks)) as shown, _leaving(sweep):
        watching = _Watch(tasks, jobs, root)
        seconds = sweep.launcher.poll_seconds
        while True:
            for task in watching.look():
                shown.ended(task)
            for task in watching.newly_running():
                shown.started(task)
            if not watching.open:
                break
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                shown.tick()
                time.sleep(min(0.2, seconds))
        outcome = watching.outcome()
        tell(outcome)
        return outcome


@contextmanager
def _leaving(sweep: SweepPlace) -> Generator[None]:
    """Say what becomes of the jobs when the one who waits is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _log.warning("The jobs go on; `saeuniv cancel %s` ends them.", sweep.name)
        raise


class _Watch:
    """What is known of each task."""

    def __init__(self, tasks: Sequence[Task], jobs: Mapping[str, set[str]], root: Path) -> None:
        self.open = list(tasks)
        self._undecided = {task.key for task in tasks}
        self._jobs = jobs
        self._root = root
        self._makers = {output.path: task for task in tasks for output in task.outputs}
        self._reports = {task.key for task in tasks if task.stage == "report"}
        self._looks: dict[str, int] = {}
        self._running: set[str] = set()
        self._new: list[Task] = []
        self._failures: list[Failure] = []
        self._not_run: list[Task] = []
        self._lost: set[str] = set()
        self._never: set[str] = set()
        """Keys of tasks whose jobs are in the queue but will not start."""
        self._claimed = {path: each.key for each in claims.all_claims(root) for path in each.outputs}
        self._said = ""

    def look(self) -> list[Task]:
        """Ask SLURM and the store once; the tasks that have ended since."""
        try:
            states = slurm.states({job for task in self.open for job in self._jobs[task.key]})
        except QueueError as error:
            if str(error) != self._said:
                _log.warning("SLURM does not answer, which says nothing of the jobs: %s", error)
            self._said = str(error)
            return []
        self._said = ""
        ended: list[Task] = []
        for task in self.open:
            if self._has_ended(task, states):
                ended.append(task)
                self._undecided.discard(task.key)
        self.open = [task for task in self.open if task.key in self._undecided]
        return ended

    def newly_running(self) -> list[Task]:
        """The tasks whose job was seen to run for the first time."""
        new, self._new = self._new, []
        return new

    def outcome(self) -> Outcome:
        return Outcome(tuple(self._failures), tuple(self._not_run))

    def _has_ended(self, task: Task, states: Mapping[str, JobState]) -> bool:
        mine = {job: states[job] for job in self._jobs[task.key] if job in states}
        live = [state for state in mine.values() if state.live and not state.stuck]
        needed = self._needed(task)
        in_vain = bool(live and needed & self._never and all(state.waits for state in live))
        if live and not in_vain:
            if task.key not in self._running and any(state.state == "RUNNING" for state in live):
                self._running.add(task.key)
                self._new.append(task)
            self._looks.pop(task.key, None)
            return False
        key, error = self._error(task)
        if ended_well(task, error):
            return True
        self._looks[task.key] = self._looks.get(task.key, 0) + 1
        never = in_vain or any(state.stuck for state in mine.values())
        # SLURM says at once of what a job needs that it has failed; here that takes some looks.
        decided = error or in_vain or (never and not needed & self._undecided)
        if not decided and self._looks[task.key] < _LOOKS:
            return False
        if in_vain or (needed & self._lost and not error and task.needs_all):
            self._not_run.append(task)
        else:
            self._failures.append(Failure(task, self._why(task, key, mine, error)))
        self._lost.add(task.key)
        self._never |= {task.key} if never else set()
        return True

    def _needed(self, task: Task) -> set[str]:
        """Keys of the tasks that it waits for."""
        if task.stage == "sweep":
            return self._reports
        return {maker.key for each in task.inputs if (maker := self._makers.get(each.path))}

    def _error(self, task: Task) -> tuple[str, str]:
        """A key under which a job knows the task, or a part of it that is missing, and what it says of it.

        Parts have keys of their own where other sweeps make the rest.
        """
        store = Store(self._root)
        missing = (each.path for each in task.outputs if not store.exists(each))
        keys = list(dict.fromkeys(self._claimed[path] for path in missing if path in self._claimed))
        errors = ((key, error) for key in keys or [task.key] if (error := error_of(self._root, key)))
        return next(errors, ((keys or [task.key])[0], ""))

    def _why(self, task: Task, key: str, states: Mapping[str, JobState], error: str) -> str:
        jobs = sorted(self._jobs[task.key])
        said = ", ".join(_state_of(job, states.get(job)) for job in jobs) or "no job of its own"
        log = log_of(self._root, key)
        tail = "" if log is None else f"\nlast lines of {log}:\n{_tail(log)}"
        return f"{error or 'ended without its results'} ({said}){tail}"


def ended_well(task: Task, error: str) -> bool:
    """Whether a task whose job has ended did its work.

    A report did where scores are missing, or tracking failed, too: that is not the fault of its job.
    """
    if isinstance(task, Report) and not error:
        return read_status(task.folder).get("state") in ("done", "failed")
    return task.is_done()


def log_of(root: Path, key: str) -> Path | None:
    """The file with what the job of a task said; None where it has none yet."""
    claim = claims.read_claim(root, key)
    note = claims.read_note(root, claim.token) if claim else None
    if claim is None or note is None or claim.place >= len(note.jobs):
        return None
    path = submit.log_path(Path(note.folder), claim.token, note.jobs[claim.place])
    return path if path.is_file() else None


def error_of(root: Path, key: str) -> str:
    """What the job wrote down about a task that failed; empty where it wrote nothing."""
    error = read_error(root, key)
    return error.message if error else ""


def _state_of(job: str, state: JobState | None) -> str:
    if state is None:
        return f"job {job}: SLURM no longer knows it"
    reason = f", {state.reason}" if state.reason and state.reason != "None" else ""
    return f"job {job}: {state.state}{reason}"


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines)
