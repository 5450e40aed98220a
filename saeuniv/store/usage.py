"""How much the store holds, kind by kind, and how much room there is."""

import dataclasses
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from saeuniv.store.scan import KINDS, Item, scan

if TYPE_CHECKING:
    from rich.table import Table

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_THOUSAND = 1000


class Held(NamedTuple):
    """What the store holds of one kind."""

    kind: str
    """A kind of artifact, or damaged, jobs, submitit, checkpoints, temporary, other."""

    n: int
    """Artifacts (with all their shards), claims, log folders, ..."""

    bytes: int
    oldest: str | None
    """When the oldest was published or last changed, ISO 8601 in UTC; None where there are none."""

    newest: str | None


@dataclass(frozen=True)
class Usage:
    """What the store holds and the disk it is on."""

    root: str
    held: tuple[Held, ...]
    """Every kind, also those of which there is nothing."""

    bytes: int
    free_bytes: int
    """What is left for us on that disk; a quota may leave less."""

    disk_bytes: int


def usage(root: Path) -> Usage:
    """Count and weigh everything in the store; some seconds for 100,000 artifacts.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"store={root}: expected a store, found no folder. Choose another: store=...")
    by_kind: dict[str, list[Item]] = defaultdict(list)
    for item in scan(root):
        by_kind[item.kind].append(item)
    held = tuple(_held(kind, by_kind[kind]) for kind in KINDS)
    disk = shutil.disk_usage(root)
    return Usage(str(root), held, sum(each.bytes for each in held), disk.free, disk.total)


def usage_table(found: Usage) -> "Table":
    """The usage as a table for a terminal, one line a kind that there is."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"store {found.root}"),
        caption=f"{bytes_text(found.free_bytes)} of {bytes_text(found.disk_bytes)} on this disk are free.",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("kind")
    for header in ("number", "size", "oldest", "newest"):
        table.add_column(header, justify="right", no_wrap=True)
    for each in found.held:
        if each.n:
            times = (_day(each.oldest), _day(each.newest))
            table.add_row(each.kind, f"{each.n:,}", bytes_text(each.bytes), *times)
    table.add_section()
    table.add_row("all", f"{sum(each.n for each in found.held):,}", bytes_text(found.bytes), "", "")
    return table


def usage_json(found: Usage) -> dict[str, object]:
    """The usage as values for JSON: bytes, times in UTC."""
    held = {each.kind: {k: v for k, v in each._asdict().items() if k != "kind"} for each in found.held}
    return {**dataclasses.asdict(found), "held": held}


def bytes_text(size: int | float) -> str:
    """`1.2 GB`: three digits or so, in powers of a thousand as disks are sold."""
    for unit in _UNITS[:-1]:
        if round(size) < _THOUSAND:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= _THOUSAND
    return f"{size:.1f} {_UNITS[-1]}"


def _held(kind: str, items: list[Item]) -> Held:
    times = [item.created for item in items]
    return Held(
        kind,
        len(items),
        sum(item.bytes for item in items),
        _iso(min(times)) if times else None,
        _iso(max(times)) if times else None,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _day(iso: str | None) -> str:
    return "" if iso is None else iso[:10]
