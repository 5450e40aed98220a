"""`saeuniv status [SWEEP]`: how a sweep stands; without a name, which sweeps there are."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from saeuniv.commands.shell import DONE, say
from saeuniv.commands.sweeps import MULTIRUN, find_sweep, sweep_names, sweep_parser
from saeuniv.config import ConfigError
from saeuniv.report.console import console
from saeuniv.sweep.record import Record, read_record
from saeuniv.sweep.status import STATES, SweepStatus, sweep_status

_SHOWN_FAILURES = 20


def main(argv: Sequence[str]) -> int:
    """Print the state of a sweep's tasks by stage, of its comparisons, and what failed."""
    arguments = sweep_parser(
        "status", "How a sweep stands; without a name, which sweeps there are.", required=False
    )
    arguments.add_argument("--json", action="store_true", help="everything, for programs")
    given = arguments.parse_args(argv)
    if given.sweep is None:
        _list(as_json=given.json)
        return DONE
    folder, record = find_sweep(given.sweep)
    status = sweep_status(record)
    if given.json:
        sys.stdout.write(json.dumps(_values(folder, record, status), indent=1, default=str) + "\n")
    else:
        _show(folder, record, status)
    return DONE


def _list(*, as_json: bool) -> None:
    """Every sweep below multirun/ with its command: most are named by a hash."""
    found = list(_records())
    if as_json:
        values = [
            {"name": each.name, "folder": str(MULTIRUN / each.name), "command": each.command}
            for each in found
        ]
        sys.stdout.write(json.dumps(values, indent=1) + "\n")
        return
    for each in found:
        say(f"{each.name}  {shlex.join(each.command)}")
    if not found:
        say(f"No sweeps below {MULTIRUN.absolute()}. Name the folder of one that is elsewhere.")


def _records() -> Iterator[Record]:
    for name in sweep_names():
        try:
            record = read_record(MULTIRUN / name)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            continue
        if record:
            yield dataclasses.replace(record, name=name)


def _values(folder: Path, record: Record, status: SweepStatus) -> dict[str, object]:
    return {
        "name": status.name,
        "folder": str(folder),
        "store": str(status.store),
        "command": record.command,
        "tasks": [dataclasses.asdict(each) for each in status.tasks],
        "comparisons": dict(status.comparisons),
        "unanswered": status.unanswered,
    }


def _show(folder: Path, record: Record, status: SweepStatus) -> None:
    say(f"sweep {status.name}: {shlex.join(record.command)}")
    if status.tasks:
        console().print(_table(status))
    elif not record.tasks:
        say(f"It has no jobs: it runs where its command does; log: {folder / 'saeuniv.log'}")
    for name, state in status.comparisons.items():
        say(f"{state:<8} {name}")
    if status.unanswered:
        say(f"SLURM did not answer: {status.unanswered}")
    failed = [task for task in status.tasks if task.state in ("failed", "stuck")]
    for task in failed[:_SHOWN_FAILURES]:
        say(f"{task.state} {task.stage} {task.label} (job {task.job or 'unknown'}): {task.said}")
        if task.log:
            say(f"  {task.log}")
    if len(failed) > _SHOWN_FAILURES:
        say(f"and {len(failed) - _SHOWN_FAILURES} more; --json has all.")


def _table(status: SweepStatus) -> Table:
    table = Table(title=escape(f"tasks of {status.name}"), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("stage")
    for state in STATES:
        table.add_column(state, justify="right")
    for stage, counts in status.counts().items():
        table.add_row(stage, *(str(counts[state] or "-") for state in STATES))
    return table
