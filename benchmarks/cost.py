"""The cost of a command: wall and CPU time of its whole process tree, and the largest process in it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Linux counts ru_maxrss in KiB, macOS in bytes.
_RSS_UNIT = 1 if os.uname().sysname == "Darwin" else 1024
_QUOTED_LINES = 20


class Cost(NamedTuple):
    """What one command took."""

    wall_s: float
    cpu_s: float
    """User and system time of the process and of all descendants that were waited for."""

    peak_bytes: int
    """Resident memory of the largest single process among them."""

    load: float
    """Load average over a minute when the command began: wall times are honest only where it is low."""

    def __str__(self) -> str:
        return (
            f"{self.wall_s:.1f} s wall, {self.cpu_s:.1f} CPU-s, {self.peak_bytes / 2**30:.2f} GiB peak a "
            f"process (load average {self.load:.2f} before)"
        )


class Measured(NamedTuple):
    """A finished command."""

    cost: Cost
    stdout: str
    stderr: str


def measure(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], limit_s: float = 900.0) -> Measured:
    """Run a command to its end and return its cost and output.

    The process is waited for with wait4, whose usage covers exactly this command's tree, whatever else
    this process has run before. Output goes to files, so that a chatty command is never held up.

    Raises:
        RuntimeError: the command failed, or was ended after `limit_s`; with the end of its stderr.
    """
    load = os.getloadavg()[0]
    out, err = cwd / ".stdout", cwd / ".stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env), stdout=stdout, stderr=stderr, start_new_session=True
        )
        guard = threading.Timer(limit_s, os.killpg, (process.pid, signal.SIGKILL))
        guard.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            guard.cancel()
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    out.unlink()
    err.unlink()
    if process.returncode:
        end = "\n".join(texts[1].splitlines()[-_QUOTED_LINES:])
        raise RuntimeError(f"{' '.join(command)}: expected exit code 0, got {process.returncode}.\n{end}")
    cost = Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT, load)
    return Measured(cost, *texts)
