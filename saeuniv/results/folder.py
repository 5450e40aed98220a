"""The results folder of a comparison: written beside the old one, then swapped for it; read without torch."""

import json
import os
import shutil
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from saeuniv.results.matrices import Results
from saeuniv.results.rows import REASONS, NullRow, Row
from saeuniv.results.swap import asides, fsync, new_sibling, recover, swap_in
from saeuniv.results.table import read_table, write_table

FORMAT_VERSION = 1
"""Of the whole folder, in summary.json; raised when a column or a file changes its meaning."""

_RESULTS = "results"
_FILES = ("layer_pairs.csv", "nulls.csv", "matrices.npz", "summary.json", "config.yaml")
# Drawn from these: results can be read without it, but what is to be written includes it.
_PAGE = "report.html"
_STATES = ("running", "done", "failed")


def write_results(
    folder: Path,
    *,
    rows: Sequence[Row],
    null_rows: Sequence[NullRow],
    layers_a: Sequence[str],
    layers_b: Sequence[str],
    summary: Mapping[str, object],
    config: str,
    status: Mapping[str, object],
    figures: Callable[[Results, Path], None] | None,
) -> Path:
    """Writes `results/` of the comparison folder whole and returns its path.

    Everything is written to a temporary sibling first and swapped in by renaming: a kill at any point
    leaves the old results or the new ones (`load` and the next write find the old ones even where the
    kill fell between the two renames). Tables, matrices and figures are equal in every byte for equal
    arguments. `figures` draws into the folder it is given.

    Raises:
        ValueError: for inconsistent rows, or a summary that is not JSON or holds NaN.
        OSError: where the folder cannot be written.
    """
    full = _full_summary(rows, summary)
    results = Results(tuple(rows), tuple(null_rows), tuple(layers_a), tuple(layers_b), full, config)
    target = folder / _RESULTS
    recover(target)
    new = new_sibling(target)
    try:
        _write_files(new, results)
        (new / "status.json").write_text(_json(status), encoding="utf-8")
        if figures is not None:
            figures(results, new)
        swap_in(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target


def write_status(
    folder: Path,
    state: str,
    *,
    error: str | None = None,
    host: str | None = None,
    started: str | None = None,
    seconds: float | None = None,
    task: str | None = None,
) -> None:
    """Writes `results/status.json` of the comparison folder, atomically; earlier results stay readable.

    `task` names the task that has nothing left to do here (see `is_written`).

    Raises:
        ValueError: for a state other than running, done or failed.
        OSError: where the folder cannot be written.
    """
    if state not in _STATES:
        raise ValueError(f"state={state!r}: expected one of {', '.join(_STATES)}.")
    target = folder / _RESULTS
    recover(target)
    target.mkdir(parents=True, exist_ok=True)
    given = {"error": error, "host": host, "started": started, "seconds": seconds, "task": task}
    status = {"state": state} | {key: value for key, value in given.items() if value is not None}
    new = target / f".status-{uuid.uuid4().hex}"
    try:
        new.write_text(_json(status), encoding="utf-8")
        fsync(new)
        os.replace(new, target / "status.json")
    finally:
        new.unlink(missing_ok=True)


def read_status(folder: Path) -> dict[str, object]:
    """`results/status.json` of the comparison folder; empty where there is none that can be read."""
    try:
        status: object = json.loads((folder / _RESULTS / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, object], status) if isinstance(status, dict) else {}


def is_written(folder: Path, task: str) -> bool:
    """Whether `results/` is whole, and its status says that this very task has nothing left to do."""
    status = read_status(folder)
    whole = all((folder / _RESULTS / name).is_file() for name in (*_FILES, _PAGE))
    return whole and (status.get("state"), status.get("task")) == ("done", task)


def load(folder: str | Path) -> Results:
    """The results in a comparison folder, or in its `results/`; imports neither torch nor pandas.

    Raises:
        ValueError: where files are missing, damaged, or of another format version.
    """
    found = find_results(Path(folder).expanduser())
    missing = [name for name in _FILES if not (found / name).is_file()]
    if missing:
        raise ValueError(
            f"{found}: expected a complete results folder, {', '.join(missing)} missing. "
            f"Run the comparison again; what it has finished is in the store."
        )
    summary = _read_summary(found / "summary.json")
    layers_a, layers_b = _read_layers(found / "matrices.npz")
    return Results(
        rows=tuple(read_table(found / "layer_pairs.csv", Row)),
        null_rows=tuple(read_table(found / "nulls.csv", NullRow)),
        layers_a=layers_a,
        layers_b=layers_b,
        summary=summary,
        config=(found / "config.yaml").read_text(encoding="utf-8"),
    )


def _full_summary(rows: Sequence[Row], summary: Mapping[str, object]) -> dict[str, object]:
    undefined: dict[str, dict[str, int]] = {}
    for metric in dict.fromkeys(row.metric for row in rows):
        reasons = (row.value_reason for row in rows if row.metric == metric and row.direction == "both")
        undefined[metric] = dict(sorted(Counter(filter(None, reasons)).items()))
    full = {
        **{"format_version": FORMAT_VERSION},
        **summary,
        "reason_codes": {code: number for number, code in enumerate(REASONS)},
        "undefined": undefined,
    }
    # Through JSON and back: what is drawn and returned now is what `load` will read.
    return cast(dict[str, object], json.loads(_json(full)))


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _write_files(folder: Path, results: Results) -> None:
    write_table(folder / "layer_pairs.csv", results.rows, Row)
    write_table(folder / "nulls.csv", results.null_rows, NullRow)
    (folder / "summary.json").write_text(_json(results.summary), encoding="utf-8")
    (folder / "config.yaml").write_text(results.config, encoding="utf-8")
    layers = {"layers_a": np.array(results.layers_a, str), "layers_b": np.array(results.layers_b, str)}
    with (folder / "matrices.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **layers, **results.arrays())


def _read_layers(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return tuple(map(str, stored["layers_a"])), tuple(map(str, stored["layers_b"]))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged ({error}). Run the comparison again.") from error


def _read_summary(path: Path) -> dict[str, object]:
    try:
        summary = cast(dict[str, object], json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}). Run the comparison again.") from error
    version = summary.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {version}. "
            f"Read it with the version of saeuniv that wrote it, or run the comparison again."
        )
    return summary


def find_results(folder: Path) -> Path:
    """`results/` of a comparison folder, or the folder itself, where its files are.

    Raises:
        ValueError: there are no results in either.
    """
    candidates = (folder / _RESULTS, folder, *asides(folder / _RESULTS))
    for candidate in candidates:
        if (candidate / _FILES[0]).is_file():
            return candidate
    raise ValueError(
        f"{folder}: expected the folder of a comparison or its {_RESULTS}/, found no {_FILES[0]} there"
        f"{_state_of(candidates[:2])}. Folders of comparisons are multirun/<sweep>/<comparison>."
    )


def _state_of(candidates: tuple[Path, ...]) -> str:
    for candidate in candidates:
        path = candidate / "status.json"
        if path.is_file():
            status = cast(dict[str, object], json.loads(path.read_text(encoding="utf-8")))
            error = f": {status['error']}" if "error" in status else ""
            return f" (the run is {status.get('state')}{error})"
    return ""
