"""One thing that was looked at, what was found, and what to do about it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

_SIGNS = {True: "[green]ok[/green]", False: "[red]wrong[/red]", None: "[yellow]note[/yellow]"}


class Check(NamedTuple):
    """What `saeuniv doctor` says of one thing."""

    name: str
    ok: bool | None
    """True: as it should be. False: something will fail. None: worth knowing, or not to be told."""

    said: str
    remedy: str
    """What to do; empty where there is nothing to be done."""


def checks_table(checks: Iterable[Check]) -> "Table":
    """Checks as a table for a terminal, remedies below what they are for."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in checks:
        said = escape(each.said) + (f"\n{escape(each.remedy)}" if each.remedy else "")
        table.add_row(_SIGNS[each.ok], escape(each.name), said)
    return table


def checks_json(checks: Iterable[Check]) -> list[dict[str, object]]:
    """Checks as values for JSON; `ok` is true, false, or null for what is merely worth knowing."""
    return [dict(each._asdict()) for each in checks]


def all_well(checks: Iterable[Check]) -> bool:
    """True unless something will fail."""
    return all(each.ok is not False for each in checks)
