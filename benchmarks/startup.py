"""How long the command line keeps a person waiting before any work."""

import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.cost import Cost, measure
from benchmarks.demo import environment
from benchmarks.machine import ROOT
from benchmarks.section import Section

REPEATS = 5
# `--cfg job` on an idle machine; judged by CPU time of the best run, which other load hardly changes.
CONFIGURATION_S = 1.5

_LAUNCH = str(ROOT / "launch.py")
_COMMANDS = {
    "python launch.py --cfg job": [_LAUNCH, "--cfg", "job"],
    "python launch.py --help": [_LAUNCH, "--help"],
    'python -c "import saeuniv"': ["-c", "import saeuniv"],
    "python -c pass": ["-c", "pass"],
}


def section() -> Section:
    """Wall and CPU time of each command, after one run that fills the disk cache."""
    costs = {name: _costs(arguments) for name, arguments in _COMMANDS.items()}
    table = Table("command", box=None)
    for header in ("best s", "median s", "best CPU-s"):
        table.add_column(header, justify="right")
    for name, each in costs.items():
        wall, cpu = [cost.wall_s for cost in each], [cost.cpu_s for cost in each]
        table.add_row(name, f"{min(wall):.2f}", f"{median(wall):.2f}", f"{min(cpu):.2f}")
    best = min(cost.cpu_s for cost in costs["python launch.py --cfg job"])
    slow = (f"--cfg job: under {CONFIGURATION_S} CPU-s, got {best:.2f}",) if best >= CONFIGURATION_S else ()
    return Section(f"startup: {REPEATS} runs each", (table,), slow)


def configuration(repeats: int) -> list[float]:
    """CPU seconds of `--cfg job`, run by run: from the command line to the configuration of one cell."""
    costs = _costs(_COMMANDS["python launch.py --cfg job"], repeats)
    return [cost.cpu_s for cost in costs]


def _costs(arguments: list[str], repeats: int = REPEATS) -> list[Cost]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *arguments]
        runs = [measure(command, cwd=Path(folder), env=environment()) for _ in range(repeats + 1)]
    return [run.cost for run in runs[1:]]
