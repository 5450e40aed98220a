"""Jobs handed to SLURM: submitit's script and its worker, with all that jobs need laid ready beforehand."""

import math
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from saeuniv.config.launcher import SIGNAL_SECONDS, StageResources
from saeuniv.sweep.job import STARTED
from saeuniv.sweep.slurm import QueueError, ask, find, words

# submitit counts any signal in the first ten minutes as a timeout and stops after so many; RunJob counts
# for itself, timeouts only.
_MAX_TIMEOUTS = 1_000_000

# Lines of the script before those of the site. numpy reads the number of threads when it is loaded, which
# submitit does before it loads a job; from 22.05 on srun does not take the number of cores from the job.
_PREPARE = (
    f"export {STARTED}=$(date +%s)",
    "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
    "export OPENBLAS_NUM_THREADS=$SLURM_CPUS_PER_TASK MKL_NUM_THREADS=$SLURM_CPUS_PER_TASK",
    "export OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false",
)

# The job takes what it runs by itself: submitit names it by the id, and does so after sbatch, when a
# driver may have died. What a kill has left half-written would make every later run of the job fail.
_TAKE = (
    "job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}",
    'rm -f "$folder/${job}"_*.save_tmp',
    'ln -sfn "${SLURM_ARRAY_TASK_ID:-0}.pkl" "$folder/${job}_submitted.pkl"',
)


@runtime_checkable
class Job(Protocol):
    """What a job runs: pickled for it, so that it should be small."""

    @property
    def minutes(self) -> int:
        """The time limit of the job."""
        ...

    def __call__(self) -> None:
        """Do the work on the node; raises where the job is to count as failed."""


def submit(
    jobs: Sequence[Job],
    *,
    name: str,
    resources: StageResources,
    dependency: str | None,
    comment: str,
    folder: Path,
    array_parallelism: int,
) -> list[str]:
    """Submit jobs that ask for the same as one array, a single one as a plain job.

    From the moment SLURM has them they need nothing of this process.

    Args:
        jobs: at most `slurm.max_array_size()`.
        name: what squeue shows.
        resources: with nothing left open (`Launcher.resources`).
        dependency: as sbatch has it (afterok:28_0:28_1); jobs whose dependency fails are cancelled.
        comment: by which `slurm.find` finds them; no other submission may have it.
        folder: shared by all nodes; scripts and logs are in `folder/comment`.
        array_parallelism: jobs of the array that run at the same time.

    Returns:
        The ids in the order of the jobs.

    Raises:
        ValueError: sbatch refuses; says why. Nothing was submitted.
        QueueError: sbatch did not answer, and nothing of the comment is in the queue, yet.
        FileExistsError: the comment was used before.
    """
    own = folder / comment
    own.mkdir(parents=True)
    for place, job in enumerate(jobs):
        _lay_ready(job, own / f"{place}.pkl")
    script = own / "submission.sh"
    text = _script(
        own,
        resources,
        {"job_name": name, "comment": comment, "array_parallelism": array_parallelism},
        n=len(jobs),
        dependency=dependency,
    )
    script.write_text(text, encoding="utf-8")
    try:
        return job_ids(_sbatch(script, comment), len(jobs))
    except ValueError:
        shutil.rmtree(own)
        raise


def test(resources: StageResources, *, name: str, n: int, folder: Path) -> str | None:
    """Why SLURM would refuse such an array of n jobs, in its own words; None if it would take them.

    Raises:
        QueueError: sbatch did not answer.
    """
    text = _script(folder, resources, {"job_name": name}, n=n, dependency=None)
    answer = ask(["sbatch", "--test-only"], stdin=text)
    return words(answer) if answer.returncode else None


def job_ids(job: str, n: int) -> list[str]:
    """How SLURM names the n jobs that were submitted under this id: 28_0, 28_1 ..., a single one 32."""
    return [job] if n == 1 else [f"{job}_{place}" for place in range(n)]


def n_jobs(folder: Path, comment: str) -> int:
    """How many jobs were laid ready under this comment."""
    return sum(each.stem.isdecimal() for each in (folder / comment).glob("*.pkl"))


def log_path(folder: Path, comment: str, job: str) -> Path:
    """Where a job writes what it says; requeued, it appends."""
    return folder / comment / f"{job}_0_log.out"


def _lay_ready(job: Job, path: Path) -> None:
    from submitit.helpers import DelayedSubmission

    ready = DelayedSubmission(job)
    ready.set_timeout(job.minutes, _MAX_TIMEOUTS)
    ready.dump(path)


def _script(
    folder: Path, resources: StageResources, options: dict[str, object], *, n: int, dependency: str | None
) -> str:
    """The text that sbatch is given: submitit's, which its worker on the node relies on."""
    from submitit.slurm.slurm import SlurmExecutor

    executor = SlurmExecutor(folder, python=resources.python)
    others = {key: value for key, value in resources.sbatch.items() if value is not False}
    if dependency:
        others |= {"dependency": dependency, "kill-on-invalid-dep": "yes"}
    executor.update_parameters(
        **options,
        time=resources.minutes,
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=resources.cpus,
        mem=f"{math.ceil(1024 * (resources.memory_gb or 0))}M",
        gpus_per_node=None if _names_gpus(resources.gres or "") else resources.gpus or None,
        gres=resources.gres,
        partition=resources.partition,
        account=resources.account,
        qos=resources.qos,
        constraint=resources.constraint,
        signal_delay_s=SIGNAL_SECONDS,
        setup=[*_PREPARE, f"folder={shlex.quote(str(executor.folder))}", *_TAKE, *(resources.setup or ())],
        stderr_to_stdout=True,
        wckey=None,  # else jobs carry the key "submitit", which sites that check keys refuse
        additional_parameters={**others, "requeue": True},
    )
    if n > 1:
        executor.parameters["map_count"] = n
    # Its own submission names what a job runs after sbatch, waits without limit, and cannot be asked to
    # only test.
    command = executor._submitit_command_str  # pyright: ignore[reportPrivateUsage]
    return executor._make_submission_file_text(command, "")  # pyright: ignore[reportPrivateUsage]


def _names_gpus(gres: str) -> bool:
    return any(re.match(r"(gres/)?gpu\b", each) for each in gres.split(","))


def _sbatch(script: Path, comment: str) -> str:
    """The id of what was submitted; looked for by the comment where the answer was lost, as it may be."""
    refused = ""
    try:
        answer = ask(["sbatch", "--parsable", str(script)])
        match = re.search(r"^(\d+)(;|$)", answer.stdout, re.MULTILINE)
        if match and not answer.returncode:
            return match[1]
        refused = words(answer)
    except QueueError:
        if (found := find(comment)) is None:
            raise
        return found
    if found := find(comment):
        return found
    raise ValueError(f"expected sbatch to take {script}, but it says: {refused}.")
