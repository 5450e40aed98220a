"""Which job makes what: claims in the store, so that two drivers never submit the same task.

In `<store>/jobs/`, for every task that was given to a job:

    <task key>.json       the claim: who, when, what is made, and the token and place of its array
    <task key>.task.json  the task itself, which the job reads
    <token>.array.json    the note: under which id SLURM knows the array; written after submission

A claim without a note is an intent: its driver may have died between submission and the note. SLURM then
knows the array by the token, its comment.
"""

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from saeuniv.stages.serial import read_task as task_of
from saeuniv.stages.serial import task_json
from saeuniv.stages.task import Task
from saeuniv.store.locks import lock
from saeuniv.store.processes import host
from saeuniv.store.text import write_text

FORMAT = 1


@dataclass(frozen=True)
class Claim:
    """A task that was given to a job."""

    key: str
    stage: str
    label: str
    outputs: tuple[str, ...]
    """Paths of what it makes."""

    token: str
    """Of its array: the comment SLURM knows it by."""

    place: int
    """Which job of the array."""

    sweep: str
    """The sweep that it was first needed for."""

    host: str
    """Where the driver runs."""

    pid: int
    created: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Note:
    """What became of an array."""

    token: str
    cluster: str
    jobs: tuple[str, ...]
    """SLURM's id of each job: 28_0, 28_1 ..., or 32."""

    submitted: float
    """Seconds since the epoch."""

    folder: str
    """Where submitit writes what its jobs say."""


def submission_lock(root: Path) -> AbstractContextManager[None]:
    """Held by whoever looks at claims and submits: nobody else is between a claim and its note then."""
    return lock(root / "locks" / "submit.lock")


def new_token() -> str:
    """A name for an array that no other array has."""
    return f"saeuniv-{secrets.token_hex(8)}"


def claim(root: Path, jobs: Sequence[Sequence[Task]], *, token: str, sweep: str) -> tuple[Claim, ...]:
    """Claim the tasks of an array's jobs before it is submitted; the tasks themselves are written first.

    Raises:
        FileExistsError: a task is claimed by somebody else; nothing is claimed then.
    """
    folder = jobs_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    claims: list[Claim] = []
    try:
        for place, tasks in enumerate(jobs):
            for task in tasks:
                outputs = tuple(output.path for output in task.outputs)
                about = (token, place, sweep, host(), os.getpid(), time.time())
                made = Claim(task.key, task.stage, task.label, outputs, *about)
                write_text(folder / f"{task.key}.task.json", task_json(task))
                _create(folder / f"{task.key}.json", _text(made))
                claims.append(made)
                # What an earlier job said of it is history.
                for told in ("error", "timeouts"):
                    (folder / f"{task.key}.{told}.json").unlink(missing_ok=True)
    except BaseException:
        release(root, claims)
        raise
    return tuple(claims)


def release(root: Path, claims: Iterable[Claim]) -> None:
    """Give claims back: nothing was submitted, or their jobs have ended."""
    for each in claims:
        (jobs_folder(root) / f"{each.key}.json").unlink(missing_ok=True)


def note(root: Path, made: Note) -> None:
    """Complete the claims of an array."""
    write_text(jobs_folder(root) / f"{made.token}.array.json", _text(made))


def all_claims(root: Path) -> tuple[Claim, ...]:
    """Every claim in the store, of jobs that live and of jobs that have ended."""
    folder = jobs_folder(root)
    if not folder.is_dir():
        return ()
    names = (each.name for each in os.scandir(folder))
    keys = sorted(name.removesuffix(".json") for name in names if name.count(".") == 1)
    found = (read_claim(root, key) for key in keys)
    return tuple(each for each in found if each is not None)


def read_claim(root: Path, key: str) -> Claim | None:
    """The claim of a task; None where it is not claimed, in another format, or damaged."""
    values = _read(jobs_folder(root) / f"{key}.json")
    if values is None:
        return None
    outputs: Any = tuple(values["outputs"])
    return Claim(**{**values, "outputs": outputs})


def read_note(root: Path, token: str) -> Note | None:
    """What became of an array; None where its driver has not said."""
    values = _read(jobs_folder(root) / f"{token}.array.json")
    if values is None:
        return None
    jobs: Any = tuple(values["jobs"])
    return Note(**{**values, "jobs": jobs})


def read_task(root: Path, key: str) -> Task:
    """The task that was claimed under `key`.

    Raises:
        ValueError: there is none in this store, or it cannot be read.
    """
    path = jobs_folder(root) / f"{key}.task.json"
    try:
        return task_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected the task of a job, found none.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def jobs_folder(root: Path) -> Path:
    """Where claims, notes and what jobs say of their tasks are."""
    return root / "jobs"


def _text(of: Claim | Note) -> str:
    return json.dumps({"format": FORMAT, **dataclasses.asdict(of)}, indent=1) + "\n"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    found = cast(dict[str, Any], values)
    return found if found.pop("format", None) == FORMAT else None


def _create(path: Path, text: str) -> None:
    """Write a file that must not be there: a link has one winner, also on NFS, and is never half a file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(text, encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise FileExistsError(
            f"{path}: expected no claim, found one. Run the same command again to attach to its job. If it "
            f"is of another version of saeuniv, or damaged, and no job of it lives, remove that file."
        ) from error
    finally:
        temporary.unlink()
