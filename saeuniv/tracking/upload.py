"""Uploads by `wandb sync`, in a process of its own that can be given a time limit."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from saeuniv.tracking.directories import variables
from saeuniv.tracking.offline import is_uploaded

_AT_A_TIME = 8
_URL = re.compile(r"https?://[^\s'\"]+/runs/[\w-]+")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Upload(NamedTuple):
    """What became of an upload."""

    fault: str
    """Why it did not go well; empty where it did."""

    urls: dict[str, str]
    """Addresses of runs by their ids, as W&B said them."""


def upload(runs: Sequence[Path], *, folder: Path, timeout_seconds: float | None) -> Upload:
    """Upload runs, several at a time; what W&B says goes to `<folder>/wandb/sync.log`.

    W&B keeps its caches below `folder`. Never asks anything.
    """
    log = folder / "wandb" / "sync.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "-n", str(_AT_A_TIME), *map(str, runs)]
    fault = ""
    try:
        # A file, not a pipe: a child of the child that outlives it must not keep us waiting.
        with log.open("wb") as output:
            done = subprocess.run(
                command,
                env={**os.environ, **variables(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
            )
        if done.returncode:
            fault = f"exit status {done.returncode}, see {log}"
    except subprocess.TimeoutExpired:
        fault = f"no answer within {timeout_seconds:.0f} s, see {log}"
    said = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))
    urls = {url.rsplit("/", 1)[-1]: url for url in _URL.findall(said)}
    if not fault and (left := [run.name for run in runs if not is_uploaded(run)]):
        fault = f"not marked as uploaded: {', '.join(left)}; see {log}"
    return Upload(fault, urls)
