"""What it takes to plan a large sweep, from the command line to the table, with nothing in the store."""

import os
import pickle
import sys
import tempfile
from pathlib import Path

from rich.table import Table

from benchmarks import startup
from benchmarks.cost import Cost, measure
from benchmarks.section import Section
from saeuniv.sweep.job import RunJob

CELLS, PAIRS = 1000, 72
CPU_S, PEAK_BYTES = 10.0, 1_000_000_000
# Of what `--cfg job` takes beside it: 11 times on the machine of README, where the bound is CPU_S.
_STARTS = 15.0
PICKLE_BYTES = 2000

# Ten seeds of a 6-layer model against ten of a 12-layer model, five widths, two alignments.
SWEEP = (
    *("-m", "a.seed=range(0,10)", "b.seed=range(10,20)", "a.n_layers=6", "b.n_layers=12"),
    *("width=64,128,256,512,1024", "alignment=max_corr,hungarian"),
)
_PLAN = ("-c", "from saeuniv.cli import main; main()", "plan", *SWEEP)


def section() -> Section:
    """Wall and CPU time and memory of `saeuniv plan`, without and with controls; the size of a job."""
    alone, controlled = plan("control=none"), plan("control=untrained")
    table = Table("sweep", box=None)
    for header in ("layer pairs", "wall s", "CPU-s", "peak GB"):
        table.add_column(header, justify="right")
    for name, pairs, cost in (
        (f"{CELLS} cells x {PAIRS} layer pairs", CELLS * PAIRS, alone),
        ("the same with its untrained controls", 2 * CELLS * PAIRS, controlled),
    ):
        numbers = (f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_bytes / 1e9:.2f}")
        table.add_row(name, f"{pairs:,}", *numbers)
    size = pickle_bytes()
    said = f"what is pickled for a job of one task: {size} bytes"
    start = min(startup.configuration(2))
    said_of = f"--cfg job beside it: {start:.2f} CPU-s, {alone.cpu_s / start:.0f} times less than the first"
    faults = _faults(alone, size, max(CPU_S, _STARTS * start))
    return Section("planning, empty store", (table, said_of, said), tuple(faults))


def plan(*overrides: str) -> Cost:
    """What `saeuniv plan` of the sweep takes, imports included."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAEUNIV")}
        env = {**kept, "SAEUNIV_STORE": f"{folder}/store"}
        measured = measure([sys.executable, *_PLAN, *overrides], cwd=Path(folder), env=env)
    if f"comparisons {CELLS}," not in measured.stdout:
        raise RuntimeError(f"expected a plan of {CELLS} comparisons, got: {measured.stdout[:500]}")
    return measured.cost


def pickle_bytes() -> int:
    """Of what submitit pickles for a job of one task."""
    return len(pickle.dumps(RunJob(Path("/shared/saeuniv/store"), ("0" * 16,), 0, 60, "scores")))


def _faults(cost: Cost, size: int, allowed: float) -> list[str]:
    faults: list[str] = []
    if cost.cpu_s >= allowed:
        faults.append(f"planning: under {allowed:.0f} CPU-s, got {cost.cpu_s:.1f}")
    if cost.peak_bytes >= PEAK_BYTES:
        faults.append(f"planning: under {PEAK_BYTES / 1e9:.0f} GB, got {cost.peak_bytes / 1e9:.2f}")
    if size >= PICKLE_BYTES:
        faults.append(f"pickle of a task: under {PICKLE_BYTES} bytes, got {size}")
    return faults
