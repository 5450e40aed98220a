"""Runs on disk: which there are, whether everything they would upload is there, and what became of them."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_INSPECT_TIMEOUT_SECONDS = 120
_OUTCOME = "outcome.json"


@dataclass(frozen=True)
class OfflineRun:
    """One run on disk."""

    folder: Path
    fault: str
    """Why it cannot be uploaded as it is; empty where it can."""

    @property
    def is_uploaded(self) -> bool:
        """Whether `wandb sync` has marked it."""
        return is_uploaded(self.folder)


def run_folders(comparisons: Iterable[Path]) -> list[Path]:
    """Folders of the offline runs of these comparisons, oldest first."""
    return [found for each in comparisons for found in sorted((each / "wandb").glob("offline-run-*"))]


def is_uploaded(folder: Path) -> bool:
    """Whether `wandb sync` has marked the run in this folder."""
    return any(folder.glob("run-*.wandb.synced"))


def inspect(folder: Path) -> OfflineRun:
    """A run, and whether all that it would upload is there, by W&B's own reader; about a second.

    Tables and artifacts are staged outside the run's folder, under absolute paths: they are missing where
    a sweep was moved, or its `wandb/data` removed. `wandb sync` leaves them out and reports success.
    """
    try:
        records = _records(folder)
    except ValueError as error:
        return OfflineRun(folder, str(error))
    # A process that is killed leaves no record of its end, and what it wrote in blocks of 32 KiB.
    if not any(record["type"] == "exit" for record in records):
        return OfflineRun(folder, "was cut off while it was written")
    staged = [
        (f"{artifact['name']}/{entry['path']} ({entry['local_path']})", Path(entry["local_path"]))
        for artifact in _of_type("artifact", records)
        for entry in artifact["manifest"].get("contents", ())
        if "local_path" in entry
    ]
    media = [
        (entry["path"], folder / "files" / entry["path"])
        for files in _of_type("files", records)
        for entry in files["files"]
    ]
    missing = [name for name, path in (*staged, *media) if not path.is_file()]
    return OfflineRun(folder, f"needs files that are gone: {', '.join(missing)}" if missing else "")


def write_outcome(comparison: Path, *, mode: str, run_id: str, url: str | None) -> None:
    """Note beside the run what became of it, for the last line of a command."""
    text = json.dumps({"mode": mode, "run_id": run_id, "url": url}) + "\n"
    (comparison / "wandb" / _OUTCOME).write_text(text, encoding="utf-8")


def last_line(comparisons: Sequence[Path], target: Path) -> str:
    """Where the runs of these comparisons are: the dashboard's address, or the command that uploads them.

    `target` is the folder that holds the comparisons, or the only comparison.
    """
    outcomes = [_outcome(each) for each in comparisons]
    waiting = sum(each.get("mode") != "online" for each in outcomes)
    if not waiting:
        return f"W&B: {dashboard([str(each['url']) for each in outcomes if each['url']])}"
    rebuild = "" if all(outcomes) else " --rebuild"
    n = len(outcomes)
    return f"W&B: {waiting} of {n} runs not uploaded; upload: saeuniv sync {target}{rebuild}"


def dashboard(urls: Sequence[str]) -> str:
    """The address of the run, or of the project that several are in."""
    if not urls:
        return "uploaded; wandb sync said no address"
    return urls[0] if len(set(urls)) == 1 else urls[0].partition("/runs/")[0]


def _outcome(comparison: Path) -> dict[str, object]:
    try:
        return json.loads((comparison / "wandb" / _OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _records(folder: Path) -> list[dict[str, Any]]:
    files = list(folder.glob("run-*.wandb"))
    if len(files) != 1:
        raise ValueError(f"expected one file run-<id>.wandb, found {len(files)}")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(files[0])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSPECT_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise ValueError(f"cannot be read ({done.stderr.strip()[-300:]})")
    return [cast(dict[str, Any], json.loads(line)) for line in done.stdout.splitlines()]


def _of_type(kind: str, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]
