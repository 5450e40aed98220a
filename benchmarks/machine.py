"""Where and from what numbers were measured."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# What a run's numbers are made from; other files may differ from the commit without changing them.
_SOURCES = ("saeuniv", "hydra_plugins", "conf", "launch.py", "pyproject.toml")
_NUMBERS = ("cpu family", "model")


class Machine(NamedTuple):
    """The facts that numbers stand beside."""

    cpu: str
    cores: int
    """That this process may use."""

    load: float
    """Over one minute, now."""

    python: str
    torch: str
    commit: str
    """Of this checkout, and whether its sources differ from it."""

    def lines(self) -> tuple[str, ...]:
        """One fact a line."""
        return (
            f"CPU     {self.cpu}, {self.cores} cores, load average {self.load:.2f}",
            f"Python  {self.python}, torch {self.torch}",
            f"commit  {self.commit}",
        )


def machine() -> Machine:
    """This machine, Python and checkout."""
    return Machine(
        cpu=_cpu(),
        cores=_cores(),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        torch=version("torch"),
        commit=_commit(),
    )


def corpus_sha256() -> str:
    """The hash of the embedded corpus as this Python gives it."""
    from saeuniv.adapters.corpus import read_corpus
    from saeuniv.config import StdlibData

    return read_corpus(StdlibData()).sha256


def _cores() -> int:
    # macOS cannot tell which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """The processor's name; virtual machines give many processors one name, so family and model follow."""
    path = Path("/proc/cpuinfo")
    pairs = (
        [line.split(":", 1) for line in path.read_text().splitlines() if ":" in line]
        if path.is_file()
        else []
    )
    # Of the first core: later ones must not overwrite it.
    facts = {key.strip(): value.strip() for key, value in reversed(pairs)}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    number = ", ".join(f"{key.removeprefix('cpu ')} {facts[key]}" for key in _NUMBERS if key in facts)
    return f"{facts['model name']}, {number}" if number else facts["model name"]


def _commit() -> str:
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return f"{head} with uncommitted changes" if _git("status", "--porcelain", "--", *_SOURCES) else head


def _git(*argv: str) -> str:
    try:
        done = subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
