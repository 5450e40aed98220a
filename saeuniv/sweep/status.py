"""How a sweep stands: its tasks by stage, its comparisons, and what failed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saeuniv.stages.sweep import read_state
from saeuniv.stages.task import STAGES, Task
from saeuniv.sweep import claims
from saeuniv.sweep.attach import jobs_of, notes_of, states_of
from saeuniv.sweep.claims import Claim
from saeuniv.sweep.record import Record
from saeuniv.sweep.slurm import JobState, QueueError
from saeuniv.sweep.watch import ended_well, error_of, log_of

STATES = ("done", "running", "waiting", "stuck", "failed", "unknown")


@dataclass(frozen=True)
class TaskStatus:
    """One task that was given to a job."""

    key: str
    stage: str
    label: str
    state: str
    """One of STATES; unknown where SLURM did not answer, or nobody has said that it was submitted, and the
    store does not have it."""

    job: str
    """SLURM's id; empty where its driver has not said."""

    said: str
    """What went wrong, or what it waits for."""

    log: Path | None


@dataclass(frozen=True)
class SweepStatus:
    """A sweep."""

    name: str
    store: Path
    tasks: tuple[TaskStatus, ...]
    comparisons: Mapping[str, str]
    """Name of the comparison -> running, done, failed, stuck or none."""

    unanswered: str
    """Why SLURM could not be asked; empty where it answered."""

    def counts(self) -> dict[str, Counter[str]]:
        """Stage -> state -> number of tasks."""
        found: dict[str, Counter[str]] = {}
        for task in sorted(self.tasks, key=lambda task: STAGES.index(task.stage)):
            found.setdefault(task.stage, Counter())[task.state] += 1
        return found

    def live_jobs(self) -> tuple[str, ...]:
        """Ids of the jobs that wait or run."""
        live = (task.job for task in self.tasks if task.job and task.state in ("running", "waiting", "stuck"))
        return tuple(dict.fromkeys(live))


def sweep_status(record: Record) -> SweepStatus:
    """Ask the store and SLURM once how a sweep stands."""
    root = Path(record.store)
    found = [each for each in (claims.read_claim(root, key) for key in record.tasks) if each]
    jobs: dict[str, str] = {}
    states: dict[str, JobState] = {}
    unanswered = ""
    try:
        jobs = jobs_of(found, notes_of(root, found))
        states = states_of(found, jobs)
    except QueueError as error:
        unanswered = str(error)
    tasks = tuple(_status(root, each, jobs, states.get(each.key), asked=not unanswered) for each in found)
    reports = {task.label: task.state for task in tasks if task.stage == "report"}
    comparisons = {
        Path(folder).name: _comparison(Path(folder), reports.get(Path(folder).name))
        for folder in record.comparisons
    }
    return SweepStatus(record.name, root, tasks, comparisons, unanswered)


def _comparison(folder: Path, report: str | None) -> str:
    """What status.json says; where its report died, or never began, that says running for ever."""
    state = read_state(folder)
    return report if state == "running" and report in ("failed", "stuck") else state


def _status(
    root: Path, claim: Claim, jobs: Mapping[str, str], job: JobState | None, *, asked: bool
) -> TaskStatus:
    try:
        task = claims.read_task(root, claim.key)
        state, said = _state(root, task, job, asked=asked, given=claim.key in jobs)
    except ValueError as error:
        state, said = "unknown", str(error)
    known = (claim.key, claim.stage, claim.label, state, jobs.get(claim.key, ""), said)
    return TaskStatus(*known, log_of(root, claim.key))


def _state(root: Path, task: Task, job: JobState | None, *, asked: bool, given: bool) -> tuple[str, str]:
    if job is not None and job.live:
        if job.stuck:
            return "stuck", job.reason
        running = job.state in ("RUNNING", "COMPLETING")
        # A job that runs several tasks has done the first ones.
        if running and task.is_done():
            return "done", ""
        return ("running", "") if running else ("waiting", job.reason)
    error = error_of(root, task.key)
    if ended_well(task, error):
        return "done", ""
    if not asked:
        return "unknown", ""
    if not given:
        return "unknown", "given to no job yet; if no driver is at work, the same command goes on"
    ended = f"{job.state} {job.reason}".strip() if job else "SLURM no longer knows the job"
    return "failed", error or ended
