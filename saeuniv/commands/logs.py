"""`saeuniv logs SWEEP`: what the jobs of a sweep said."""

import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.shell import DONE
from saeuniv.commands.sweeps import find_sweep, sweep_parser
from saeuniv.config import ConfigError
from saeuniv.stages.task import STAGES
from saeuniv.sweep.status import TaskStatus, sweep_status


def main(argv: Sequence[str]) -> int:
    """Print the last lines of each job's log, with the path of the whole."""
    arguments = sweep_parser("logs", "What the jobs of a sweep on SLURM said.")
    arguments.add_argument("--failed", action="store_true", help="only of tasks that failed")
    arguments.add_argument(
        "--stage", choices=STAGES, metavar="STAGE", help=f"only of one of {', '.join(STAGES)}"
    )
    arguments.add_argument("--lines", type=int, default=20, metavar="N", help="last lines of each log (20)")
    given = arguments.parse_args(argv)
    if given.lines < 1:
        raise ConfigError(f"--lines {given.lines}: expected a number of lines, 1 or more.")
    folder, record = find_sweep(given.sweep)
    tasks = [
        task
        for task in sweep_status(record).tasks
        if (not given.failed or task.state in ("failed", "stuck")) and given.stage in (None, task.stage)
    ]
    logs: dict[Path, list[TaskStatus]] = {}
    for task in tasks:
        if task.log:
            logs.setdefault(task.log, []).append(task)
    for path, members in logs.items():
        for task in members:
            sys.stdout.write(f"== {task.stage} {task.label} (job {task.job}, {task.state}) {path}\n")
        with path.open(encoding="utf-8", errors="replace") as file:
            sys.stdout.writelines(f"{line.rstrip()}\n" for line in deque(file, given.lines))
    if not logs:
        sys.stdout.write(_nothing(folder, tasks, on_slurm=bool(record.tasks)))
    return DONE


def _nothing(folder: Path, tasks: Sequence[TaskStatus], *, on_slurm: bool) -> str:
    if not on_slurm:
        return (
            f"No jobs: the sweep ran on the machine where it was asked for, see {folder / 'saeuniv.log'}.\n"
        )
    return (
        f"No job has said anything: of {len(tasks)} such tasks.\n" if tasks else "There are no such tasks.\n"
    )
