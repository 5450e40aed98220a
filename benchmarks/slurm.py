"""The embedded sweep on a private SLURM on this machine against the same in worker processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from benchmarks.cost import Measured, measure
from benchmarks.demo import environment
from benchmarks.machine import ROOT
from benchmarks.section import Section

SWEEP = ("-m", "alignment=hungarian,max_corr")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1", "hydra.launcher.default.memory_gb=4")
TASKS = 300

_CLUSTER = ROOT / "tests" / "slurm" / "cluster"
_LAUNCH = (sys.executable, str(ROOT / "launch.py"))


def section() -> Section:
    """Wall time of the sweep either way, and what the driver costs a task."""
    if os.geteuid() != 0 and not os.environ.get("SLURM_CONF"):
        return Section("slurm", ("not measured: needs SLURM_CONF, or root to start a private SLURM",))
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as conf:
        inline = _sweep(Path(folder) / "inline")
        on_slurm = _sweep(Path(folder) / "slurm", *SLURM, SLURM_CONF=conf)
        per_task = _driver(Path(folder) / "many", conf)
    table = Table("embedded sweep of 2 alignments, empty store", box=None)
    for header in ("wall s", "CPU-s of the driver's tree"):
        table.add_column(header, justify="right")
    for name, each in (("worker processes", inline), ("emulated cluster, same cores", on_slurm)):
        table.add_row(name, f"{each.cost.wall_s:.0f}", f"{each.cost.cpu_s:.0f}")
    said = f"driver, {TASKS} tasks in jobs of their own: {1000 * per_task:.1f} ms a task until submitted"
    return Section("slurm", (table, said))


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    if conf := os.environ.get("SLURM_CONF"):
        yield conf
        return
    start = [_CLUSTER, "start", folder / "cluster", "--max-array-size", "1001"]
    said = subprocess.run(start, check=True, capture_output=True, text=True).stdout
    try:
        yield said.strip().removeprefix("export SLURM_CONF=")
    finally:
        subprocess.run([_CLUSTER, "stop", folder / "cluster"], check=True)


def _sweep(folder: Path, *overrides: str, **variables: str) -> Measured:
    folder.mkdir()
    env = {**environment(), "SAEUNIV_STORE": str(folder / "store"), **variables}
    return measure([*_LAUNCH, *SWEEP, *overrides], cwd=folder, env=env)


def _driver(folder: Path, conf: str) -> float:
    """Seconds a task from the plan until SLURM has its job; the jobs are cancelled then."""
    from saeuniv.config import Cluster, Launcher, StageResources
    from saeuniv.stages.sweep import SummariseSweep
    from saeuniv.sweep import slurm
    from saeuniv.sweep.drive import drive
    from saeuniv.sweep.place import SweepPlace
    from saeuniv.sweep.plan import Plan
    from saeuniv.sweep.record import read_record
    from saeuniv.sweep.status import sweep_status
    from tests.sweep.dummies import Scores, made

    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = conf
    folder.mkdir()
    try:
        root = folder / "store"
        launcher = Launcher(cluster=Cluster.slurm, job_minutes=0.0, default=StageResources(memory_gb=0.1))
        tasks = tuple(Scores(root, (), (made(f"t{n}"),), 1.0, f"t{n}") for n in range(TASKS))
        place = SweepPlace("many", folder / "many", (), launcher)
        summary = SummariseSweep(root, (), (), 1.0, place.folder, (), ())
        started = time.perf_counter()
        drive(Plan(root, tasks, ()), summary, place, detach=True)
        seconds = time.perf_counter() - started
        record = read_record(place.folder)
        assert record is not None
        slurm.cancel(sweep_status(record).live_jobs())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
    return seconds / TASKS
