"""What the layer pairs of one metric say together, for summary.json (docs/statistics.md H)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.metrics import Measurement
from saeuniv.numerics.grid import argmax_stability, draws_needed, mantel_diagonality, max_statistic
from saeuniv.stages.rows import PairScores

# Level of the false discovery rate and of the maximum, as for the rejections of the headline.
_LEVEL = 0.05

# With up to six layers all 720 orders are enumerated.
_LAYER_PERMUTATIONS = 999


class _Cell(NamedTuple):
    """One layer pair where the metric is defined, in direction `both`."""

    at: tuple[int, int]
    """its place among the layers of A and of B"""

    value: float
    null: Float[np.ndarray, " draws"]
    """draws of the primary null; none where they give no p"""

    bootstrap: Float[np.ndarray, " draws"]
    empty: tuple[str, str]
    """why there is no p, and why there is no interval"""


def grid_summaries(pairs: list[PairScores], *, confidence: float, seed: int) -> dict[str, object]:
    """`grid_summary` of every metric, by its name."""
    metrics = dict.fromkeys(pair.metric.name for pair in pairs)
    return {metric: grid_summary(pairs, metric, confidence=confidence, seed=seed) for metric in metrics}


def grid_summary(pairs: list[PairScores], metric: str, *, confidence: float, seed: int) -> dict[str, object]:
    """Max-statistic, diagonality, best cell and the draws that one rejection needs, of one metric.

    Over the layer pairs where the metric was computed and is defined, in direction `both`. Only numbers,
    texts, lists and None: what is undefined is None, and `reasons` says why. Matrices have a row a layer
    of A (`layers_a`) and a column a layer of B, None where a cell is no member.

    Args:
        pairs: stored scores of all metrics.
        metric: the metric's name.
        confidence: of the intervals and of the set of cells that may be the best.
        seed: of the layer permutations, where they are not enumerated.
    """
    chosen = [pair for pair in pairs if pair.metric.name == metric]
    layers_a = list(dict.fromkeys(pair.layer_a for pair in chosen))
    layers_b = list(dict.fromkeys(pair.layer_b for pair in chosen))
    cells = [
        _cell(each, pair.metric.primary_null, (layers_a.index(pair.layer_a), layers_b.index(pair.layer_b)))
        for pair in chosen
        for each in (pair.scores.measurements if pair.scores else ())
        if each.direction == "both" and each.value is not None
    ]
    tested = [cell for cell in cells if len(cell.null)]
    found: dict[str, dict[str, object] | str] = {
        "max_statistic": _max_statistic(tested, cells, (layers_a, layers_b), left_out=len(chosen)),
        "diagonality": _diagonality(cells, (layers_a, layers_b), seed=seed),
        "best_cell": _best_cell(cells, (layers_a, layers_b), confidence=confidence),
    }
    return {
        "layers_a": layers_a,
        "layers_b": layers_b,
        "null_draws": min((len(cell.null) for cell in tested), default=None),
        "draws_needed_bh": draws_needed(len(tested), _LEVEL, dependence="positive") if tested else None,
        "draws_needed_by": draws_needed(len(tested), _LEVEL, dependence="any") if tested else None,
        **{key: None if isinstance(each, str) else each for key, each in found.items()},
        "reasons": {key: each for key, each in found.items() if isinstance(each, str)},
    }


def _cell(measurement: Measurement, primary_null: str, at: tuple[int, int]) -> _Cell:
    assert measurement.value is not None
    empty = measurement.empty
    null = measurement.nulls.get(primary_null, np.empty(0))
    return _Cell(
        at,
        measurement.value,
        np.empty(0) if "p_value" in empty else null,
        measurement.bootstrap,
        (empty.get("p_value", "no_null"), empty.get("ci", "no_bootstrap")),
    )


def _max_statistic(
    tested: list[_Cell], cells: list[_Cell], layers: tuple[list[str], list[str]], *, left_out: int
) -> dict[str, object] | str:
    """The max-statistic over the tested cells, or why there is none."""
    if not tested:
        return cells[0].empty[0] if cells else "no_values"
    if len({len(cell.null) for cell in tested}) > 1:
        return "draws_differ"
    values, draws = np.array([cell.value for cell in tested]), np.column_stack([cell.null for cell in tested])
    found = max_statistic(values, draws, level=_LEVEL)
    return {
        "p_any": found.p_any,
        "cells": found.members,
        "left_out": left_out - found.members,
        "critical_z": found.critical,
        "rejected": int((found.p <= _LEVEL).sum()),
        "p": _matrix(tested, found.p, layers),
    }


def _diagonality(
    cells: list[_Cell], layers: tuple[list[str], list[str]], *, seed: int
) -> dict[str, object] | str:
    """The Mantel test over depth, or why there is none."""
    if min(map(len, layers)) < 2 or max(map(len, layers)) < 3:
        return "few_layers"
    values = np.full((len(layers[0]), len(layers[1])), np.nan)
    for cell in cells:
        values[cell.at] = cell.value
    if np.isnan(values).any():
        return "undefined_cells"
    depth_a, depth_b = map(_depths, layers)
    found = mantel_diagonality(values, depth_a, depth_b, draws=_LAYER_PERMUTATIONS, seed=seed)
    return "no_interaction" if found is None else found._asdict()


def _best_cell(
    cells: list[_Cell], layers: tuple[list[str], list[str]], *, confidence: float
) -> dict[str, object] | str:
    """Where the largest value is and how stable that is over documents, or why that is not known."""
    if len(cells) < 2:
        return "few_cells"
    if reason := next((cell.empty[1] for cell in cells if not len(cell.bootstrap)), ""):
        return reason
    if len({len(cell.bootstrap) for cell in cells}) > 1:
        return "draws_differ"
    values = np.array([cell.value for cell in cells])
    found = argmax_stability(
        values, np.column_stack([cell.bootstrap for cell in cells]), confidence=confidence
    )
    names = [[layers[0][i], layers[1][j]] for i, j in (cell.at for cell in cells)]
    return {
        "at": names[found.best],
        "share": float(found.shares[found.best]),
        "runner_up": names[found.runner_up],
        "difference": found.difference,
        "difference_ci_low": found.interval.low,
        "difference_ci_high": found.interval.high,
        "not_excluded": [name for name, kept in zip(names, found.not_excluded, strict=True) if kept],
        "shares": _matrix(cells, found.shares, layers),
    }


def _matrix(
    cells: list[_Cell], numbers: Float[np.ndarray, " cells"], layers: tuple[list[str], list[str]]
) -> list[list[float | None]]:
    matrix: list[list[float | None]] = [[None] * len(layers[1]) for _ in layers[0]]
    for cell, number in zip(cells, numbers.tolist(), strict=True):
        matrix[cell.at[0]][cell.at[1]] = number
    return matrix


def _depths(layers: list[str]) -> Float[np.ndarray, " layers"]:
    """Depth from 0, the lowest layer compared, to 1, the highest; the mean of layers read as one (`3+4`)."""
    numbers = np.array([np.mean([float(each) for each in layer.split("+")]) for layer in layers])
    return (numbers - numbers.min()) / (np.ptp(numbers) or 1.0)
