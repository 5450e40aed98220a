"""Curves of one metric: along depth, from layer to layer, and against the number of tokens."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.layer_paths import NO_LAYER, best_layers, monotone_path
from saeuniv.report.layer_pairs import equal_depth
from saeuniv.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, told apart by most kinds of colour vision.
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#7f7f7f"
_COLOURS = (_BLUE, _ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Point(NamedTuple):
    """What one comparison says at one number of tokens."""

    n_tokens: int
    value: float
    null: float | None


def depth_curve(results: Results, metric: str) -> "Figure":
    """The value at each layer of A: at the best layer of B, and where there is one at the equal layer.

    With intervals at equal layers, the null mean and the untrained control of the same layer pairs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    matrix = results.matrix(metric)
    best = best_layers(matrix)
    rows = np.flatnonzero(best != NO_LAYER)
    axes.plot(rows, matrix[rows, best[rows]], color=_ORANGE, marker="o", ms=3, label="best layer of B")
    _equal_layers(axes, results, metric)
    for statistic, label, style in (("null", "null mean", ":"), ("control", "untrained control", "--")):
        other = results.matrix(metric, statistic)
        line = np.array(
            [other[row, best[row]] if best[row] != NO_LAYER else np.nan for row in range(len(best))]
        )
        if not np.isnan(line).all():
            axes.plot(line, color=_GREY, linestyle=style, label=f"{label}, best layer of B")
    _label(axes, results, metric)
    axes.set_xlabel("layer of A")
    axes.set_ylabel(metric.replace("_", " "))
    axes.set_xticks(range(0, len(best), _every(len(best))), labels=results.layers_a[:: _every(len(best))])
    axes.legend(frameon=False, fontsize=7)
    return figure


def _equal_layers(axes: "Axes", results: Results, metric: str) -> None:
    found = [
        (results.layers_a.index(pair.layer_a), row.value, row.ci_low, row.ci_high)
        for pair in equal_depth(results, metric)
        if (row := results.row(metric, *pair)) and row.value is not None
    ]
    if not found:
        return
    at = [place for place, *_ in found]
    axes.plot(at, [value for _, value, *_ in found], color=_BLUE, marker="s", ms=3, label="equal layer of B")
    spans = [(place, low, high) for place, _, low, high in found if low is not None and high is not None]
    axes.vlines(
        [p for p, *_ in spans], [low for _, low, _ in spans], [high for *_, high in spans], color=_BLUE, lw=1
    )


def layer_path(results: Results, metric: str) -> "Figure":
    """The best layer of B for each layer of A, and the best path that never goes back, on the heatmap."""
    from matplotlib.figure import Figure

    matrix = results.matrix(metric)
    n_a, n_b = matrix.shape
    figure = Figure(figsize=(max(3.4, 0.16 * n_b + 1.6), max(3.0, 0.16 * n_a + 1.2)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="cividis", interpolation="nearest", origin="upper", aspect="auto")
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    _scatter(axes, best_layers(matrix))
    path = _path(matrix)
    rows = np.flatnonzero(path != NO_LAYER)
    if len(rows):
        axes.plot(path[rows], rows, color=_ORANGE, lw=1.6, label="best path that never goes back")
    _label(axes, results, metric)
    axes.set_xlabel("layer of B")
    axes.set_ylabel("layer of A")
    for axis, layers in ((axes.xaxis, results.layers_b), (axes.yaxis, results.layers_a)):
        every = _every(len(layers))
        axis.set_ticks(range(0, len(layers), every), labels=layers[::every])
    figure.legend(loc="outside lower center", frameon=False, fontsize=7, ncols=2)
    return figure


def _scatter(axes: "Axes", best: Int[np.ndarray, " layers_a"]) -> None:
    rows = np.flatnonzero(best != NO_LAYER)
    axes.scatter(
        best[rows], rows, s=18, facecolor="white", edgecolor="black", zorder=3, label="best layer of B"
    )


def _path(matrix: Float[np.ndarray, "layers_a layers_b"]) -> Int[np.ndarray, " layers_a"]:
    try:
        return monotone_path(matrix)
    except ValueError:  # Holes leave none: the best layers are shown alone.
        return np.full(len(matrix), NO_LAYER)


def against_tokens(points: Mapping[str, Sequence[Point]], metric: str) -> "Figure":
    """The mean over layer pairs against the number of tokens, a curve for each label of `points`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (label, found) in enumerate(points.items()):
        colour, ordered = _COLOURS[place % len(_COLOURS)], sorted(found)
        axes.plot(
            [p.n_tokens for p in ordered],
            [p.value for p in ordered],
            color=colour,
            marker="o",
            ms=3,
            label=label,
        )
        nulls = [(p.n_tokens, p.null) for p in ordered if p.null is not None]
        axes.plot([n for n, _ in nulls], [null for _, null in nulls], color=colour, linestyle=":", lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("tokens (rows of the comparison); dotted: null mean")
    axes.set_ylabel(f"{metric.replace('_', ' ')}, mean over layer pairs")
    axes.legend(frameon=False, fontsize=7)
    return figure


def _label(axes: "Axes", results: Results, metric: str) -> None:
    row = next(row for row in results.rows if row.metric == metric)
    axes.set_title(f"{metric.replace('_', ' ')}: {row.model_a} (A) and {row.model_b} (B)", fontsize=9)


def _every(n_layers: int) -> int:
    return 1 if n_layers <= 16 else 5
