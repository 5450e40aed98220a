"""The embedded experiment from an empty store, and again with everything in it."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import RenderableType

from benchmarks.cost import Cost, measure
from benchmarks.machine import ROOT
from benchmarks.section import Section
from saeuniv.results import load

# "At most 3 minutes on 2 otherwise idle cores and 320 CPU-seconds"; wall time depends on what else runs.
COLD_CPU_S = 320.0
WARM_S = 10.0
# Of the warm run: machines that need more CPU-seconds need them for both. It was 125 on the slowest so far.
_COLD_TO_WARM = 150.0

# Settings of the caller that would change where a run writes, what it does, or how it is threaded.
_NOT_INHERITED = ("SAEUNIV_", "WANDB_", "OMP_", "OPENBLAS_", "MKL_")


class DemoRun(NamedTuple):
    """`python launch.py`, twice."""

    cold: Cost
    """With an empty store: models and dictionaries are trained."""

    warm: Cost
    """The same command again: everything is there."""

    comparison: Path
    """Folder of the trained pair; `saeuniv.results.load` reads it."""

    control: Path
    """Folder of the untrained counterparts."""

    stdout: str
    """Of the cold run."""

    @property
    def most_cold_cpu_s(self) -> float:
        """The bound of the cold run, on this machine."""
        return max(COLD_CPU_S, _COLD_TO_WARM * self.warm.cpu_s)


def run_demo(folder: Path) -> DemoRun:
    """Run the checkout's `launch.py` in a new folder below `folder` with an empty store, then once more.

    Raises:
        RuntimeError: a run failed, or the second run changed the table of the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(tempfile.mkdtemp(prefix="demo-", dir=folder))
    env = {**environment(), "SAEUNIV_STORE": str(here / "store")}
    command = [sys.executable, str(ROOT / "launch.py")]
    cold = measure(command, cwd=here, env=env)
    folders = {_job_type(each): each for each in _comparisons(here)}
    tables = [(each / "results" / "layer_pairs.csv").read_bytes() for each in folders.values()]
    warm = measure(command, cwd=here, env=env)
    again = [(each / "results" / "layer_pairs.csv").read_bytes() for each in folders.values()]
    if again != tables:
        raise RuntimeError("expected the warm run to write the cold run's table again, got another one.")
    return DemoRun(cold.cost, warm.cost, folders["comparison"], folders["control"], cold.stdout)


def environment() -> dict[str, str]:
    """The environment of a user who has set nothing."""
    return {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}


def section(run: DemoRun) -> Section:
    """Costs, the trained / untrained / null table and what it means."""
    from saeuniv.report.console import summary_table
    from saeuniv.report.meaning import meaning

    results, control = load(run.comparison), load(run.control)
    body: list[RenderableType] = [
        f"cold  {run.cold}",
        f"warm  {run.warm}",
        f"corpus sha256 {results.summary['corpus_sha256']}",
        summary_table(results, control),
        meaning(results, control),
    ]
    return Section("demo: python launch.py, empty store, then again", tuple(body), faults(run))


def faults(run: DemoRun) -> tuple[str, ...]:
    """Which bounds and conditions of acceptance do not hold."""
    from saeuniv.report.meaning import acceptance

    most = run.most_cold_cpu_s
    bounds = ((f"cold: at most {most:.0f} CPU-s", run.cold.cpu_s <= most, run.cold),)
    bounds += ((f"warm: under {WARM_S:.0f} CPU-s", run.warm.cpu_s < WARM_S, run.warm),)
    found = [f"{bound}, got {cost}" for bound, holds, cost in bounds if not holds]
    checks = acceptance(load(run.comparison), load(run.control))
    return (*found, *(f"not so: {check.sentence}" for check in checks if not check.holds))


def _comparisons(here: Path) -> Iterator[Path]:
    return (path.parent.parent for path in sorted(here.glob("multirun/single/*/results/summary.json")))


def _job_type(folder: Path) -> str:
    return str(load(folder).summary["job_type"])
