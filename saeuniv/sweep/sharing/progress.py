"""How far a long copy is: a bar on a terminal, one plain line every 30 s elsewhere."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from saeuniv.store.usage import bytes_text
from saeuniv.sweep.sharing.pieces import Copied

_PLAIN_EVERY_SECONDS = 30.0


@contextmanager
def progress(what: str, total: int) -> Generator[Copied]:
    """A function that is told of bytes, and shows on stderr how many of `total` are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        bar = shown.add_task(what, total=total)
        yield lambda n_bytes: shown.advance(bar, n_bytes)


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._next = time.monotonic() + _PLAIN_EVERY_SECONDS

    def __call__(self, n_bytes: int) -> None:
        self._done += n_bytes
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY_SECONDS
            sys.stderr.write(f"{self._what}: {bytes_text(self._done)} of {bytes_text(self._total)}\n")
