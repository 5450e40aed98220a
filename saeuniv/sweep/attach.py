"""What of a plan is in other hands already: jobs that live and make what is needed."""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from saeuniv.stages.task import Task
from saeuniv.sweep import claims, slurm, submit
from saeuniv.sweep.claims import Claim, Note
from saeuniv.sweep.slurm import JobState

_log = logging.getLogger(__name__)

# What starts when other jobs have ended, however that was.
_LATER = ("report", "sweep")


class Attached(NamedTuple):
    """Living jobs that make something of the plan."""

    outputs: dict[str, str]
    """Path of an output -> id of the job that makes it."""

    tasks: dict[str, str]
    """Key of a task -> id of the job that runs it."""


def submission_folder(root: Path) -> Path:
    """Where submitit keeps scripts and logs: shared, as the store is."""
    return root / "submitit"


def attach(root: Path, tasks: Iterable[Task]) -> Attached:
    """Find the jobs that make what these tasks would make; the other claims to it are given back.

    Jobs that have ended have no claim, nor has a report that will be written before all it reads is there.
    Jobs that can never start are cancelled, as they are asked for again.
    To be called under the lock of submission: nobody else is between a claim and its note then.

    Raises:
        QueueError: SLURM did not answer; nothing is known of any job.
    """
    planned = {task.key: task for task in tasks}
    wanted = {output.path for task in planned.values() for output in task.outputs}
    every = claims.all_claims(root)
    relevant = [each for each in every if each.key in planned or wanted & set(each.outputs)]
    notes = notes_of(root, relevant)
    _write_down(root, notes.values())
    jobs = jobs_of(relevant, notes)
    states = states_of(relevant, jobs)
    live = {each.key: each for each in relevant if each.key in states and states[each.key].live}
    kept = _kept(root, planned, live, states)
    lost = {key for key in live.keys() - kept.keys() if states[key].stuck or live[key].stage not in _LATER}
    if lost:
        _log.warning("%d tasks whose jobs can never start are given to new ones.", len(lost))
        slurm.cancel({jobs[key] for key in lost})
    claims.release(root, [each for each in relevant if each.key not in kept])
    outputs = {path: jobs[key] for key, each in kept.items() for path in each.outputs}
    return Attached(outputs, {key: jobs[key] for key in kept})


def notes_of(root: Path, some: Iterable[Claim]) -> dict[str, Note]:
    """Token -> what became of the array; where its driver died before it could say, the queue is asked.

    Raises:
        QueueError: SLURM did not answer.
    """
    tokens = {each.token for each in some}
    cluster = slurm.cluster_name() if tokens else ""
    found: dict[str, Note] = {}
    for token in tokens:
        note = claims.read_note(root, token)
        if note is None and (array := slurm.find(token)):
            folder = submission_folder(root)
            ids = submit.job_ids(array, submit.n_jobs(folder, token))
            note = Note(token, cluster, tuple(ids), time.time(), str(folder))
        # Ids of another cluster name other jobs.
        if note and note.cluster == cluster:
            found[token] = note
    return found


def jobs_of(some: Iterable[Claim], notes: Mapping[str, Note]) -> dict[str, str]:
    """Key of each claim whose job is known -> id of the job."""
    return {
        each.key: note.jobs[each.place]
        for each in some
        if (note := notes.get(each.token)) and each.place < len(note.jobs)
    }


def states_of(some: Iterable[Claim], jobs: Mapping[str, str]) -> dict[str, JobState]:
    """Key of each claim whose job SLURM knows -> how that is.

    Raises:
        QueueError: SLURM did not answer.
    """
    states = slurm.states(set(jobs.values()))
    found = {each.key: (states.get(jobs.get(each.key, "")), each.token) for each in some}
    # A job with another comment is another job: the cluster was set up anew, and counts from 1 again.
    return {key: state for key, (state, token) in found.items() if state and state.comment in (None, token)}


def _write_down(root: Path, notes: Iterable[Note]) -> None:
    for note in notes:
        if claims.read_note(root, note.token) is None:
            _log.info("%s is taken over: its driver died before it could say it was submitted.", note.jobs[0])
            claims.note(root, note)


def _kept(
    root: Path, planned: Mapping[str, Task], live: Mapping[str, Claim], states: Mapping[str, JobState]
) -> dict[str, Claim]:
    """Less what can never start, and what would be written before all it reads is there."""
    kept = {key: each for key, each in live.items() if not states[key].stuck}
    tasks = {key: planned.get(key) or _written(root, key) for key in kept}
    wanted = {output.path for task in planned.values() for output in task.outputs}
    early = set(kept)
    while early:
        unmade = wanted - {path for each in kept.values() for path in each.outputs}
        early = {key for key in kept if (task := tasks[key]) and _misses(task, unmade, states[key])}
        kept = {key: each for key, each in kept.items() if key not in early}
    if any(task.stage == "report" and key not in kept for key, task in planned.items()):
        kept = {key: each for key, each in kept.items() if each.stage != "sweep"}
    return kept


def _written(root: Path, key: str) -> Task | None:
    with suppress(ValueError):
        return claims.read_task(root, key)
    return None


def _misses(task: Task, unmade: set[str], state: JobState) -> bool:
    """Whether a job waits in vain for what no living job makes; a report reads what there is instead."""
    return (state.waits or task.stage in _LATER) and any(each.path in unmade for each in task.inputs)
