"""Comparisons from request to results: planned once, fetched, executed, concluded."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from saeuniv.config import TrackingMode
from saeuniv.config.launcher import Cluster
from saeuniv.report.console import console, summary_table
from saeuniv.report.corrections import are_corrections, corrections_line, corrections_table
from saeuniv.report.meaning import meaning
from saeuniv.report.pairs import are_pairs, pairs_line, pairs_table
from saeuniv.report.semantic import categories_of, semantic_table
from saeuniv.results import Results, load, write_status
from saeuniv.stages.report import Report
from saeuniv.stages.sweep import TABLE, SummariseSweep
from saeuniv.store import Store
from saeuniv.sweep import drive
from saeuniv.sweep.fetching import announce, fetches
from saeuniv.sweep.inline import execute
from saeuniv.sweep.outcome import Outcome
from saeuniv.sweep.place import SweepPlace
from saeuniv.sweep.plan import Plan, Request, plan
from saeuniv.sweep.pool import pool
from saeuniv.sweep.record import Record, read_record, write_record
from saeuniv.tracking import last_line

_log = logging.getLogger(__name__)

DONE, FAILED = 0, 1

_EMBEDDED = (
    "Embedded experiment (experiment=tiny): two small byte-level language models trained here on Python's "
    "documentation. For other models choose a=, b=, sae= and data=; see --help."
)

# Of more comparisons than this the tables are in the folders only; the sweep's own table says where.
_SHOWN_COMPARISONS = 6


def run(requests: Sequence[Request], sweep: SweepPlace | None) -> int:
    """Do what the comparisons still need, report, and say what came of it.

    Args:
        requests: the comparisons.
        sweep: the sweep that they are, None for a single run.

    Returns:
        0, or 1 where anything failed; everything that could be done is done first.

    Raises:
        ConfigError: nothing can be planned, the plan is dearer than allowed, or the sweep's folder is of
            another version; nothing is run.
    """
    started = time.monotonic()
    first = requests[0].cells[0]
    if first.a.model.embedded and first.b.model.embedded:
        console().print(_EMBEDDED, highlight=False)
    Store(first.store).remove_scratch()
    if sweep:
        read_record(sweep.folder)
    work = plan(requests, sweep.launcher if sweep else None)
    if sweep and sweep.launcher.cluster is Cluster.slurm:
        drive.check(work, sweep, max_gpu_hours=first.sweep.max_gpu_hours)
        _refuse(work)
        fetch(work)
        outcome = drive.drive(work, summary_of(work, sweep), sweep, detach=first.sweep.detach)
        if outcome is None:
            return FAILED if work.refused else DONE
    else:
        _refuse(work)
        fetch(work)
        outcome = _run_here(work, sweep, processes=first.resources.processes)
    _conclude(work, outcome, sweep, seconds=time.monotonic() - started)
    return FAILED if outcome.failures or work.refused else DONE


def _run_here(work: Plan, sweep: SweepPlace | None, *, processes: int | None) -> Outcome:
    """Execute the plan in worker processes of this machine."""
    if sweep:
        folders = tuple(str(report.folder.absolute()) for report in work.reports)
        record = Record(sweep.name, str(work.root), sweep.command, str(Path.cwd()), folders, tasks=())
        write_record(sweep.folder, record)
    due = _due(work)
    for report in due:
        write_status(report.folder, "running")
    return execute(dataclasses.replace(work, reports=due), pool(processes))


def _due(work: Plan) -> tuple[Report, ...]:
    """The reports to make, those whose results somebody has damaged among them."""
    made = {output.path for task in work.tasks for output in task.outputs}
    due = {report.folder for report in work.due_reports(made)}
    return tuple(each for each in work.reports if each.folder in due or _results(each) is None)


def fetch(work: Plan, *, always_say: bool = False) -> None:
    """Fetch what the plan needs from hubs, once it has been said how much that is.

    Raises:
        ConfigError: a repository cannot be reached.
    """
    needed = fetches(work.tasks)
    missing = [each for each in needed if not each.is_done()]
    if missing or always_say:
        console().print(announce(needed), highlight=False)
    for each in missing:
        each(lambda done, total: None)


def summary_of(work: Plan, sweep: SweepPlace) -> SummariseSweep:
    """The task that comes after all reports: the sweep's table, with what it was asked for earlier."""
    earlier = read_record(sweep.folder)
    folders = [
        *map(Path, earlier.comparisons if earlier else ()),
        *(report.folder.absolute() for report in work.reports),
        *(each.request.folder.absolute() for each in work.refused),
    ]
    return SummariseSweep(
        work.root,
        inputs=(),
        outputs=(),
        seconds=1.0,
        folder=sweep.folder,
        comparisons=tuple(dict.fromkeys(folders)),
        reports=tuple(report.key for report in work.reports),
    )


