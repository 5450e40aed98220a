"""Which layer pairs a reader is shown when there is no room for the grid."""

from typing import NamedTuple

from saeuniv.results import Results, Row


class LayerPair(NamedTuple):
    """A layer of A and a layer of B, as in layer_pairs.csv."""

    layer_a: str
    layer_b: str

    def __str__(self) -> str:
        return self.layer_a if self.layer_a == self.layer_b else f"{self.layer_a}, {self.layer_b}"

    @property
    def beyond_first(self) -> bool:
        """Whether both layers come after layer 0, where models still are close to their embeddings."""
        return all(int(layer.split("+")[0]) >= 1 for layer in self)


def equal_depth(results: Results, metric: str) -> tuple[LayerPair, ...]:
    """The layer pairs of equal number that were computed, in order of depth."""
    if metric not in results.metrics:
        return ()
    pairs = (LayerPair(layer, layer) for layer in results.layers_a if layer in results.layers_b)
    return tuple(pair for pair in pairs if results.row(metric, *pair) is not None)


def shown(results: Results, metric: str) -> tuple[LayerPair, ...]:
    """The layer pairs of equal number; where there are none, the best layer of B for each layer of A."""
    equal = equal_depth(results, metric)
    if equal or metric not in results.metrics:
        return equal
    out: list[LayerPair] = []
    for layer_a in results.layers_a:
        pairs = [LayerPair(layer_a, layer_b) for layer_b in results.layers_b]
        values = {pair: row.value for pair in pairs if (row := results.row(metric, *pair)) is not None}
        defined = {pair: value for pair, value in values.items() if value is not None}
        out += [max(defined, key=lambda pair: defined[pair])] if defined else []
    return tuple(out)


def row_at(results: Results | None, metric: str, pair: LayerPair) -> Row | None:
    """The row of both directions; None without results, without the metric or without the pair."""
    if results is None or metric not in results.metrics:
        return None
    return results.row(metric, *pair)
