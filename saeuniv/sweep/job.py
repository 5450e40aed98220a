"""What one SLURM job does: tasks of one stage, one after another, read from the store."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from saeuniv.adapters.offline import OFFLINE
from saeuniv.config.launcher import JOB_STAGE_OF, SIGNAL_SECONDS
from saeuniv.stages.task import Progress, Task
from saeuniv.store import Store
from saeuniv.store.processes import host
from saeuniv.store.text import write_text
from saeuniv.sweep.claims import jobs_folder, read_task

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

_log = logging.getLogger(__name__)

STARTED = "SAEUNIV_JOB_STARTED"
"""Environment variable of a job: when this run of it began, in seconds since the epoch."""

_PROGRESS_EVERY_SECONDS = 30.0

# SLURM looks for jobs near their limit every half minute and signals up to a minute early; the rest is
# what passes between the start of a job and its first line.
_SIGNAL_EARLY_SECONDS = 75.0

_imported = time.time()


class JobError(NamedTuple):
    """What a job says of a task that failed."""

    message: str
    job: str
    """SLURM's id."""

    host: str
    time: str
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class RunJob:
    """Runs tasks that are written down in the store; small, as it is pickled for each job.

    submitit calls it on a node, and `checkpoint` when SLURM signals that the job is about to end.
    """

    root: Path
    """The store."""

    keys: tuple[str, ...]
    """Of the tasks, in the order in which they run."""

    gpus: int
    minutes: int
    """The time limit of the job."""

    stage: str

    def __call__(self) -> None:
        """Run every task that is not done; one that fails is written down and does not stop the next.

        Raises:
            FileNotFoundError: the store is not visible on this node.
            RuntimeError: a task failed, or the GPUs are not there; the job then counts as failed for SLURM.
        """
        # All was fetched before this was submitted, and a node may have no network.
        os.environ.update(OFFLINE)
        _log_to_stderr()
        if not jobs_folder(self.root).is_dir():
            raise FileNotFoundError(
                f"store={self.root}: expected the store of the submitting machine, found no such folder on "
                f"{host()}. Jobs need a store on a file system that all nodes share: set store=... or "
                f"SAEUNIV_STORE."
            )
        if said := _missing_gpus(self.gpus, self.stage):
            self._write_error(said)
            raise RuntimeError(said)
        _log.info("%s: %d tasks in job %s on %s", self.stage, len(self.keys), current_job(), host())
        failed = [label for key in self.keys if (label := _run(self.root, key))]
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(self.keys)} tasks failed: {'; '.join(failed)}")

    def checkpoint(self) -> "DelayedSubmission":
        """The same job again, for submitit to requeue: what was published is not done twice.

        Raises:
            SystemExit: the job ran into its time limit twice in a row and nothing was published between.
                Not an Exception: it is raised wherever the task is, and ends the job from there.
        """
        from submitit.helpers import DelayedSubmission

        if self._ran_into_its_limit():
            self._allow_one_more()
        return DelayedSubmission(self)

    def _ran_into_its_limit(self) -> bool:
        """False where it is preempted; within the first minutes the two cannot be told apart."""
        elapsed = time.time() - float(os.environ.get(STARTED, _imported))
        return elapsed >= 60 * self.minutes - SIGNAL_SECONDS - _SIGNAL_EARLY_SECONDS

    def _allow_one_more(self) -> None:
        # Beside the task, as it must outlive the process; a job that is requeued keeps its id.
        record = jobs_folder(self.root) / f"{self.keys[0]}.timeouts.json"
        now = json.dumps({"job": current_job(), "published": progress_made(self.root, self.keys)})
        if record.is_file() and record.read_text(encoding="utf-8") == now:
            said = (
                f"{self.stage}: expected job {current_job()} on {host()} to publish something within its "
                f"limit of {self.minutes} minutes, but twice in a row it did not. Give it more: "
                f"hydra.launcher.{JOB_STAGE_OF.get(self.stage, self.stage)}.minutes={2 * self.minutes}."
            )
            self._write_error(said)
            raise SystemExit(said)
        write_text(record, now)

    def _write_error(self, message: str) -> None:
        for key in self.keys:
            with suppress(ValueError):
                if not read_task(self.root, key).is_done():
                    _write_error(self.root, key, message)


