"""`saeuniv sync SWEEP`: upload the W&B runs of a sweep, after checking that nothing of them is missing."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from saeuniv.commands.shell import DONE, FAILED, say
from saeuniv.commands.sweeps import comparison_folders, sweep_parser
from saeuniv.commands.tracked import comparison_of, settings_of, sweep_of
from saeuniv.config import ConfigError
from saeuniv.metrics import EVERYWHERE
from saeuniv.results import load
from saeuniv.tracking import OfflineRun, dashboard, inspect, no_key, run_folders, track, upload, write_outcome

_READERS = 2


def main(argv: Sequence[str]) -> int:
    """Check every run on disk, or make it anew from its results folder; then upload what is not there yet.

    Raises:
        ConfigError: there is nothing to upload, a run lacks files, or no API key is at hand.
    """
    arguments = sweep_parser(
        "sync", "Upload the W&B runs of a sweep, once everything that they need is there."
    )
    arguments.add_argument(
        "--rebuild", action="store_true", help="make every run anew from its results first"
    )
    arguments.add_argument("--dry-run", action="store_true", help="check and say what would be done")
    given = arguments.parse_args(argv)
    folder, comparisons = comparison_folders(given.sweep)
    if given.rebuild and given.dry_run:
        for each in comparisons:
            say(f"{each.name}: would be made anew from {each / 'results'} and uploaded")
        return DONE
    if given.rebuild and not all([_rebuild(each) for each in comparisons]):
        return FAILED
    runs = _checked(folder, run_folders(comparisons))
    waiting = [run for run in runs if not run.is_uploaded]
    for run in runs:
        state = "uploaded already" if run.is_uploaded else "would be uploaded" if given.dry_run else "waits"
        say(f"{run.folder.parent.parent.name}: {state}")
    if given.dry_run or not waiting:
        return DONE
    return _upload(waiting, folder)


def _checked(folder: Path, runs: Sequence[Path]) -> list[OfflineRun]:
    if not runs:
        raise ConfigError(
            f"{folder}: expected W&B runs in <comparison>/wandb, found none. "
            f"Make them from the results: saeuniv sync {folder} --rebuild"
        )
    # Each is read by a process of W&B's.
    with ThreadPoolExecutor(_READERS) as readers:
        found = list(readers.map(inspect, runs))
    faults = [f"{run.folder}: {run.fault}." for run in found if run.fault and not run.is_uploaded]
    if faults:
        fix = (
            f"Nothing was uploaded: wandb sync would leave these files out and report success. "
            f"Make the runs anew from the results: saeuniv sync {folder} --rebuild"
        )
        raise ConfigError(*faults, fix)
    return found


def _rebuild(comparison: Path) -> bool:
    """Make the run of a comparison anew from its results folder alone; whether that went well."""
    try:
        results = load(comparison)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return False
    outcome = track(
        comparison / "results",
        settings=settings_of(results),
        sweep=sweep_of(results, comparison),
        comparison=comparison_of(results),
        job_type=str(results.summary.get("job_type", "comparison")),
        metrics=EVERYWHERE,
    )
    if outcome.mode == "failed":
        sys.stderr.write(f"{outcome.message}\n")
    return outcome.mode != "failed"


def _upload(waiting: Sequence[OfflineRun], folder: Path) -> int:
    if fault := no_key():
        raise ConfigError(fault)
    fault, urls = upload([run.folder for run in waiting], folder=folder.absolute(), timeout_seconds=None)
    for run in waiting:
        name = run.folder.name.rsplit("-", 1)[-1]
        if run.is_uploaded:
            write_outcome(run.folder.parent.parent, mode="online", run_id=name, url=urls.get(name))
    if fault:
        sys.stderr.write(f"{fault}\nThe same command goes on with what is left.\n")
        return FAILED
    say(f"{len(waiting)} runs uploaded.")
    say(f"W&B: {dashboard(list(urls.values()))}")
    return DONE
