"""Categories of words beside random latents and random words: means over the layer pairs of a comparison."""

from collections.abc import Iterable
from typing import NamedTuple

from rich import box
from rich.table import Table

from saeuniv.report.numbers import number
from saeuniv.results import Results, Row

PREFIX = "semantic_"
_LATENTS, _WORDS = "random_subspace", "random_words"
_LEVEL = 0.05
CAPTION = (
    "Means over the layer pairs where the category has enough latents on both sides. Random latents are as "
    "many and as often active; random words as many and as frequent, their latents found and paired by the "
    f"same procedure. q < {_LEVEL:g} against random latents, over all categories and layer pairs; "
    f"p < {_LEVEL:g} against random words is not corrected."
)


class Category(NamedTuple):
    """One metric of one category of words."""

    metric: str
    layer_pairs: int
    """Where it is defined, of `asked`."""

    asked: int
    pairs: float
    """Matched latents, mean."""

    value: float
    latents: float | None
    """Mean over random latents."""

    words: float | None
    """Mean over random words."""

    above_latents: int
    """Layer pairs with q below .05."""

    above_words: int
    """Layer pairs with p of random words below .05."""


def categories_of(results: Results) -> tuple[Category, ...]:
    """The categories that are anywhere defined, in the order of the metrics."""
    found = (_category(results, metric) for metric in results.metrics if metric.startswith(PREFIX))
    return tuple(each for each in found if each)


def semantic_table(results: Results) -> Table:
    """A row for each metric of each category."""
    table = Table(
        title="categories of words, beside random latents and random words",
        caption=CAPTION,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("metric", no_wrap=True)
    heads = ("layer pairs", "matches", "mean", "random latents", "q < .05", "random words", "p < .05")
    for head in heads:
        table.add_column(head, justify="right")
    for each in categories_of(results):
        table.add_row(
            each.metric.removeprefix(PREFIX).replace("_", " "),
            f"{each.layer_pairs} of {each.asked}",
            f"{each.pairs:.0f}",
            number(each.value),
            "-" if each.latents is None else number(each.latents),
            str(each.above_latents),
            "-" if each.words is None else number(each.words),
            str(each.above_words),
        )
    return table


def _category(results: Results, metric: str) -> Category | None:
    rows = [row for row in results.rows if row.metric == metric and row.direction == "both"]
    defined = [row for row in rows if row.value is not None]
    if not defined:
        return None
    of_words = [
        each
        for each in results.null_rows
        if (each.metric, each.direction, each.null) == (metric, "both", _WORDS) and each.p_value is not None
    ]
    latents = [row.null_mean for row in defined if row.null == _LATENTS]
    return Category(
        metric,
        len(defined),
        len(rows),
        _mean(row.n_matches for row in defined) or 0.0,
        _mean(row.value for row in defined) or 0.0,
        _mean(latents),
        _mean(each.mean for each in of_words),
        sum(_is_below(row) for row in defined),
        sum(each.p_value is not None and each.p_value < _LEVEL for each in of_words),
    )


def _is_below(row: Row) -> bool:
    return row.q_value is not None and row.q_value < _LEVEL


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
