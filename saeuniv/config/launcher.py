"""How a sweep is launched: on this machine or as SLURM jobs, and what a job of each stage asks for."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

JOB_STAGE_OF = {"sweep": "report", "shards": "latents"}
"""Stages that ask for what another one asks for."""

JOB_STAGES = ("tokens", "models", "dictionaries", "latents", "scores", "report")
"""The stages that run as jobs, each with a field of `Launcher`; `sweep` takes what report takes."""

SIGNAL_SECONDS: Final = 90
"""A job is told so many seconds before its limit to save its progress; SLURM may do so 60 s earlier."""

# SLURM counts limits in whole minutes. With two, the signal could come before Python has started.
_LEAST_MINUTES = math.ceil((SIGNAL_SECONDS + 60) / 60)

# Options of sbatch that one of our own keys says.
_OWN_KEYS = {
    **dict.fromkeys(("time", "time-min"), "minutes"),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "memory_gb"),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu", "mincpus"), "cpus"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"), "gpus"),
    **{name: name for name in ("partition", "account", "qos", "constraint", "gres")},
}

_OURS = {
    **dict.fromkeys(("nodes", "ntasks", "ntasks-per-node"), "a job is one process"),
    **dict.fromkeys(("dependency", "kill-on-invalid-dep"), "stages wait for what they need"),
    **dict.fromkeys(("output", "error", "open-mode"), "logs lie in the store; `saeuniv logs` shows them"),
    **dict.fromkeys(("comment", "job-name"), "jobs are found again by it"),
    **dict.fromkeys(("signal", "requeue", "no-requeue"), "jobs save their progress and go on"),
    **dict.fromkeys(("wait", "test-only", "parsable", "wrap"), "jobs are submitted by script"),
    "hold": "a held job counts as failed",
}
"""Options that saeuniv sets or rules out, and why."""


class Cluster(Enum):
    """Where tasks run: in worker processes of this machine, or as jobs on SLURM."""

    local = "local"
    slurm = "slurm"


@dataclass
class StageResources:
    """What a job of one stage asks SLURM for; unset: what `default` says.

    The empty string means none, whatever `default` says (hydra.launcher.report.qos=).
    """

    gpus: int | None = None
    """GPUs of a job; 0: models run on the CPU."""

    cpus: int | None = None
    """CPU cores of a job."""

    memory_gb: float | None = None
    """Main memory of a job, in GiB."""

    minutes: int | None = None
    """Time limit, in minutes. Work that takes longer is stopped, its progress kept, and queued again."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    """Generic resources. GPUs among them (gpu:a100:1) are what `gpus` asks for otherwise, and as many."""

    setup: list[str] | None = None
    """Shell lines run on the node before Python, for example [module load cuda]."""

    python: str | None = None
    """The command that starts Python on the node; unset: the interpreter that submits."""

    sbatch: dict[str, str | int | float | bool] = field(
        default_factory=dict[str, str | int | float | bool],
    )
    """Any other option of sbatch by its long name, {nice: 100, exclusive: true}; added to `default`'s."""


def _default() -> StageResources:
    return StageResources(gpus=0, cpus=1, memory_gb=8.0, minutes=60)


@dataclass
class Launcher:
    """The node hydra.launcher of hydra/launcher=local and hydra/launcher=slurm."""

    _target_: str = "hydra_plugins.saeuniv_launcher.launcher.SweepLauncher"
    cluster: Cluster = Cluster.local
    default: StageResources = field(default_factory=_default)
    """What a job of any stage asks for where the stage does not say otherwise."""

    tokens: StageResources = field(default_factory=StageResources)
    models: StageResources = field(default_factory=StageResources)
    dictionaries: StageResources = field(default_factory=StageResources)
    latents: StageResources = field(default_factory=StageResources)
    scores: StageResources = field(default_factory=StageResources)
    report: StageResources = field(default_factory=StageResources)

    array_parallelism: int = 256
    """Jobs of one array that run at the same time."""

    job_minutes: float = 10.0
    """Short tasks of a stage share a job until it is expected to take so many minutes; 0: one task a job."""

    poll_seconds: float = 10.0
    """Seconds between looks at the queue."""

    def resources(self, stage: str) -> StageResources:
        """What a job of `stage` asks for, with nothing left to `default`; a stage without a field takes it.

        gpus, cpus, memory_gb and minutes are numbers; texts may be None; names in sbatch have hyphens.
        """
        name = JOB_STAGE_OF.get(stage, stage)
        own: StageResources = getattr(self, name) if name in JOB_STAGES else StageResources()
        taken = _default()
        for given in (self.default, own):
            written = {key: value for key, value in vars(given).items() if value is not None}
            options = {key.replace("_", "-"): value for key, value in given.sbatch.items()}
            taken = dataclasses.replace(taken, **{**written, "sbatch": taken.sbatch | options})
        return dataclasses.replace(taken, **{key: None for key, value in vars(taken).items() if value == ""})


