"""Asking the nodes of a cluster: one small job for each set of resources that stages ask for."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from saeuniv.config.launcher import JOB_STAGES, Launcher, StageResources
from saeuniv.store.processes import host
from saeuniv.sweep import slurm, submit
from saeuniv.sweep.attach import submission_folder
from saeuniv.sweep.check import Check
from saeuniv.sweep.doctor import gpus
from saeuniv.sweep.probe import NOT_SHARED, Answer, RunProbe, answer, look_around, question, read_answer
from saeuniv.sweep.slurm import JobState, QueueError

_MINUTES = 5
_POLL_S = 1.0
_LOG_LINES = 6

_SHARE = "Set store=... or SAEUNIV_STORE to a folder on a file system that all nodes share."

# What a log says where the job does not see the store; the second is submitit's.
_UNSEEN = (NOT_SHARED, "could not find submitted jobs in path")

_WRONG_S, _REMARKABLE_S = 30.0, 2.0


@dataclass
class _Asked:
    """A question to the nodes."""

    stages: str
    """Those that ask for these resources, for people."""

    key: str
    """Where these are configured."""

    resources: StageResources
    nonce: str
    job: str = ""
    state: JobState | None = None
    ended: float | None = None
    """When it was first seen to have ended."""


def probe(
    root: Path,
    launcher: Launcher,
    *,
    stages: Sequence[str] = JOB_STAGES,
    wait_seconds: float = 600.0,
    settle_seconds: float = 60.0,
) -> tuple[Check, ...]:
    """Have a job look around on a node, for each of the different resources that stages ask for.

    Args:
        root: the store.
        launcher: what stages ask for.
        stages: those of interest.
        wait_seconds: how long jobs may take, waiting included; then they are cancelled.
        settle_seconds: how long a file may take to be seen by another machine.

    Returns:
        Checks with `ok=False` where the store is not shared, a job is refused or fails, or GPUs are missing.

    Raises:
        OSError: the store cannot be written to.
    """
    question(root, "").parent.mkdir(parents=True, exist_ok=True)
    here = look_around(root, ask_torch=False)
    asked = _questions(launcher, stages)
    said: dict[str, list[Check]] = {}
    try:
        for each in asked:
            question(root, each.nonce).write_text(json.dumps({"host": host(), "time": time.time()}))
            if refused := _submit(root, each, settle_seconds):
                said[each.nonce] = [refused]
        until = time.monotonic() + wait_seconds
        while waiting := [each for each in asked if each.nonce not in said]:
            late = time.monotonic() >= until
            _look(waiting)
            for each in waiting:
                if found := _concluded(root, each, here, settle_seconds, late=late):
                    said[each.nonce] = found
            time.sleep(_POLL_S)
    finally:
        _clean_up(root, asked)
    return tuple(check for each in asked for check in said[each.nonce])


def _questions(launcher: Launcher, stages: Sequence[str]) -> list[_Asked]:
    """One for all stages whose jobs ask for the same, but for the time."""
    alike: dict[str, list[str]] = {}
    resources: dict[str, StageResources] = {}
    for stage in stages:
        asked = replace(launcher.resources(stage), minutes=_MINUTES)
        alike.setdefault(repr(asked), []).append(stage)
        resources[repr(asked)] = asked
    return [
        _Asked(
            "all stages" if len(alike) == 1 else ", ".join(members),
            f"hydra.launcher.{'default' if len(alike) == 1 else members[0]}",
            resources[text],
            f"saeuniv-probe-{secrets.token_hex(8)}",
        )
        for text, members in alike.items()
    ]


def _submit(root: Path, asked: _Asked, settle_seconds: float) -> Check | None:
    """Hand in the job; what SLURM has against it."""
    job = RunProbe(root, asked.nonce, asked.resources.gpus or 0, _MINUTES, settle_seconds)
    try:
        (asked.job,) = submit.submit(
            [job],
            name="saeuniv-doctor",
            resources=asked.resources,
            dependency=None,
            comment=asked.nonce,
            folder=submission_folder(root),
            array_parallelism=1,
        )
    except (ValueError, QueueError) as error:
        return Check(f"{asked.stages}: job", False, str(error), f"Change what {asked.key} asks for.")
    return None


def _look(waiting: Sequence[_Asked]) -> None:
    """Ask SLURM how the jobs are; where it does not answer, nothing is known that was not before."""
    with suppress(QueueError):
        states = slurm.states([each.job for each in waiting])
        for each in waiting:
            now = states.get(each.job)
            each.state = now or each.state
            if each.ended is None and (now is None or not now.live):
                each.ended = time.monotonic()


def _concluded(
    root: Path, asked: _Asked, here: Answer, settle_seconds: float, *, late: bool
) -> list[Check] | None:
    """What is to be said of a job; None while it is not known."""
    if there := read_answer(root, asked.nonce):
        return list(_compared(asked, here, there))
    name, state = f"{asked.stages}: job", asked.state
    said = f"job {asked.job} is {state.state if state else 'unknown to SLURM'}"
    said += f" ({state.reason})" if state and state.reason else ""
    if state and state.stuck:
        return [Check(name, False, f"{said} and will never start", f"Change what {asked.key} asks for.")]
    log = submit.log_path(submission_folder(root), asked.nonce, asked.job)
    if asked.ended is not None:
        settled = time.monotonic() - asked.ended >= settle_seconds
        # With a log the node can write to the store: a failure is then one at once.
        if settled or (state is not None and state.state != "COMPLETED" and log.is_file()):
            return [_silent(asked, said, log)]
    if late:
        remedy = "It is cancelled now. Ask again when the queue is shorter."
        return [Check(name, None, f"{said} after the time that it was given", remedy)]
    return None


def _silent(asked: _Asked, said: str, log: Path) -> Check:
    """The job has ended and not answered."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        missing = f"{said} and has left neither an answer nor a log in the store: nodes do not share it"
        return Check(f"{asked.stages}: store", False, missing, _SHARE)
    lines = "\n".join(text.strip().splitlines()[-_LOG_LINES:])
    if any(sign in text for sign in _UNSEEN):
        return Check(f"{asked.stages}: store", False, f"{said}: the store is not shared\n{lines}", _SHARE)
    remedy = f"Is this Python there, and saeuniv in it? Else set {asked.key}.python or .setup."
    return Check(f"{asked.stages}: job", False, f"{said} and has not answered\n{lines}", remedy)


