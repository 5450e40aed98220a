"""A sweep of dummies, and the driver of it as a process that can be killed, doubled, started elsewhere.

`Sweep.start` runs this file; it is told what to do on stdin, and says on the last line of stdout what came
of it, both as JSON.
"""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from saeuniv.config import ConfigError
from saeuniv.config.launcher import Cluster, Launcher, StageResources
from saeuniv.stages.report import Report
from saeuniv.stages.serial import read_task, task_json
from saeuniv.stages.sweep import SummariseSweep
from saeuniv.stages.task import STAGES, Task
from saeuniv.sweep import claims
from saeuniv.sweep.drive import drive
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.plan import Plan
from saeuniv.sweep.slurm import QueueError
from tests.sweep.dummies import Latents, Scores, made

# Many such jobs fit on the three nodes at the same time.
_SMALL = {"gpus": 0, "cpus": 1, "memory_gb": 0.2, "minutes": 30}
_TIMEOUT_S = 90


class Ended(NamedTuple):
    """What a driver said."""

    code: int
    failures: dict[str, str]
    """Label of a task -> what its driver says of it."""

    not_run: set[str]
    out: str
    err: str


class Driver:
    """A driver in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", told: str) -> None:
        self._process = process
        assert process.stdin
        process.stdin.write(told)
        process.stdin.close()
        process.stdin = None

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        self._process.kill()
        self._process.communicate()

    def end(self) -> Ended:
        """Wait until it has ended by itself."""
        try:
            out, err = self._process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the driver does not end:\n{self._process.communicate()}") from None
        *_, last = out.splitlines() or [""]
        said = json.loads(last) if last.startswith("{") else {"failures": {}, "not_run": []}
        return Ended(self._process.returncode, said["failures"], set(said["not_run"]), out, err)


@dataclass(frozen=True)
class Sweep:
    """A sweep of dummies."""

    folder: Path
    tasks: tuple[Task, ...]
    reports: tuple[Task, ...] = ()
    launcher: Mapping[str, Any] = field(default_factory=dict)
    """Of a stage, or `default`: what it asks for; and what `Launcher` has beside these."""

    detach: bool = False

    @property
    def root(self) -> Path:
        return self.tasks[0].root

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def place(self) -> SweepPlace:
        given = {"poll_seconds": 0.5, "job_minutes": 0.0, **self.launcher}
        given["default"] = {**_SMALL, **given.get("default", {})}
        values = {
            key: StageResources(**value) if isinstance(value, Mapping) else value
            for key, value in given.items()
        }
        command = (f"sweep.name={self.name}",)
        return SweepPlace(self.name, self.folder, command, Launcher(cluster=Cluster.slurm, **values))

    @property
    def plan(self) -> Plan:
        """What is not done yet of it, as the planner would have it."""
        tasks = (task for task in self.tasks if not task.is_done())
        in_order = sorted(tasks, key=lambda task: STAGES.index(task.stage))
        return Plan(self.root, tuple(in_order), cast(tuple[Report, ...], self.reports))

    @property
    def summary(self) -> SummariseSweep:
        folders = tuple(cast(Report, report).folder for report in self.reports)
        keys = tuple(report.key for report in self.reports)
        return SummariseSweep(self.root, (), (), 1.0, self.folder, folders, keys)

    def start(self, *, stand: Path | None = None, starters: Path | None = None, **environment: str) -> Driver:
        """Have a process drive it, which stands in a folder and has more in its environment.

        With a folder of starters it leaves a file there when it is ready, and waits for the file `go`.
        """
        tasks, reports = ([task_json(task) for task in some] for some in (self.tasks, self.reports))
        told = {"folder": str(self.folder), "tasks": tasks, "reports": reports}
        told |= {"launcher": dict(self.launcher), "detach": self.detach}
        told |= {"starters": str(starters) if starters else None}
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=stand or self.folder.parent,
            env=os.environ | environment,
        )
        return Driver(process, json.dumps(told))

    def run(self, **environment: str) -> Ended:
        """Have a process drive it to its end."""
        return self.start(**environment).end()

    def trace(self, pattern: str) -> list[str]:
        """The lines of the trace that this pattern begins."""
        path = self.root / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if re.match(pattern, line)]

    def begins(self, name: str) -> int:
        """How often a job has begun the task of this name."""
        return len(self.trace(rf"{name} begins"))

    def job(self, name: str) -> str:
        """SLURM's id of the job that the task of this name was last given to."""
        (task,) = (each for each in (*self.tasks, *self.reports) if each.label == name)
        job = self._job(task)
        assert job is not None
        return job

    @property
    def is_submitted(self) -> bool:
        """Whether its driver has noted the job of the last task, the sweep's table."""
        return self._job(self.summary) is not None

    def _job(self, task: Task) -> str | None:
        claim = claims.read_claim(self.root, task.key)
        note = claims.read_note(self.root, claim.token) if claim else None
        return note.jobs[claim.place] if claim and note else None

    def tell(self, *names: str) -> None:
        """Let dummies that end as told make what has these names."""
        for name in names:
            (self.root / f"{name}.go").touch()


def latents(root: Path, name: str, *needs: str, end: str = "well") -> Latents:
    """A task that encodes nothing, and publishes `made(name)`."""
    return Latents(root, tuple(map(made, needs)), (made(name),), 1.0, name, end)


def scores(root: Path, name: str, *needs: str, end: str = "well") -> Scores:
    """A task that compares nothing, and publishes `made(name)`."""
    return Scores(root, tuple(map(made, needs)), (made(name),), 1.0, name, end)


def wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds, which must be before so much time has passed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def main() -> int:
    """Drive what stdin tells of; exit codes are those of launch.py."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    given = json.load(sys.stdin)
    tasks, reports = (tuple(map(read_task, given[name])) for name in ("tasks", "reports"))
    sweep = Sweep(Path(given["folder"]), tasks, reports, given["launcher"], given["detach"])
    work = sweep.plan
    if given["starters"]:
        starters = Path(given["starters"])
        (starters / str(os.getpid())).touch()
        wait((starters / "go").exists)
    try:
        outcome = drive(work, sweep.summary, sweep.place, detach=sweep.detach)
    except (ConfigError, QueueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    if outcome is None:
        return 0
    failures = {each.task.label: each.message for each in outcome.failures}
    print(json.dumps({"failures": failures, "not_run": [task.label for task in outcome.not_run]}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