def faults(launcher: Launcher) -> Iterator[str]:
    """Every value outside its range and every option of sbatch that is not for users to set, as sentences."""
    whole = (
        ("array_parallelism", launcher.array_parallelism >= 1, "at least 1 job at a time"),
        ("job_minutes", 0 <= launcher.job_minutes < math.inf, "0 (one task a job) or more"),
        ("poll_seconds", 0 < launcher.poll_seconds < math.inf, "a positive number"),
    )
    for name, holds, expected in whole:
        if not holds:
            yield _sentence(name, getattr(launcher, name), expected)
    for stage in ("default", *JOB_STAGES):
        resources: StageResources = getattr(launcher, stage)
        yield from _number_faults(stage, resources)
        yield from _sbatch_faults(stage, resources)
        yield from _together_faults(stage, resources, launcher)


def _number_faults(stage: str, resources: StageResources) -> Iterator[str]:
    r = resources
    rules = (
        ("gpus", r.gpus is None or r.gpus >= 0, "0 (none) or more"),
        ("cpus", r.cpus is None or r.cpus >= 1, "at least 1"),
        ("memory_gb", r.memory_gb is None or 0 < r.memory_gb < math.inf, "a positive number of GiB"),
        (
            "minutes",
            r.minutes is None or r.minutes >= _LEAST_MINUTES,
            f"at least {_LEAST_MINUTES} (the signal to save progress comes {SIGNAL_SECONDS} s before the "
            f"limit, up to 60 s early)",
        ),
    )
    for name, holds, expected in rules:
        if not holds:
            yield _sentence(f"{stage}.{name}", getattr(r, name), expected)


def _sbatch_faults(stage: str, resources: StageResources) -> Iterator[str]:
    for written in resources.sbatch:
        key, name = f"{_key(stage)}.sbatch.{written}", written.replace("_", "-")
        if name.startswith("-") or len(name) == 1:
            yield f"{key}: expected the long name of an option of sbatch without dashes, got {written}."
        elif name in _OWN_KEYS:
            yield f"{key}: --{name} has a key of its own. Set {_key(stage)}.{_OWN_KEYS[name]} instead."
        elif name == "array":
            yield (
                f"{key}: saeuniv makes the arrays. Set {_key('array_parallelism')} (jobs at the same time) "
                f"and {_key('job_minutes')} (short tasks in one job) instead."
            )
        elif name in _OURS:
            yield f"{key}: --{name} is set by saeuniv: {_OURS[name]}. Leave it out."


def _together_faults(stage: str, resources: StageResources, launcher: Launcher) -> Iterator[str]:
    """What does not fit together, where this stage has a say in it."""
    asked = launcher.resources(stage)
    if stage == "default" or resources.minutes is not None:
        minutes, short = asked.minutes or 0, launcher.job_minutes
        if _LEAST_MINUTES <= minutes <= short < math.inf:
            yield _sentence("job_minutes", short, f"less than {_key(stage)}.minutes ({minutes})")
    if stage == "default" or resources.gres is not None or resources.gpus is not None:
        in_gres = _gpus_in(asked.gres or "")
        if in_gres and in_gres != asked.gpus:
            yield (
                f"{_key(stage)}.gres={asked.gres}: expected {_key(stage)}.gpus to say the same number of "
                f"GPUs, got {asked.gpus}. Set {_key(stage)}.gpus={in_gres}."
            )


def _gpus_in(gres: str) -> int:
    """The number of GPUs among generic resources: 2 for gpu:a100:2, 1 for gpu, 0 for none."""
    total = 0
    for each in gres.split(","):
        kind, *rest = each.split("(")[0].split(":")
        if kind.removeprefix("gres/") == "gpu":
            total += int(rest[-1]) if rest and rest[-1].isdecimal() else 1
    return total


def _sentence(name: str, value: object, expected: str) -> str:
    return f"{_key(name)}={value}: expected {expected}, got {value}."


def _key(name: str) -> str:
    return f"hydra.launcher.{name}"
