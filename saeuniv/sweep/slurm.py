"""What SLURM says of jobs and is told to do; that it does not answer is never taken for an answer."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

_log = logging.getLogger(__name__)

_PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol")

# A client gives up by itself after several of SLURM's message timeouts, 10 s each by default.
_TIMEOUT_S = 60.0

# Ids on one command line; a kilobyte or two.
_IDS_PER_CALL = 200

# A job in any other state may still run: later versions of SLURM may know states that this list does not.
_ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"),
        *("BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"),
    }
)
_HELD = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT"})

# Why a job will wait for ever unless somebody changes it.
_NEVER = re.compile(
    r"JobHeldUser|JobHeldAdmin|job_requeued_in_held_state|launch_failed_requeued_held"
    r"|DependencyNeverSatisfied|BadConstraints|PartitionTimeLimit|AccountNotAllowed|QOSNotAllowed"
    r"|InvalidAccount|InvalidQOS|(Assoc|QOS)Max\w*PerJob(Limit)?"
)

# What SLURM tells its jobs, and what users set as defaults of its programs: jobs that are submitted from
# inside a job must not inherit the former, and answers must not depend on the latter.
_SCRUBBED = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "SUBMITIT_")
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER"})

# Clusters, by the path of their configuration, that said they keep no accounting.
_no_accounting: set[str] = set()


class QueueError(RuntimeError):
    """SLURM did not answer: nothing is known of any job, least of all that it is gone."""


class JobState(NamedTuple):
    """What SLURM says of a job."""

    state: str
    """In its capitals: PENDING, RUNNING, COMPLETED, FAILED ..."""

    reason: str = ""
    """Why it waits or failed, with underscores for blanks; empty where there is nothing to say."""

    comment: str | None = None
    """What it was submitted with; None for a job that only the accounting knows. A job with another
    comment than expected is another job: a cluster that is set up anew counts from 1 again."""

    @property
    def live(self) -> bool:
        """True unless it has ended: it waits, runs, or is being requeued."""
        return self.state not in _ENDED

    @property
    def stuck(self) -> bool:
        """True where it waits for what never comes by itself: it is held, or cannot be satisfied."""
        return self.state in _HELD or (self.state == "PENDING" and bool(re.fullmatch(_NEVER, self.reason)))

    @property
    def waits(self) -> bool:
        """True where it waits for other jobs."""
        return self.state == "PENDING" and self.reason.startswith("Dependency")


def ask(command: Sequence[str], *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """What a SLURM program says; the exit code is the caller's to judge.

    Raises:
        QueueError: it cannot be started, or does not answer in time.
    """
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=clean_environment(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise QueueError(f"{command[0]}: expected an answer within {_TIMEOUT_S:.0f} s, got none.") from error
    except OSError as error:
        raise QueueError(f"{command[0]}: expected a SLURM program, but {error}.") from error


def words(answer: "subprocess.CompletedProcess[str]") -> str:
    """What a program said went wrong, on one line, without its own name."""
    said = answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.returncode}"
    lines = (re.sub(r"^\w+: (error: )?", "", line.strip()) for line in said.splitlines())
    return "; ".join(dict.fromkeys(line for line in lines if line))


def states(ids: Collection[str]) -> dict[str, JobState]:
    """The state of jobs, named as 32, or 28_3 in an array; a job that is absent SLURM no longer knows.

    Asks squeue, which forgets ended jobs after minutes, then the accounting, where there is one. What
    squeue does not know is certainly not live.

    Raises:
        QueueError: squeue failed or did not answer.
    """
    found: dict[str, JobState] = {}
    for arrays in _portions(_arrays(ids)):
        found |= _queued(arrays)
    for arrays in _portions(_arrays(each for each in ids if each not in found)):
        found = _accounted(arrays) | found
    return {each: found[each] for each in ids if each in found}


def find(comment: str) -> str | None:
    """The id of the job or array that was submitted with this comment; None where squeue knows of none.

    Raises:
        QueueError: squeue failed or did not answer.
    """
    for line in _answer(["squeue", "-h", "-t", "all", "-o", "%F|%k"]).splitlines():
        job, _, said = line.partition("|")
        if said == comment:
            return job
    return None


def cancel(ids: Collection[str]) -> None:
    """Cancel jobs; those that have ended are left as they are.

    Raises:
        QueueError: scancel failed or did not answer.
    """
    for some in _portions(sorted(ids)):
        answer = ask(["scancel", *some])
        gone = r"Invalid job id|already completing or completed"
        serious = [line for line in answer.stderr.splitlines() if not re.search(gone, line)]
        if answer.returncode and serious:
            raise QueueError(f"scancel failed: {words(answer)}.")


def max_array_size() -> int:
    """How many jobs an array may have.

    Raises:
        QueueError: the controller did not answer.
    """
    return int(_configured("MaxArraySize"))


def cluster_name() -> str:
    """The name of the cluster: job ids mean something together with it only.

    Raises:
        QueueError: the controller did not answer.
    """
    return _configured("ClusterName")


def available() -> str | None:
    """Why jobs cannot be submitted from this machine, as sentences; None if they can."""
    choose = "Run it where sbatch works (a login node), or choose hydra/launcher=local."
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"expected SLURM's programs, found no {', '.join(missing)}. {choose}"
    try:
        _configured("ClusterName")
    except QueueError as error:
        return f"expected an answer of SLURM's controller, got none. {error} {choose}"
    return None


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what SLURM has told the job that this process may be part of."""
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.upper().startswith(_SCRUBBED)
    }


