"""One W&B run per comparison: a view of its results folder, which stays the record."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from saeuniv.config import Tracking
from saeuniv.results import Results, load
from saeuniv.tracking.directories import fresh_folder, own_environment, variables
from saeuniv.tracking.mode import has_api_key, way

if TYPE_CHECKING:
    import wandb

_INIT_TIMEOUT_SECONDS = 30.0
_FINISH_TIMEOUT_SECONDS = 60.0
_SYNC_TIMEOUT_SECONDS = 300.0
_SCALARS = {"score": "value", "null": "null", "calibrated": "calibrated"}
_QUALITY = (
    *("fvu_a", "fvu_b", "l0_a", "l0_b", "dead_fraction_a", "dead_fraction_b"),
    *("loss_recovered_a", "loss_recovered_b", "eligible_mass_a", "eligible_mass_b"),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackingOutcome:
    """What became of the tracking of one comparison."""

    mode: Literal["offline", "online", "off", "failed"]
    run_id: str | None
    """None where nothing was written."""
    folder: Path | None
    """The run on disk, uploaded or to be uploaded with `wandb sync`."""
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
    axes: Mapping[str, str | int | float],
) -> TrackingOutcome:
    """Writes the W&B run of a results folder to `wandb/` beside it; online, uploads it too.

    The run holds one table `layer_pairs` (a row per layer pair, every matrix of matrices.npz a column,
    None where undefined), the heatmaps, means over layer pairs, and an artifact of all files. Its
    configuration is `axes` and nothing else: no command line, no environment.

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
        folder = _write_run(results_folder, plan=plan, axes=axes)
        if chosen == "online":
            return _upload(folder, name, comparison_folder=results_folder.parent)
    # Tracking may fail in any way its library likes; the results are on disk already (style rule 22).
    except Exception as error:
        message = f"W&B: not tracked ({type(error).__name__}: {error}). The results are in {results_folder}."
        _log.warning(message, exc_info=_log.isEnabledFor(logging.DEBUG))
        return TrackingOutcome("failed", None, None, message)
    return TrackingOutcome("offline", name, folder, f"W&B: run {name} offline; upload: wandb sync {folder}")


def _write_run(
    results_folder: Path, *, plan: dict[str, str | None], axes: Mapping[str, str | int | float]
) -> Path:
    import wandb

    results = load(results_folder)
    folder = results_folder.parent
    alone = wandb.run is None
    with fresh_folder(folder), own_environment(folder):
        # resume=None replaces the history of an earlier run of this id, "allow" would append to it.
        run = wandb.init(
            **plan,  # pyright: ignore[reportArgumentType]
            dir=folder,
            mode="offline",
            config=dict(axes),
            resume=None,
            reinit="create_new",
            settings=_settings(),
        )
        try:
            _log_results(run, results, results_folder)
        finally:
            run.finish()
            # Ends W&B's background process, which would keep this comparison's folders for the next one.
            if alone:
                wandb.teardown()
        return Path(run.dir).parent


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


def _log_results(run: "wandb.Run", results: Results, folder: Path) -> None:
    import wandb

    images = {
        f"heatmap/{metric}": wandb.Image(str(path))
        for metric in results.metrics
        if (path := folder / f"heatmap_{metric}.png").is_file()
    }
    columns, rows = layer_pair_table(results)
    # W&B asks for lists of wider element types, and lists are invariant.
    table = wandb.Table(columns=columns, data=rows)  # pyright: ignore[reportArgumentType]
    run.log({"layer_pairs": table, **images, **scalars(results)})
    artifact = wandb.Artifact(f"results-{run.id}", type="results")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        # A copy: the run stays whole when the results folder is swapped for a newer one.
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="mutable")
    run.log_artifact(artifact)


def layer_pair_table(results: Results) -> tuple[list[str], list[list[str | int | float | None]]]:
    """Columns and rows of the wide table: layers, then every matrix by its name in matrices.npz."""
    arrays = results.arrays()
    rows: list[list[str | int | float | None]] = []
    for i, layer_a in enumerate(results.layers_a):
        for j, layer_b in enumerate(results.layers_b):
            numbers = (array[i, j].item() for array in arrays.values())
            rows.append([layer_a, layer_b, *(None if number != number else number for number in numbers)])
    return ["layer_a", "layer_b", *arrays], rows


def scalars(results: Results) -> dict[str, float]:
    """Means over the layer pairs where a number is defined; nothing where it never is."""
    out: dict[str, float] = {}
    for metric in results.metrics:
        for prefix, statistic in _SCALARS.items():
            out |= _mean(f"{prefix}/{metric}", results.matrix(metric, statistic))
        out[f"quality/undefined_{metric}"] = float((results.reasons(metric) != 0).mean())
    for column in _QUALITY:
        out |= _mean(f"quality/{column}", results.matrix(results.metrics[0], column))
    return out


def _mean(name: str, matrix: np.ndarray) -> dict[str, float]:
    defined = matrix[~np.isnan(matrix)]
    return {name: float(defined.mean())} if defined.size else {}


def _upload(folder: Path, name: str, *, comparison_folder: Path) -> TrackingOutcome:
    """Uploads with `wandb sync` in a process of its own, which can be given a time limit."""
    later = f"It stays on disk; upload later: wandb sync {folder}"
    if not has_api_key():
        message = f"W&B: run {name} offline, no API key found (wandb login, or WANDB_API_KEY). {later}"
        _log.warning(message)
        return TrackingOutcome("offline", name, folder, message)
    # A file, not a pipe: a child of the child that outlives it must not keep us waiting.
    log = comparison_folder / "wandb" / "sync.log"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "wandb", "sync", "--yes", str(folder)],
                env={**os.environ, **variables(comparison_folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_SYNC_TIMEOUT_SECONDS,
            )
        fault = f"exit status {done.returncode}, see {log}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        fault = f"no answer within {_SYNC_TIMEOUT_SECONDS:.0f} s, see {log}"
    if fault:
        message = f"W&B: run {name} not uploaded ({fault}). {later}"
        _log.warning(message)
        return TrackingOutcome("offline", name, folder, message)
    return TrackingOutcome("online", name, folder, f"W&B: run {name} uploaded from {folder}")
