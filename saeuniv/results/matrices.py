"""The results of one comparison, and its layer-pair matrices as views of the rows."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from jaxtyping import Float, Int8, Shaped

from saeuniv.results.rows import DIRECTIONS, REASONS, NullRow, Row

# Names of matrices in matrices.npz: `<metric>` + these, and the column of layer_pairs.csv each one shows.
_STATISTICS = {
    "null": "null_mean",
    "excess": "excess",
    "control": "control",
    "calibrated": "calibrated",
    "p": "p_value",
    "q": "q_value",
}
_DIRECTED = {"ab": "a_to_b", "ba": "b_to_a"}
_FLOAT_COLUMNS = tuple(f.name for f in dataclasses.fields(Row) if float in get_args(f.type))


@dataclass(frozen=True)
class Results:
    """Everything one comparison found, as read from or written to its results folder.

    Raises:
        ValueError: for a row of a layer that is not listed, or two rows of one layer pair, metric and
            direction.
    """

    rows: tuple[Row, ...]
    null_rows: tuple[NullRow, ...]
    layers_a: tuple[str, ...]
    """Rows of every matrix, in order of depth."""
    layers_b: tuple[str, ...]
    """Columns of every matrix."""
    summary: Mapping[str, object]
    """summary.json: headline numbers, reason codes, undefined counts, seconds and bytes by stage."""
    config: str
    """config.yaml, which replays the comparison."""

    def __post_init__(self) -> None:
        seen: set[tuple[str, ...]] = set()
        for row in self.rows:
            key = (row.layer_a, row.layer_b, row.metric, row.direction)
            if row.layer_a not in self.layers_a or row.layer_b not in self.layers_b:
                raise ValueError(
                    f"row {key}: expected a layer pair of layers_a={list(self.layers_a)} and "
                    f"layers_b={list(self.layers_b)}. List the layer or drop the row."
                )
            if key in seen:
                raise ValueError(
                    f"row {key}: expected one row per layer pair, metric and direction, got two."
                )
            seen.add(key)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of their rows."""
        return tuple(dict.fromkeys(row.metric for row in self.rows))

    def row(self, metric: str, layer_a: str, layer_b: str, direction: str = "both") -> Row | None:
        """The row of one layer pair; None where that pair was not asked for.

        Raises:
            ValueError: for an unknown metric or direction.
        """
        return self._grid(metric, direction).get((layer_a, layer_b))

    def matrix(
        self, metric: str, statistic: str = "value", direction: str = "both"
    ) -> Float[np.ndarray, "layers_a layers_b"]:
        """One number per layer pair; NaN where it is undefined (`reasons` says why).

        `statistic` is value, null, excess, control, calibrated, p, q or any other real-valued column of
        layer_pairs.csv (ci_low, fvu_a, ...).

        Raises:
            ValueError: for an unknown metric, statistic or direction.
        """
        column = _STATISTICS.get(statistic, statistic)
        if column not in _FLOAT_COLUMNS:
            raise _unknown("statistic", statistic, ("value", *_STATISTICS, *_FLOAT_COLUMNS))
        out = np.full((len(self.layers_a), len(self.layers_b)), np.nan)
        for (layer_a, layer_b), row in self._grid(metric, direction).items():
            number = getattr(row, column)
            if number is not None:
                out[self.layers_a.index(layer_a), self.layers_b.index(layer_b)] = number
        return out

    def reasons(self, metric: str) -> Int8[np.ndarray, "layers_a layers_b"]:
        """Why `matrix(metric)` is NaN, as indices into `REASONS`: 0 exactly where it is defined.

        Layer pairs without a row were not requested.
        """
        out = np.full((len(self.layers_a), len(self.layers_b)), REASONS.index("not_requested"), np.int8)
        for (layer_a, layer_b), row in self._grid(metric, "both").items():
            code = REASONS.index(row.value_reason)
            out[self.layers_a.index(layer_a), self.layers_b.index(layer_b)] = code
        return out

    def arrays(self) -> dict[str, Shaped[np.ndarray, "layers_a layers_b"]]:
        """Every matrix by its name in matrices.npz.

        `<metric>` with `__null`, `__excess`, `__control`, `__calibrated`, `__p`, `__q`, `__reason`, and
        `__ab`, `__ba` for the metrics that have directed rows. NaN in `<metric>` exactly where
        `<metric>__reason` is not 0; the other statistics may be undefined where the value is not (the
        `reason` column says why).
        """
        out: dict[str, Shaped[np.ndarray, "layers_a layers_b"]] = {}
        for metric in self.metrics:
            out[metric] = self.matrix(metric)
            for suffix, direction in _DIRECTED.items():
                if self._grid(metric, direction):
                    out[f"{metric}__{suffix}"] = self.matrix(metric, direction=direction)
            for suffix in _STATISTICS:
                out[f"{metric}__{suffix}"] = self.matrix(metric, suffix)
            out[f"{metric}__reason"] = self.reasons(metric)
        return out

    @cached_property
    def _grids(self) -> dict[tuple[str, str], dict[tuple[str, str], Row]]:
        out: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
        for row in self.rows:
            out.setdefault((row.metric, row.direction), {})[row.layer_a, row.layer_b] = row
        return out

    def _grid(self, metric: str, direction: str) -> dict[tuple[str, str], Row]:
        if metric not in self.metrics:
            raise _unknown("metric", metric, self.metrics)
        if direction not in DIRECTIONS:
            raise _unknown("direction", direction, DIRECTIONS)
        return self._grids.get((metric, direction), {})


def _unknown(what: str, name: str, choices: tuple[str, ...]) -> ValueError:
    choices = tuple(dict.fromkeys(choices))
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return ValueError(f"{what}={name!r} is not among these results.{hint} Choose from: {', '.join(choices)}.")