def _compared(asked: _Asked, here: Answer, there: Answer) -> Iterator[Check]:
    """What of the node is not as on this machine."""
    stages = asked.stages
    yield Check(f"{stages}: store", True, f"{there.host} sees it", "")
    yield _code(asked, here, there)
    if asked.resources.gpus and there.torch is not None:
        yield gpus(asked.resources.gpus, there.torch, there.smi)._replace(name=f"{stages}: GPU")
    ahead = here.skew - there.skew
    if abs(ahead) > _REMARKABLE_S:
        clock = f"{there.host} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
        remedy = (
            "Have both set their clocks (chronyd, ntpd): the ages of locks and leftovers are judged by them."
        )
        yield Check(f"{stages}: clock", None if abs(ahead) < _WRONG_S else False, clock, remedy)
    if here.hub != there.hub:
        said = f"{there.host} sees another cache of Hugging Face's hub; jobs load models from it, offline"
        yield Check(f"{stages}: hub cache", None, said, "Set HF_HOME to a folder that all nodes share.")
    if there.numba:
        remedy = "Set NUMBA_CACHE_DIR to a folder that nodes can write to."
        yield Check(f"{stages}: numba", False, f"{there.host}: {there.numba}", remedy)


def _code(asked: _Asked, here: Answer, there: Answer) -> Check:
    name = f"{asked.stages}: code"
    if here.code == there.code:
        said = f"the same saeuniv ({there.version}), Python {there.python}"
        return Check(name, True, said, "")
    (mine, theirs) = (f"{each.version} of {(each.commit or 'no commit')[:12]}" for each in (here, there))
    said = f"{there.host} runs another saeuniv: {theirs}; here: {mine}"
    return Check(name, False, said, f"Install the same one there, or set {asked.key}.python.")


def _clean_up(root: Path, asked: Sequence[_Asked]) -> None:
    """Cancel what has not ended, and remove what was asked and answered; logs of the silent stay."""
    with suppress(QueueError):
        slurm.cancel([each.job for each in asked if each.job and each.ended is None])
    for each in asked:
        if read_answer(root, each.nonce):
            shutil.rmtree(submission_folder(root) / each.nonce, ignore_errors=True)
        for path in (question(root, each.nonce), answer(root, each.nonce)):
            path.unlink(missing_ok=True)
