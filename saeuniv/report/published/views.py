"""Results beside published ones as people and programs read them: a table, Markdown, CSV."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from saeuniv.report.numbers import number, p_value
from saeuniv.report.published.beside import Entry, Reproduction, first_line
from saeuniv.report.published.measures import SAME_SIDE, Measure, measures_of
from saeuniv.report.published.tables import published_tables

_COLUMNS = (
    "comparison",
    "quantity",
    "metric",
    "layer_a",
    "layer_b",
    "ours",
    "theirs",
    "difference",
    "tolerance",
    "rule",
    "within",
    "own_p",
    "reason",
)
_JUDGED = {True: "yes", False: "no", None: ""}
OUTSIDE = "!"
KEY = (
    f"Each entry: ours, published, {OUTSIDE} where they are further apart than the tolerance in the header. "
    "Of p: (1+k)/(R+1) as everywhere here, k/R as published, and the published k/R; the last two are judged."
)
"""How to read the entries of a part."""


class Part(NamedTuple):
    """One published comparison as a table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Of each layer pair, in the order of the header."""

    notes: tuple[str, ...]


def published_parts(found: Sequence[Reproduction]) -> tuple[Part, ...]:
    """A table for each published comparison: layer pairs down, quantities across."""
    return tuple(_part(each) for each in found)


def published_table(part: Part) -> Table:
    """The part for a terminal, with what its entries mean below it."""
    table = Table(
        title=escape(f"{part.title}, beside what was published"),
        caption=escape("\n".join((KEY, *part.notes))),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for place, header in enumerate(part.header):
        # In words, where a narrow terminal may break it.
        table.add_column(escape(header.replace("_", " ")), justify="right" if place else "left")
    for cells in part.rows:
        table.add_row(*map(escape, cells))
    return table


def published_csv(found: Sequence[Reproduction]) -> str:
    """A row for each published value; equal results give equal bytes, and what is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_fields(entry) for each in found for entry in each.entries)
    return text.getvalue()


def published_markdown(found: Sequence[Reproduction]) -> str:
    """The same for people: how many are within tolerance in the first line, then a table a comparison."""
    lines = [first_line(found), "", f"Published: {published_tables().source} {KEY}", ""]
    for part in published_parts(found):
        lines += [f"## {part.title}", "", *(f"* {note}" for note in part.notes), ""]
        lines += [_row(part.header), _row(["---"] * len(part.header))]
        lines += [*map(_row, part.rows), ""]
    return "\n".join(lines)


def _part(one: Reproduction) -> Part:
    by_place = {(e.layer_a, e.layer_b, e.measure.quantity): e for e in one.entries}
    found = {entry.measure.quantity for entry in one.entries}
    measures = [each for each in measures_of(one.comparison.category) if each.quantity in found]
    pairs = sorted({place[:2] for place in by_place})
    return Part(
        one.comparison.title,
        ("A-B", *(f"{each.quantity} ({each.bound})" for each in measures)),
        tuple(
            (f"{a}-{b}", *(_cell(by_place.get((a, b, each.quantity))) for each in measures))
            for a, b in pairs
            if any(e.is_asked for q in measures if (e := by_place.get((a, b, q.quantity))))
        ),
        one.notes,
    )


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    theirs, mark = _number(entry.measure, entry.theirs), f" {OUTSIDE}" if entry.within is False else ""
    if entry.ours is None:
        return f"- ({entry.reason.replace('_', ' ')}), {theirs}{mark}"
    own = "" if entry.own_p is None else f"{p_value(entry.own_p)}, "
    return f"{own}{_number(entry.measure, entry.ours)}, {theirs}{mark}"


def _number(measure: Measure, value: float) -> str:
    if measure.column == "n_matches":
        return str(int(value))
    return number(value, 2 if measure.rule == SAME_SIDE else 3)


def _fields(entry: Entry) -> tuple[object, ...]:
    measure = entry.measure
    difference = entry.difference
    return (
        *(entry.comparison, measure.quantity, entry.metric, entry.layer_a, entry.layer_b),
        *("" if each is None else repr(float(each)) for each in (entry.ours, entry.theirs)),
        "" if difference is None else f"{difference:.6g}",
        "" if measure.tolerance is None else repr(measure.tolerance),
        measure.rule if measure.is_judged else "",
        _JUDGED[entry.within],
        "" if entry.own_p is None else repr(float(entry.own_p)),
        entry.reason,
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
