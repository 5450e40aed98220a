"""One part of the report."""

from typing import NamedTuple

from rich.console import RenderableType


class Section(NamedTuple):
    """What a benchmark found."""

    title: str
    body: tuple[RenderableType, ...]
    faults: tuple[str, ...] = ()
    """Bounds that do not hold, as sentences; any makes the command exit with 1."""