def show_pairs(comparable: Sequence[Results]) -> None:
    """What several comparisons and their controls say together: over pairs of models, or over corrections."""
    if are_pairs(comparable):
        console().print(pairs_table(comparable))
        console().print(pairs_line(comparable), highlight=False)
    if are_corrections(comparable):
        console().print(corrections_table(comparable))
        console().print(corrections_line(comparable), highlight=False)


def _refuse(work: Plan) -> None:
    """Say which comparisons cannot be made; a single one is an error of the configuration."""
    for request, error in work.refused:
        write_status(request.folder, "failed", error=str(error))
        _log.error("%s: %s", request.folder.name, error)


def _conclude(work: Plan, outcome: Outcome, sweep: SweepPlace | None, *, seconds: float) -> None:
    """Tables and sentences of the comparisons that have results, and where everything was written."""
    failed = {id(each.task) for each in outcome.failures}
    # A report that had nothing to read says only that; the first failure says why.
    causes = [*(each for each in outcome.failures if each.task.stage != "report"), *outcome.failures]
    for report in work.reports:
        if id(report) in failed:
            write_status(report.folder, "failed", error=causes[0].message, seconds=round(seconds, 1))
    # A report that was not written leaves the results of an earlier run, which are not this one's.
    found = {report.folder: None if id(report) in failed else _results(report) for report in work.reports}
    if len(work.reports) <= 2 * _SHOWN_COMPARISONS:
        _show_comparisons(work, found)
    if sweep:
        if sweep.launcher.cluster is Cluster.local:
            summary_of(work, sweep)(lambda done, total: None)
        show_pairs([each for each in found.values() if each is not None and each.rows])
        said = f"sweep {sweep.name}: {sweep.folder / TABLE}"
        console().print(said, highlight=False, soft_wrap=True)
    spent = f"{seconds:.0f} s wall"
    if outcome.peak_bytes:
        spent += (
            f", {outcome.cpu_seconds:.0f} CPU-s in tasks, {outcome.peak_bytes / 2**30:.2f} GiB peak a process"
        )
    console().print(f"{spent}, {work.n_cached} artifacts cached.", highlight=False)
    _say_where_tracked(work, sweep)


def _say_where_tracked(work: Plan, sweep: SweepPlace | None) -> None:
    """The last line: the address of the dashboard, or the command that uploads what is on disk."""
    tracked = [report.folder for report in work.reports if report.tracking.mode is not TrackingMode.off]
    if tracked and any((folder / "wandb").is_dir() for folder in tracked):
        # A single run and its control lie beside each other, as the comparisons of a sweep do.
        target = sweep.folder if sweep else tracked[0] if len(tracked) == 1 else tracked[0].parent
        console().print(last_line(tracked, target), highlight=False, markup=False, soft_wrap=True)


def _show_comparisons(work: Plan, found: dict[Path, Results | None]) -> None:
    for report in work.reports:
        results = found[report.folder]
        if report.job_type == "control" or results is None:
            continue
        beside = work.controls.get(report.folder)
        control = found[beside] if beside else None
        console().print(summary_table(results, control))
        console().print(meaning(results, control), highlight=False)
        if categories_of(results):
            console().print(semantic_table(results))
        console().print(f"comparison: {report.folder / 'results'}", highlight=False, soft_wrap=True)
        if beside and control:
            console().print(f"control: {beside / 'results'}", highlight=False, soft_wrap=True)


def _results(report: Report) -> Results | None:
    try:
        return load(report.folder)
    except ValueError:
        return None