def _arrays(ids: Iterator[str] | Collection[str]) -> list[str]:
    """The ids of whole arrays: asked for one by one, each element costs SLURM a search of its own."""
    return sorted({each.partition("_")[0] for each in ids})


def _portions(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_PER_CALL):
        yield ids[start : start + _IDS_PER_CALL]


def _answer(command: Sequence[str]) -> str:
    answer = ask(command)
    if answer.returncode:
        raise QueueError(f"{command[0]} failed: {words(answer)}.")
    return answer.stdout


def _queued(arrays: list[str]) -> dict[str, JobState]:
    # The comment is last, as it may hold anything.
    answer = ask(["squeue", "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%r|%k", "-j", ",".join(arrays)])
    if answer.returncode and "Invalid job id" in answer.stderr:
        # Some versions say so when one of many is unknown, others only when a single one is asked for.
        half = len(arrays) // 2
        return _queued(arrays[:half]) | _queued(arrays[half:]) if half else {}
    if answer.returncode:
        raise QueueError(f"squeue failed: {words(answer)}.")
    found: dict[str, JobState] = {}
    for line in answer.stdout.splitlines():
        array, place, state, reason, comment = line.split("|", 4)
        job = f"{array}_{place}" if place.isdecimal() else array
        reason = "" if reason == "None" else reason.replace(" ", "_")
        found[job] = JobState(state, reason, "" if comment == "(null)" else comment)
    return found


def _accounted(arrays: list[str]) -> dict[str, JobState]:
    cluster = os.environ.get("SLURM_CONF", "")
    if cluster in _no_accounting or shutil.which("sacct") is None:
        return {}
    answer = ask(["sacct", "-n", "-P", "-X", "-o", "JobID,State,ExitCode", "-j", ",".join(arrays)])
    if answer.returncode:
        if "disabled" in answer.stderr:
            _no_accounting.add(cluster)
        else:
            _log.warning("sacct failed, so that jobs that ended a while ago have no state: %s", words(answer))
        return {}
    found: dict[str, JobState] = {}
    for line in answer.stdout.splitlines():
        job, state, code = line.split("|", 2)
        # The whole state may be "CANCELLED by 0".
        found[job] = JobState(state.split()[0], "" if code == "0:0" else f"ExitCode_{code}")
    return found


def _configured(name: str) -> str:
    match = re.search(rf"^{name}\s*=\s*(\S+)", _answer(["scontrol", "show", "config"]), re.MULTILINE)
    if match is None:
        raise QueueError(f"scontrol show config: expected {name}, found none.")
    return match[1]
