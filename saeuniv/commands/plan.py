"""`saeuniv plan <overrides>`: what a command of launch.py would do; `--emit` writes it down task by task."""

import json
import sys
from collections.abc import Sequence, Set
from typing import NamedTuple

from saeuniv.commands.asking import Asked, asked, overrides_parser
from saeuniv.commands.emitting import emit, fresh_folder, made_by
from saeuniv.commands.shell import DONE, FAILED, say
from saeuniv.config import TrackingMode
from saeuniv.report.console import console
from saeuniv.stages.report import Report
from saeuniv.sweep.estimate import Estimate, estimate, estimate_json, estimate_table
from saeuniv.sweep.plan import Plan, plan
from saeuniv.sweep.rates import learn
from saeuniv.tracking import run_id

# Of more comparisons than this only the number is printed; --json has all.
_SHOWN_COMPARISONS = 12


class _Standing(NamedTuple):
    """What of a comparison is still to be done."""

    report: Report
    pairs: int
    """Layer pairs."""

    pairs_to_do: int
    """Layer pairs of which a score has to be made."""

    waits: bool
    """Something that it reads, of the control perhaps, has to be made."""

    @property
    def done(self) -> bool:
        """Its results are as they would be written again; told by its key, which takes milliseconds."""
        return not self.waits and self.report.is_done()


def main(argv: Sequence[str]) -> int:
    """Print comparisons, tasks, what they are expected to take, and W&B run ids; run nothing.

    Returns:
        0, or 1 where a comparison is refused, as running it would.

    Raises:
        ConfigError: the configuration is wrong; nothing is written.
    """
    arguments = overrides_parser("plan", "What a command of launch.py would do; takes exactly its arguments.")
    arguments.add_argument("--json", action="store_true", help="everything, for programs")
    arguments.add_argument(
        "--emit",
        type=fresh_folder,
        metavar="DIR",
        help="write each task as a file that `saeuniv task run FILE` runs, and index.json with what it needs",
    )
    given = arguments.parse_intermixed_args(argv)
    wanted = asked(given)
    work = plan(wanted.requests, wanted.launcher if wanted.checked.multirun else None)
    expected = estimate(work.tasks, learn(work.root))
    if given.emit:
        n_tasks = emit(work, wanted, given.emit)
        sys.stderr.write(f"{n_tasks} tasks written to {given.emit}; run each with `saeuniv task run FILE`.\n")
    if given.json:
        sys.stdout.write(json.dumps(_values(work, wanted, expected), indent=1) + "\n")
    else:
        _show(work, wanted, expected)
    return FAILED if work.refused else DONE


def _show(work: Plan, wanted: Asked, expected: Estimate) -> None:
    controls = sum(report.job_type == "control" for report in work.reports)
    standings = _standings(work)
    to_do = sum(each.pairs_to_do for each in standings)
    say(
        f"{wanted.name}: comparisons {len(work.reports) - controls}, controls {controls}, layer pairs "
        f"{work.n_pairs} ({work.n_pairs - to_do} cached, {to_do} to do); artifacts cached {work.n_cached}, "
        f"tasks to do {len(work.tasks)}. Store: {work.root}"
    )
    if work.tasks:
        console().print(estimate_table(expected, wanted.launcher))
    bound, hours = wanted.checked.cells[0].sweep.max_gpu_hours, expected.gpu_hours(wanted.launcher)
    if bound is not None and hours > bound:
        say(f"sweep.max_gpu_hours={bound:g}: it would be refused on SLURM, for {hours:.1f} GPU hours.")
    for request, error in work.refused:
        say(f"refused: {request.folder.name}: {error}")
    if len(work.reports) > _SHOWN_COMPARISONS:
        say(f"{len(work.reports)} comparisons and controls; --json lists them.")
        return
    runs = _runs(work, wanted)
    for each in standings:
        name = each.report.label
        run = f"W&B run {runs[name]}" if name in runs else "no W&B run"
        state = (
            f"{each.pairs_to_do} of {each.pairs} layer pairs to do" if each.pairs_to_do else "to be reported"
        )
        say(f"{name}: {'done' if each.done else state}; {run}")


def _values(work: Plan, wanted: Asked, expected: Estimate) -> dict[str, object]:
    standings = _standings(work)
    return {
        "sweep": wanted.name,
        "folder": str(wanted.folder),
        "store": str(work.root),
        "layer_pairs": work.n_pairs,
        "layer_pairs_to_do": sum(each.pairs_to_do for each in standings),
        "cached": work.n_cached,
        "comparisons": [
            {
                "name": each.report.label,
                "job_type": each.report.job_type,
                "layer_pairs": each.pairs,
                "layer_pairs_to_do": each.pairs_to_do,
                "done": each.done,
            }
            for each in standings
        ],
        "refused": {request.folder.name: list(error.faults) for request, error in work.refused},
        "expected": estimate_json(expected, wanted.launcher),
        "wandb_runs": _runs(work, wanted),
        "tasks": [{"key": task.key, "stage": task.stage, "label": task.label} for task in work.tasks],
    }


def _standings(work: Plan) -> list[_Standing]:
    made = made_by(work)
    return [_standing(report, made) for report in work.reports]


def _standing(report: Report, made: Set[str]) -> _Standing:
    pairs = {(each.layer_a, each.layer_b) for each in report.reported}
    to_do = {(each.layer_a, each.layer_b) for each in report.reported if each.scores.path in made}
    waits = any(each.path in made for each in report.inputs)
    return _Standing(report, len(pairs), len(to_do), waits)


def _runs(work: Plan, wanted: Asked) -> dict[str, str]:
    return {
        report.label: run_id(report.tracking.project, wanted.name, report.label)
        for report in work.reports
        if report.tracking.mode is not TrackingMode.off
    }
