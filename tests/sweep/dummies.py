"""Tasks that load nothing and take no time; importable by the workers of a pool."""

import logging
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from saeuniv.stages.task import Progress, Task
from saeuniv.store import Artifact, Kind, artifact
from saeuniv.sweep.job import current_job

LAST_WORDS = 30_000_000
"""Characters enough that they arrive after the result."""

_TOLD_WITHIN_SECONDS = 120.0


@dataclass(frozen=True)
class Dummy(Task):
    """Publishes its outputs, or ends as told."""

    stage: ClassVar[str] = "dummy"

    name: str
    end: str = "well"

    @property
    def label(self) -> str:
        return self.name

    def __call__(self, progress: Progress) -> None:
        log = logging.getLogger("saeuniv.dummy")
        log.info("%s begins", self.name)
        for each in self.inputs:
            self.store.open(each)
        match self.end:
            case "wrong":
                raise ValueError(f"{self.name}: expected better work. Choose another.")
            case "bug":
                raise KeyError("no such thing")
            case "dead":
                time.sleep(0.3)  # its words and those of others are on their way
                os._exit(9)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "interrupted":
                raise KeyboardInterrupt
            case "asks a hub":
                from saeuniv.adapters.hub import HubFolder

                HubFolder("owner/model", "main", self.name).file("config.json")
            case "idle":
                return
            case "slow":
                self._take_long_once()
        for done, output in enumerate(self.outputs):
            self._make(output)
            progress(done + 1, len(self.outputs))
        if self.end == "talkative":
            log.info("x" * LAST_WORDS)

    def _make(self, output: Artifact) -> None:
        with self.store.publish(output) as folder:
            (folder / "name.txt").write_text(self.name)

    def _take_long_once(self) -> None:
        begun = self.root / f"{self.name}.begun"
        if not begun.exists():
            begun.touch()
            time.sleep(60)


@dataclass(frozen=True)
class Traced(Dummy):
    """A dummy of a real stage that makes each output once, and leaves a line in `trace` at every step."""

    def __call__(self, progress: Progress) -> None:
        self._trace(f"{self.name} begins in {current_job()}, offline={os.environ.get('HF_HUB_OFFLINE')}")
        super().__call__(progress)

    def _make(self, output: Artifact) -> None:
        if self.store.exists(output):
            return
        name = output.spec["name"]
        end = time.monotonic() + _TOLD_WITHIN_SECONDS
        while self.end == "told" and not (self.root / f"{name}.go").exists():
            assert time.monotonic() < end, f"{name}: never told to go"
            time.sleep(0.05)
        super()._make(output)
        self._trace(f"{name} made")

    def _trace(self, line: str) -> None:
        with (self.root / "trace").open("a") as file:
            file.write(f"{line}\n")

    def without(self, paths: Collection[str]) -> "Traced | None":
        kept = tuple(output for output in self.outputs if output.path not in paths)
        return replace(self, outputs=kept) if kept else None


@dataclass(frozen=True)
class Model(Traced):
    stage: ClassVar[str] = "models"


@dataclass(frozen=True)
class Latents(Traced):
    stage: ClassVar[str] = "latents"


@dataclass(frozen=True)
class Scores(Traced):
    stage: ClassVar[str] = "scores"


def made(name: str) -> Artifact:
    """What the dummy of this name publishes."""
    return artifact(Kind.scores, {"name": name})


def dummy(root: Path, name: str, *needs: str, end: str = "well", seconds: float = 1.0) -> Dummy:
    """A task that publishes `made(name)` and needs what others make."""
    return Dummy(root, tuple(map(made, needs)), (made(name),), seconds, name, end)
