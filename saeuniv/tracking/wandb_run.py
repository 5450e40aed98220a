"""One W&B run per comparison: a view of its results folder, which stays the record."""

import hashlib
import json
import logging
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saeuniv.config import Tracking
from saeuniv.results import Results, load, matched_pairs
from saeuniv.tracking.content import (
    HISTOGRAMS,
    LAYER_PAIRS,
    PAIR_STEP,
    axes,
    histogram_table,
    layer_pair_table,
    pair_rows,
    scalars,
)
from saeuniv.tracking.directories import fresh_folder, own_environment
from saeuniv.tracking.mode import has_api_key, way
from saeuniv.tracking.offline import write_outcome
from saeuniv.tracking.upload import upload

if TYPE_CHECKING:
    import wandb

_INIT_TIMEOUT_SECONDS = 30.0
_FINISH_TIMEOUT_SECONDS = 60.0
_SYNC_TIMEOUT_SECONDS = 300.0
_TERMINATED = 128 + signal.SIGTERM
_CONTACT_SHEET = "contact_sheet"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackingOutcome:
    """What became of the tracking of one comparison."""

    mode: Literal["offline", "online", "off", "failed"]
    run_id: str | None
    """None where nothing was written."""
    folder: Path | None
    """The run on disk, uploaded or to be uploaded with `saeuniv sync`."""
    message: str
    """One line for the end of the run: what was written where, what failed, what to do."""


def run_id(project: str, sweep: str, comparison: str) -> str:
    """The id of the run: a comparison made again in its sweep replaces its run."""
    named = json.dumps([project, sweep, comparison], ensure_ascii=True)
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def track(
    results_folder: Path,
    *,
    settings: Tracking,
    sweep: str,
    comparison: str,
    job_type: str,
    metrics: Sequence[str] = (),
) -> TrackingOutcome:
    """Writes the W&B run of a results folder to `wandb/` beside it; online, uploads it too.

    The run holds one table `layer_pairs` (a row per layer pair, every matrix of matrices.npz a column,
    None where undefined; the columns of all `metrics`, computed or not), a history row per layer pair,
    the heatmaps, the contact sheet, means over layer pairs, a table of histograms of the matches, and an
    artifact of all files. Its configuration is `content.axes` and nothing else: no command line, no
    environment.

    `job_type` is comparison or control. Never raises: results do not depend on tracking, so whatever
    fails is logged and returned as the message. Returns in bounded time: the run is written offline,
    and uploading has a time limit.
    """
    chosen = way(settings.mode)
    if chosen == "off":
        return TrackingOutcome("off", None, None, "W&B: off.")
    results_folder = results_folder.resolve()
    name = run_id(settings.project, sweep, comparison)
    plan = {"id": name, "project": settings.project, "entity": settings.entity, "group": sweep}
    plan |= {"name": comparison, "job_type": job_type}
    try:
        folder = _write_run(results_folder, plan=plan, metrics=metrics)
        outcome, url = _offline(folder, name), None
        if chosen == "online":
            outcome, url = _upload(folder, name, comparison_folder=results_folder.parent)
        write_outcome(results_folder.parent, mode=outcome.mode, run_id=name, url=url)
        return outcome
    # Tracking may fail in any way its library likes; the results are on disk already (style rule 22).
    except Exception as error:
        message = f"W&B: not tracked ({type(error).__name__}: {error}). The results are in {results_folder}."
        _log.warning(message, exc_info=_log.isEnabledFor(logging.DEBUG))
        return TrackingOutcome("failed", None, None, message)


def _write_run(results_folder: Path, *, plan: dict[str, str | None], metrics: Sequence[str]) -> Path:
    import wandb

    results = load(results_folder)
    folder = results_folder.parent
    alone = wandb.run is None
    with fresh_folder(folder), own_environment(folder), _ended_by_sigterm():
        # resume=None replaces the history of an earlier run of this id, "allow" would append to it.
        run = wandb.init(
            **plan,  # pyright: ignore[reportArgumentType]
            dir=folder,
            mode="offline",
            config=axes(results),
            resume=None,
            reinit="create_new",
            settings=_settings(),
        )
        exit_code = 1
        try:
            _log_pairs(run, results)
            _log_results(run, results, results_folder, metrics=metrics)
            exit_code = 0
        except SystemExit:
            exit_code = _TERMINATED
            raise
        finally:
            run.finish(exit_code=exit_code)
            # Ends W&B's background process, which would keep this comparison's folders for the next one.
            if alone:
                wandb.teardown()
        return Path(run.dir).parent


@contextmanager
def _ended_by_sigterm() -> Generator[None, None, None]:
    """SIGTERM ends the process by SystemExit, so that the run is closed: W&B writes in blocks of 32 KiB.

    A handler that somebody has put there already knows better what to do, and stays.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(_TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _settings() -> "wandb.Settings":
    """Nothing but what we log: no console, command line, code or list of packages."""
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=_INIT_TIMEOUT_SECONDS,
        finish_timeout=_FINISH_TIMEOUT_SECONDS,
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )


def _log_pairs(run: "wandb.Run", results: Results) -> None:
    run.define_metric(PAIR_STEP)
    run.define_metric("pair/*", step_metric=PAIR_STEP)
    for row in pair_rows(results):
        run.log(row)


def _log_results(run: "wandb.Run", results: Results, folder: Path, *, metrics: Sequence[str]) -> None:
    import wandb

    shown = {f"heatmap/{metric}": f"heatmap_{metric}.png" for metric in results.metrics}
    shown |= {_CONTACT_SHEET: f"{_CONTACT_SHEET}.png"}
    images = {key: wandb.Image(str(path)) for key, name in shown.items() if (path := folder / name).is_file()}
    tables = {LAYER_PAIRS: layer_pair_table(results, metrics)}
    histograms = histogram_table(results.rows[0].comparison, matched_pairs(folder))
    if histograms[1]:
        tables[HISTOGRAMS] = histograms
    logged = {
        # W&B asks for lists of wider element types, and lists are invariant.
        key: wandb.Table(columns=columns, data=rows)  # pyright: ignore[reportArgumentType]
        for key, (columns, rows) in tables.items()
    }
    run.log({**logged, **images, **scalars(results)})
    artifact = wandb.Artifact(f"results-{run.id}", type="results")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # A copy: the run stays whole when the results folder is swapped for a newer one.
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="mutable")
    run.log_artifact(artifact)


def _offline(folder: Path, name: str, why: str = "") -> TrackingOutcome:
    comparison = folder.parent.parent
    message = f"W&B: run {name} offline{why}; upload: saeuniv sync {comparison}"
    return TrackingOutcome("offline", name, folder, message)


def _upload(folder: Path, name: str, *, comparison_folder: Path) -> tuple[TrackingOutcome, str | None]:
    if not has_api_key():
        outcome = _offline(folder, name, " (no API key found: wandb login, or WANDB_API_KEY)")
        _log.warning(outcome.message)
        return outcome, None
    fault, urls = upload([folder], folder=comparison_folder, timeout_seconds=_SYNC_TIMEOUT_SECONDS)
    if fault:
        outcome = _offline(folder, name, f" (not uploaded: {fault})")
        _log.warning(outcome.message)
        return outcome, None
    message = f"W&B: run {name} uploaded from {folder}"
    return TrackingOutcome("online", name, folder, message), urls.get(name)
