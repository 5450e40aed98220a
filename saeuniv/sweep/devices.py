"""What models will compute on, told when work is planned: without torch, and for other machines."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from saeuniv.config import Cluster, ConfigError, Device, Launcher, Resources
from saeuniv.stages.task import Task

# Files that the drivers of NVIDIA and AMD make where there is a GPU.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
_TORCH_TIMEOUT_S = 120.0


class Here(NamedTuple):
    """What this machine has."""

    device: str
    """cpu, cuda or mps."""

    gpus: int
    """That torch can use."""


@dataclass(frozen=True)
class Devices:
    """What the tasks of a plan are told to compute on: on this machine, or in the jobs of SLURM.

    `device=auto` is decided here, as what `dtype=auto` stands for, and so the key of latents, depends on it:
    with SLURM by whether the jobs of a stage ask for GPUs, else by this machine.
    """

    resources: Resources
    launcher: Launcher | None = None

    @property
    def latents(self) -> str:
        """`cpu`, `mps`, `cuda`, or for a model that is spread over several GPUs `cuda:0,cuda:1`.

        Raises:
            ConfigError: a device that will not be there, or a model to be spread where no GPUs are used.
        """
        device, n = self._of("latents"), self.resources.n_devices
        if n == 1:
            return device
        if device != "cuda":
            raise ConfigError(
                f"resources.n_devices={n}: expected GPUs to spread a model over, got {device}. Choose "
                f"resources.n_devices=1, a machine with GPUs, or with SLURM hydra.launcher.latents.gpus={n}."
            )
        return ",".join(f"cuda:{number}" for number in range(n))

    @property
    def training(self) -> str:
        """Where dictionaries are trained: `cuda`, never spread over several, or `cpu`.

        Raises:
            ConfigError: a device that will not be there.
        """
        # What mps makes of training is not known.
        return "cuda" if self._of("dictionaries") == "cuda" else "cpu"

    def _of(self, stage: str) -> str:
        wanted = self.resources.device
        if wanted is Device.cpu:
            return wanted.value
        slurm = self.launcher is not None and self.launcher.cluster is Cluster.slurm
        if self.launcher is None or not slurm:
            there = here().device
        else:
            there = "cuda" if self.launcher.resources(stage).gpus else "cpu"
        if wanted is Device.auto or wanted.value == there:
            return there
        if slurm and wanted is Device.cuda:
            raise ConfigError(
                f"resources.device=cuda: expected GPUs for the jobs of the stage {stage}, got "
                f"hydra.launcher.{stage}.gpus=0. Choose hydra.launcher.{stage}.gpus=1, or "
                f"resources.device=auto (a GPU where the jobs of a stage ask for one)."
            )
        where = "in jobs of SLURM" if slurm else "on this machine"
        raise ConfigError(
            f"resources.device={wanted.value}: expected such a device {where}, got {there}. Choose "
            f"resources.device=auto or cpu; saeuniv doctor says why a GPU cannot be used."
        )


class Gpus:
    """The GPUs of this machine, each for one task at a time: two models on one would share its memory."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._free = sorted(numbers)
        self._n = len(self._free)
        self._taken: dict[int, list[int]] = {}

    @classmethod
    def for_tasks(cls, tasks: Iterable[Task]) -> "Gpus":
        """Those of this machine, if any of the tasks asks for one."""
        return cls(range(here().gpus if any(task.n_gpus for task in tasks) else 0))

    def take(self, number: int, task: Task) -> Task | None:
        """The task, of this number, told which GPUs are its own; None while there are too few.

        A task that asks for more than there are is given back as it is: it says itself what it lacks.
        """
        if not task.n_gpus or task.n_gpus > self._n:
            return task
        if task.n_gpus > len(self._free):
            return None
        self._taken[number] = self._free[: task.n_gpus]
        self._free = self._free[task.n_gpus :]
        return task.on_gpus(self._taken[number])

    def give_back(self, number: int) -> None:
        """The task of this number has ended."""
        self._free = sorted([*self._free, *self._taken.pop(number, ())])


@cache
def here() -> Here:
    """What torch can use on this machine; asked, in a process of its own, where there is a sign of it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    driver = not hidden and any(each.exists() for each in _DRIVERS)
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not driver and not apple:
        return Here("cpu", 0)
    command = [sys.executable, "-W", "ignore", "-m", "saeuniv.adapters.devices"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_TIMEOUT_S, check=True)
        device, gpus = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return Here("cpu", 0)
    return Here(device, gpus)
