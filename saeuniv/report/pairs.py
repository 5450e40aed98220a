"""Many comparisons side by side: what holds over pairs of models, not of one pair."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from saeuniv.report.layer_pairs import equal_depth, row_at
from saeuniv.report.meaning import HEADLINE, MIXED, TRAINED, UNTRAINED, training
from saeuniv.report.numbers import listed, number
from saeuniv.results import Results


def are_pairs(comparisons: Sequence[Results]) -> bool:
    """Whether there are several pairs of trained models to hold side by side."""
    return len(_of(comparisons, TRAINED)) > 1


def pairs_table(comparisons: Sequence[Results]) -> Table:
    """The headline metric at layer pairs of equal number, a row a comparison, trained pairs first."""
    layers = _layers(comparisons)
    table = Table(title="given token, layer pairs of equal number", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("pair")
    table.add_column("models")
    for layer in layers:
        table.add_column(layer, justify="right")
    for kind in (TRAINED, UNTRAINED, MIXED):
        for each in _of(comparisons, kind):
            values = [_value(each, layer) for layer in layers]
            cells = ["-" if value is None else number(value, 3) for value in values]
            table.add_row(kind, f"{each.rows[0].model_a} and {each.rows[0].model_b}", *cells)
        table.add_section()
    return table


def pairs_line(comparisons: Sequence[Results]) -> str:
    """Whether the lowest trained pair lies above the highest untrained pair, layer by layer.

    A claim needs at least two pairs of each (docs/statistics.md F); pairs that share a model are not
    independent replicates, and the sentence says so.
    """
    trained, untrained = _of(comparisons, TRAINED), _of(comparisons, UNTRAINED)
    if len(trained) < 2 or len(untrained) < 2:
        return (
            f"{len(trained)} trained and {len(untrained)} untrained pairs: at least two of each are needed "
            f"to say more than each comparison says alone."
        )
    above: list[str] = []
    for layer in _layers([*trained, *untrained]):
        low = [value for each in trained if (value := _value(each, layer)) is not None]
        high = [value for each in untrained if (value := _value(each, layer)) is not None]
        if len(low) == len(trained) and len(high) == len(untrained) and min(low) > max(high):
            above.append(f"{layer} ({number(min(low), 3)} against {number(max(high), 3)})")
    where = f"layers {listed(above)}" if above else "no layer"
    return (
        f"Given the current token, the lowest of {len(trained)} trained pairs lies above the highest of "
        f"{len(untrained)} untrained pairs at {where}. Pairs that share a model are not independent."
    )


def _of(comparisons: Sequence[Results], kind: str) -> list[Results]:
    """The comparisons of a kind, one a pair of models: neither order nor alignment enter the headline."""
    chosen: dict[frozenset[str], Results] = {}
    for each in comparisons:
        if HEADLINE in each.metrics and training(each) == kind:
            chosen.setdefault(frozenset((each.rows[0].model_a, each.rows[0].model_b)), each)
    return list(chosen.values())


def _layers(comparisons: Sequence[Results]) -> list[str]:
    found = dict.fromkeys(pair.layer_a for each in comparisons for pair in equal_depth(each, HEADLINE))
    return sorted(found, key=lambda layer: [int(part) for part in layer.split("+")])


def _value(results: Results, layer: str) -> float | None:
    pair = next((pair for pair in equal_depth(results, HEADLINE) if pair.layer_a == layer), None)
    row = row_at(results, HEADLINE, pair) if pair else None
    return row.value if row else None
