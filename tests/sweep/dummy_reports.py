"""Reports that compare nothing, as tasks after dummies."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeuniv.results import read_status, write_status
from saeuniv.stages.report import Report
from saeuniv.stages.task import Progress
from tests.sweep.dummies import made


@dataclass(frozen=True)
class DummyReport(Report):
    """Writes which of its inputs are there; like the real one it is content with some, fails without any."""

    @property
    def label(self) -> str:
        return self.folder.name

    @property
    def key(self) -> str:
        named = [str(self.folder), *(each.path for each in self.inputs)]
        return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]

    def portable(self) -> "DummyReport":
        return self

    def is_done(self) -> bool:
        status = read_status(self.folder)
        return (status.get("state"), status.get("task")) == ("done", self.key)

    def __call__(self, progress: Progress) -> None:
        found = [str(each.spec["name"]) for each in self.inputs if self.store.exists(each)]
        if not found:
            write_status(self.folder, "failed", error="nothing is there")
            raise ValueError(f"{self.label}: nothing to report.")
        (self.folder / "results").mkdir(parents=True, exist_ok=True)
        with (self.folder / "results" / "read.txt").open("a") as file:
            file.write(f"{' '.join(found)}\n")
        if len(found) < len(self.inputs):
            write_status(self.folder, "failed", error="some are missing")
        else:
            write_status(self.folder, "done", task=self.key)


def report(root: Path, folder: Path, *needs: str) -> DummyReport:
    """The report, in `folder`, on what dummies of these names make."""
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(DummyReport)}
    given = {"root": root, "inputs": tuple(map(made, needs)), "outputs": (), "seconds": 1.0, "folder": folder}
    return DummyReport(**values | given)
