"""A plan on SLURM: what nobody makes yet is submitted, the rest is attached to, and all of it watched."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from saeuniv.config import ConfigError
from saeuniv.report.console import console
from saeuniv.results import write_status
from saeuniv.stages.report import Report
from saeuniv.stages.task import Task
from saeuniv.store import Store
from saeuniv.store.faults import fault
from saeuniv.sweep import claims, slurm, submit
from saeuniv.sweep.arrays import Array, arrays, by_stage
from saeuniv.sweep.attach import Attached, attach, submission_folder
from saeuniv.sweep.claims import Note
from saeuniv.sweep.estimate import estimate
from saeuniv.sweep.job import RunJob
from saeuniv.sweep.outcome import Outcome
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.rates import learn
from saeuniv.sweep.record import Record, read_record, write_record
from saeuniv.sweep.watch import watch

_log = logging.getLogger(__name__)


def check(work: Plan, sweep: SweepPlace, *, max_gpu_hours: float | None) -> None:
    """Ask SLURM whether it would take every stage's jobs, before anything is submitted.

    Raises:
        ConfigError: everything that SLURM, the sweep's folder or the bound on GPU hours refuses.
    """
    read_record(sweep.folder)
    if problem := slurm.available():
        raise ConfigError(f"hydra/launcher=slurm: {problem}")
    faults: list[str] = []
    expected = estimate(work.tasks, learn(work.root)).gpu_hours(sweep.launcher)
    if max_gpu_hours is not None and expected > max_gpu_hours:
        faults.append(
            f"sweep.max_gpu_hours={max_gpu_hours:g}: the plan is expected to take {expected:.1f} GPU hours. "
            f"Raise it, or ask for fewer layers, widths or comparisons; `saeuniv plan` shows the parts."
        )
    for stage in dict.fromkeys(task.stage for task in (*work.tasks, *work.reports)):
        resources = sweep.launcher.resources(stage)
        if said := submit.test(resources, name=stage, n=1, folder=submission_folder(work.root)):
            faults.append(f"hydra.launcher.{stage}: SLURM refuses such jobs: {said}")
    if faults:
        raise ConfigError(*faults)


def drive(work: Plan, summary: Task, sweep: SweepPlace, *, detach: bool) -> Outcome | None:
    """Submit what nobody makes yet, then wait for all of it.

    Returns:
        What became of the plan; None where the sweep is detached.

    Raises:
        QueueError: SLURM did not answer; the same command goes on from what it has taken.
        ValueError: SLURM refused jobs that it would have taken when it was asked (see `check`).
    """
    with claims.submission_lock(work.root):
        # Other drivers have made some of it, perhaps, since it was planned.
        todo = [task for task in work.tasks if not task.is_done()]
        store = Store(work.root)
        made = {output.path for task in todo for output in task.outputs if not store.exists(output)}
        tasks: list[Task] = [*todo, *work.due_reports(made)]
        if tasks or not summary.is_done():
            tasks.append(summary)
        submission = _Submission(tasks, attach(work.root, tasks), sweep, work.root)
        submission.record([report.folder for report in work.reports])
        try:
            submission.submit()
        finally:
            # Also where SLURM refuses in the middle of it: what it has taken goes on.
            submission.say()
    return None if detach else watch(tasks, submission.jobs, sweep, work.root)


class _Submission:
    """Gives SLURM what nobody makes yet, stage by stage, so that jobs can wait for jobs."""

    def __init__(self, tasks: Sequence[Task], attached: Attached, sweep: SweepPlace, root: Path) -> None:
        self.jobs: dict[str, set[str]] = {task.key: set() for task in tasks}
        """Key of a task -> ids of the jobs that make its outputs."""
        self._tasks = tasks
        self._attached = attached
        self._sweep = sweep
        self._root = root
        self._makers = dict(attached.outputs)
        self._reporters: set[str] = set()
        self._n_attached = 0
        self._n_jobs: dict[str, int] = {}
        self._left = [self._narrowed(stage) for stage in by_stage(tasks)]

    def record(self, comparisons: Sequence[Path]) -> None:
        """Write down what the sweep consists of, for `saeuniv status` and others."""
        sweep = self._sweep
        given = (task.key for stage in self._left for task in stage)
        write_record(
            sweep.folder,
            Record(
                name=sweep.name,
                store=str(self._root.absolute()),
                command=sweep.command,
                stood=str(Path.cwd()),
                comparisons=tuple(map(str, comparisons)),
                tasks=(*given, *self._attached.tasks),
            ),
        )

    def submit(self) -> None:
        launcher, max_size, cluster = (
            self._sweep.launcher,
            max(1, slurm.max_array_size()),
            slurm.cluster_name(),
        )
        for stage in self._left:
            for report in stage:
                if isinstance(report, Report):
                    write_status(report.folder, "running")
            for array in arrays(stage, self._needs, job_seconds=60 * launcher.job_minutes, max_size=max_size):
                self._hand_over(array, cluster)
        for task in self._tasks:
            self.jobs[task.key] |= {
                self._makers[each.path] for each in task.outputs if each.path in self._makers
            }

    def say(self) -> None:
        """What was submitted and what was attached to, in one line each."""
        n_jobs = sum(self._n_jobs.values())
        stages = ", ".join(f"{count} {stage}" for stage, count in self._n_jobs.items())
        submitted = f"{n_jobs} jobs submitted ({stages})" if n_jobs else "0 jobs submitted"
        console().print(
            f"sweep {self._sweep.name}: {submitted}, {self._n_attached} tasks attached to. "
            f"See `saeuniv status {self._sweep.name}`; the same command attaches again.",
            highlight=False,
            soft_wrap=True,
        )

    def _narrowed(self, stage: Sequence[Task]) -> list[Task]:
        """The tasks of a stage less what living jobs make."""
        rest: list[Task] = []
        for task in stage:
            job = self._attached.tasks.get(task.key)
            if job is None:
                narrowed = task.without(self._attached.outputs) if task.outputs else task
            else:
                narrowed = None
                self.jobs[task.key].add(job)
                self._reporters |= {job} if task.stage == "report" else set()
            self._n_attached += narrowed is None
            rest += [narrowed] if narrowed else []
        return rest

    def _needs(self, task: Task) -> frozenset[str]:
        if task.stage == "sweep":
            return frozenset(self._reporters)
        return frozenset(self._makers[each.path] for each in task.inputs if each.path in self._makers)

    def _hand_over(self, array: Array, cluster: str) -> None:
        """Claim, submit, note: after a kill in between, the next driver finds the array by its token."""
        root, token, folder = self._root, claims.new_token(), submission_folder(self._root)
        resources = self._sweep.launcher.resources(array.stage)
        claimed = claims.claim(root, array.jobs, token=token, sweep=self._sweep.name)
        jobs = [
            RunJob(
                root.absolute(),
                tuple(task.key for task in members),
                gpus=resources.gpus or 0,
                minutes=resources.minutes or 0,
                stage=array.stage,
            )
            for members in array.jobs
        ]
        fault("claimed")
        try:
            ids = submit.submit(
                jobs,
                name=array.stage,
                resources=resources,
                dependency=array.dependency,
                comment=token,
                folder=folder,
                array_parallelism=self._sweep.launcher.array_parallelism,
            )
        except ValueError:
            # Refused. Where SLURM did not answer the jobs may be queued: the next driver looks for them.
            claims.release(root, claimed)
            raise
        fault("submitted")
        claims.note(root, Note(token, cluster, tuple(ids), time.time(), str(folder)))
        self._n_jobs[array.stage] = self._n_jobs.get(array.stage, 0) + len(ids)
        for job, members in zip(ids, array.jobs, strict=True):
            for task in members:
                self._makers |= dict.fromkeys((each.path for each in task.outputs), job)
                # What is left of a task after narrowing has a key of its own.
                self.jobs.setdefault(task.key, set()).add(job)
                self._reporters |= {job} if task.stage == "report" else set()