def progress_made(root: Path, keys: Iterable[str]) -> list[int]:
    """Changes whenever one of the tasks publishes: how many folders, and when its checkpoint was written."""
    store = Store(root)
    published, written = 0, 0
    for key in keys:
        with suppress(ValueError):
            task = read_task(root, key)
            # The shards of a part lie in the folder of the whole.
            folders = [store.folder(replace(output, part=None)) for output in task.outputs]
            published += sum(1 for folder in folders for _ in folder.rglob("manifest.json"))
            rest = task.without([output.path for output in task.outputs if store.exists(output)])
            if rest:
                written = max(written, _last_change(store.checkpoint(rest.key)))
    return [published, written]


def read_error(root: Path, key: str) -> JobError | None:
    """Why the task failed the last time; None where a job has said nothing, or it ran since."""
    try:
        return JobError(**json.loads((jobs_folder(root) / f"{key}.error.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def current_job() -> str:
    """SLURM's id of the job that this process is part of, as 32 or 28_3; empty outside of jobs."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")


def do(task: Task) -> None:
    """Run a task unless it is done, with a line on the log every 30 s.

    Raises:
        RuntimeError: it ended without publishing what it is for; or whatever it raises itself.
    """
    label = f"{task.stage} {task.label}"
    if task.is_done():
        _log.info("%s: done before", label)
        return
    started = time.monotonic()
    task(_lines(label))
    if task.outputs and not task.is_done():
        raise RuntimeError(
            f"expected it to publish {len(task.outputs)} artifacts, not all are in {task.root}."
        )
    _log.info("%s: done in %.0f s", label, time.monotonic() - started)


def _run(root: Path, key: str) -> str | None:
    """Do a task; its label if it failed."""
    label = key
    try:
        (jobs_folder(root) / f"{key}.error.json").unlink(missing_ok=True)
        task = read_task(root, key)
        label = f"{task.stage} {task.label}"
        do(task)
    except Exception as error:  # whatever went wrong with one task, the others go on
        _log.exception("%s failed", label)
        # For what is not said in a sentence, its type as well.
        said = isinstance(error, ValueError | OSError | RuntimeError) and str(error)
        _write_error(root, key, said or repr(error))
        return label
    return None


def _lines(label: str) -> Progress:
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _PROGRESS_EVERY_SECONDS:
            said = time.monotonic()
            _log.info("%s: %d of %d", label, done, total)

    return progress


def _missing_gpus(gpus: int, stage: str) -> str | None:
    """What to do where a job has no GPU: on the CPU it would run for weeks instead of failing."""
    if not gpus:
        return None
    from saeuniv.adapters.devices import visible_gpus

    if visible_gpus():
        return None
    return (
        f"{stage}: expected {gpus} GPU(s) on {host()}, torch sees none. Check that the partition has GPUs "
        f"(hydra.launcher.{stage}.partition, .gres, .constraint) and that this Python has a torch built for "
        f"their driver (.python, .setup), or run it without: hydra.launcher.{stage}.gpus=0."
    )


def _last_change(folder: Path) -> int:
    """When a file in the folder was last changed, in nanoseconds since the epoch; 0 if there is none."""
    latest = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # replaced by the task meanwhile
            latest = max(latest, file.stat().st_mtime_ns)
    return latest


def _write_error(root: Path, key: str, message: str) -> None:
    error = JobError(message, current_job(), host(), datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        write_text(jobs_folder(root) / f"{key}.error.json", json.dumps(error._asdict()))
    except OSError as unwritable:
        _log.warning("%s: the failure could not be written down: %s", key, unwritable)


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    logging.getLogger("saeuniv").setLevel(logging.INFO)
