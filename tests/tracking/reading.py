"""Records of an offline run, read by W&B's own reader."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def records(folder: Path) -> dict[str, list[dict]]:
    """The records in the run's file by kind, in their order; one process, which takes a second."""
    (file,) = folder.glob("run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = defaultdict(list)
    for each in map(json.loads, done.stdout.splitlines()):
        found[each["type"]].append(each[each["type"]])
    return found
