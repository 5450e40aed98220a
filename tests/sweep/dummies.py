"""Tasks that load nothing and take no time; importable by the workers of a pool."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from saeuniv.stages.task import Progress, Task
from saeuniv.store import Artifact, Kind, artifact

LAST_WORDS = 30_000_000
"""Characters enough that they arrive after the result."""


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
            case "interrupted":
                raise KeyboardInterrupt
        for done, output in enumerate(self.outputs):
            with self.store.publish(output) as folder:
                (folder / "name.txt").write_text(self.name)
            progress(done + 1, len(self.outputs))
        if self.end == "talkative":
            log.info("x" * LAST_WORDS)


def made(name: str) -> Artifact:
    """What the dummy of this name publishes."""
    return artifact(Kind.scores, {"name": name})


def dummy(root: Path, name: str, *needs: str, end: str = "well", seconds: float = 1.0) -> Dummy:
    """A task that publishes `made(name)` and needs what others make."""
    return Dummy(root, tuple(map(made, needs)), (made(name),), seconds, name, end)
