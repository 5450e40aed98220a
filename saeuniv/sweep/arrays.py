"""Tasks into jobs, jobs into arrays: what SLURM is given, and in which order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from saeuniv.stages.task import STAGES, Task

# Of these a job may hold several: nothing that needs all to have gone well waits for it. A job of another
# stage that holds two tasks would, where one fails, cancel what needs only the other.
_GROUPED = ("scores", "report")

Tasks = tuple[Task, ...]


@dataclass(frozen=True)
class Array:
    """Jobs of one stage that wait for the same jobs."""

    stage: str
    jobs: tuple[Tasks, ...]
    """The tasks of each job, run one after another."""

    needs: frozenset[str]
    """Ids of the jobs that must have ended before."""

    @property
    def dependency(self) -> str | None:
        """SLURM's word for `needs`; reports and the sweep's table wait for the end, however it was."""
        if not self.needs:
            return None
        kind = "afterok" if self.jobs[0][0].needs_all else "afterany"
        return f"{kind}:{':'.join(sorted(self.needs, key=_number))}"


def by_stage(tasks: Iterable[Task]) -> list[list[Task]]:
    """The tasks of each stage that has some, stages in the order in which one needs another."""
    stages: dict[str, list[Task]] = {}
    for task in tasks:
        stages.setdefault(task.stage, []).append(task)
    return [stages[stage] for stage in STAGES if stage in stages]


def arrays(
    tasks: Sequence[Task], needs: Callable[[Task], frozenset[str]], *, job_seconds: float, max_size: int
) -> tuple[Array, ...]:
    """Arrays of the tasks of one stage, one for each set of jobs that tasks wait for.

    Args:
        tasks: of one stage.
        needs: ids of the jobs that a task waits for.
        job_seconds: short tasks are put in one job until it is expected to take so long; 0: one task a job.
        max_size: the most jobs an array may have.
    """
    groups: dict[frozenset[str], list[Task]] = {}
    for task in tasks:
        groups.setdefault(needs(task), []).append(task)
    found: list[Array] = []
    for waited, members in groups.items():
        jobs = (
            _grouped(members, job_seconds) if members[0].stage in _GROUPED else [(each,) for each in members]
        )
        for start in range(0, len(jobs), max_size):
            chunk = tuple(jobs[start : start + max_size])
            found.append(Array(members[0].stage, chunk, waited))
    return tuple(found)


def _grouped(tasks: Sequence[Task], job_seconds: float) -> list[Tasks]:
    jobs: list[list[Task]] = []
    filled = 0.0
    for task in tasks:
        if not (jobs and job_seconds) or filled + task.seconds > job_seconds:
            jobs.append([])
            filled = 0.0
        jobs[-1].append(task)
        filled += task.seconds
    return [tuple(job) for job in jobs]


def _number(job: str) -> tuple[int, int]:
    base, _, place = job.partition("_")
    return int(base), int(place or 0)
