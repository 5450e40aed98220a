"""Heatmaps of every metric: value, untrained control, value minus null mean and significance, side by side.

Sequential colours are cividis, shared by value and control; the difference to the null is RdBu, centred on
0 and symmetric. Undefined entries are hatched grey, never 0. Layer 0 is at the top left; A has the rows.
matplotlib is imported inside, without pyplot, so that drawing leaves no state behind.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float

from saeuniv.report.drawing import save, style
from saeuniv.report.numbers import number
from saeuniv.results import CONTROL_NOT_COMPUTED, NOT_COMPUTED, REASONS, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Larger grids show structure, not numbers: at 12 columns a number still has 7 points.
_MOST_ANNOTATED = 16
_TICK_EVERY = 5
_WIDE = 1.5
_MOST_BESIDE = 3
_TITLE_CHARACTERS_PER_INCH = 11.5
_SIGNIFICANT_Q = 0.05
_HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "++++", "oo")
_CONTROL = "untrained control"
_GREY, _HATCH_GREY = "#d9d9d9", "#8a8a8a"


class Panel(NamedTuple):
    """One heatmap of a figure."""

    title: str
    matrix: Float[np.ndarray, "layers_a layers_b"]
    colours: str
    """Name of the colour map."""
    low: float
    high: float
    missing: str
    """What is missing where this is undefined and the value is not."""


def heatmaps(results: Results, folder: Path) -> None:
    """Draws `heatmap_<metric>.png` of every metric into the folder; equal results give equal bytes.

    Panels: the value (a dot marks q <= 0.05), the untrained control where there is one, and where there
    is a null the value minus its mean and the significance, -log10 q.

    Raises:
        OSError: where the folder cannot be written.
    """
    with style():
        for metric in results.metrics:
            save(heatmap(results, metric), folder, f"heatmap_{metric}", ("png",))


def panels(results: Results, metric: str) -> tuple[Panel, ...]:
    """What is drawn of one metric; value and control share their colours."""
    value, control = results.matrix(metric), results.matrix(metric, "control")
    low, high = _range(value, control)
    out = [Panel("value", value, "cividis", low, high, "value")]
    if not np.isnan(control).all():
        out.append(Panel(_CONTROL, control, "cividis", low, high, _CONTROL))
    excess = results.matrix(metric, "excess")
    if not np.isnan(excess).all():
        most = float(np.nanmax(np.abs(excess))) or 1.0
        out.append(Panel("value minus null mean", excess, "RdBu_r", -most, most, "no null"))
    q = results.matrix(metric, "q")
    if not np.isnan(q).all():
        # Of p-values by the +1 rule, which are never 0; 2 at least, so that noise does not look significant.
        significance = -np.log10(q)
        most = max(2.0, float(np.nanmax(significance)))
        out.append(Panel("significance: -log10 q", significance, "cividis", 0.0, most, "no q-value"))
    return tuple(out)


def text_colour(rgb: Sequence[float]) -> str:
    """Black or white, whichever has the larger contrast on this colour (WCAG 2 relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def _range(*matrices: Float[np.ndarray, "layers_a layers_b"]) -> tuple[float, float]:
    numbers = np.concatenate([m[~np.isnan(m)] for m in matrices])
    if not numbers.size:
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    # A flat matrix still needs a scale of some width.
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def heatmap(results: Results, metric: str) -> "Figure":
    """The figure of one metric, as `heatmaps` draws it.

    Raises:
        ValueError: an unknown metric.
    """
    with style():
        return _draw(results, metric)


def _draw(results: Results, metric: str) -> "Figure":
    from matplotlib.figure import Figure

    shown = panels(results, metric)
    n_a, n_b = len(results.layers_a), len(results.layers_b)
    annotated = max(n_a, n_b) <= _MOST_ANNOTATED
    cell = 0.36 if annotated else 0.11
    width, height = max(n_b * cell, 1.9) + 1.3, max(n_a * cell, 1.6) + 0.8
    # Wide grids one below the other, others side by side, four in two rows; room for title and legend.
    down = len(shown) if n_b > _WIDE * n_a else 1 + (len(shown) > _MOST_BESIDE)
    across = -(-len(shown) // down)
    figure = Figure(figsize=(max(across * width, 6.0), down * height + 1.6), layout="constrained")
    all_axes = list(figure.subplots(down, across, squeeze=False).flat)
    legend: dict[str, str] = {}
    for axes, panel in zip(all_axes, shown, strict=True):
        image = _image(axes, panel, results)
        bar = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
        figure.colorbar(image, cax=bar)
        bar.tick_params(labelsize=7, length=2)
        if annotated:
            _annotate(axes, panel)
        for reason, where in _undefined(results, metric, panel):
            legend.setdefault(reason, _HATCHES[len(legend) % len(_HATCHES)])
            _hatch(axes, where, legend[reason])
    significant = results.matrix(metric, "q") <= _SIGNIFICANT_Q
    _dots(all_axes[0], shown[0], significant, annotated=annotated)
    figure.suptitle(_wrapped(_title(results, metric), figure.get_figwidth()), fontsize=10)
    _legend(figure, legend, dots=bool(significant.any()))
    return figure


def _image(axes: "Axes", panel: Panel, results: Results) -> "AxesImage":
    image = axes.imshow(
        panel.matrix,
        cmap=panel.colours,
        vmin=panel.low,
        vmax=panel.high,
        interpolation="nearest",
        aspect="equal",
        origin="upper",
    )
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel("layer of B", fontsize=8)
    axes.set_ylabel("layer of A", fontsize=8)
    for axis, layers in ((axes.xaxis, results.layers_b), (axes.yaxis, results.layers_a)):
        every = 1 if len(layers) <= _MOST_ANNOTATED else _TICK_EVERY
        axis.set_ticks(range(0, len(layers), every), labels=layers[::every])
        axis.set_tick_params(length=2, labelsize=7)
    return image


def _annotate(axes: "Axes", panel: Panel) -> None:
    for (i, j), entry in np.ndenumerate(panel.matrix):
        if not np.isnan(entry):
            colour = _colour_on(panel, float(entry))
            shown = axes.text(j, i, number(float(entry)), ha="center", va="center", color=colour, fontsize=7)
            # It lies within the axes, and measuring hundreds takes longer than drawing them.
            shown.set_in_layout(False)


def _undefined(
    results: Results, metric: str, panel: Panel
) -> Iterator[tuple[str, Bool[np.ndarray, "layers_a layers_b"]]]:
    """The undefined entries of a panel by reason: the value's own, else that this statistic has none."""
    undefined, reasons = np.isnan(panel.matrix), results.reasons(metric)
    if panel.title == _CONTROL:
        for i, layer_a in enumerate(results.layers_a):
            for j, layer_b in enumerate(results.layers_b):
                row = results.row(metric, layer_a, layer_b)
                if row and CONTROL_NOT_COMPUTED in row.flags.split(";"):
                    reasons[i, j] = REASONS.index(NOT_COMPUTED)
    for code in np.unique(reasons[undefined]):
        where = undefined & (reasons == code)
        name = REASONS[code].replace("_", " ") if code else panel.missing
        # What the same command still computes is not undefined.
        yield name if REASONS[code] == NOT_COMPUTED else f"undefined: {name}", where


def _hatch(axes: "Axes", where: Bool[np.ndarray, "layers_a layers_b"], hatch: str) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    cells = [Rectangle((float(j) - 0.5, float(i) - 0.5), 1, 1) for i, j in np.argwhere(where)]
    axes.add_collection(
        PatchCollection(cells, facecolor=_GREY, edgecolor=_HATCH_GREY, linewidth=0, hatch=hatch)
    )


def _dots(
    axes: "Axes", panel: Panel, where: Bool[np.ndarray, "layers_a layers_b"], *, annotated: bool
) -> None:
    # Beside the number, in the corner; alone, in the middle of the cell.
    offset, size = (0.36, 5.0) if annotated else (0.0, 2.0)
    rows, columns = np.nonzero(where)
    if rows.size:
        colours = [_colour_on(panel, float(entry)) for entry in panel.matrix[where]]
        axes.scatter(columns + offset, rows - offset, s=size, c=colours, linewidths=0, zorder=3)


def _colour_on(panel: Panel, entry: float) -> str:
    from matplotlib import colormaps

    share = (entry - panel.low) / (panel.high - panel.low)
    return text_colour(cast(tuple[float, ...], colormaps[panel.colours](share)))


def _title(results: Results, metric: str) -> str:
    row = max((row for row in results.rows if row.metric == metric), key=lambda row: row.null_draws or 0)
    alignment = "" if row.alignment == "-" else f", matches: {row.alignment}"
    draws = f" ({row.null_draws} draws)" if row.null_draws else ""
    null = f"null: {row.null.replace('_', ' ')}{draws}" if row.null else "no null"
    models = f"{row.model_a} (A, rows) and {row.model_b} (B, columns){alignment}"
    return f"{metric.replace('_', ' ')}\n{models},\n{null}"


def _wrapped(title: str, inches: float) -> str:
    width = int(inches * _TITLE_CHARACTERS_PER_INCH)
    return "\n".join(part for line in title.splitlines() for part in textwrap.wrap(line, width))


def _legend(figure: "Figure", hatches: dict[str, str], *, dots: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = [
        Patch(facecolor=_GREY, edgecolor=_HATCH_GREY, hatch=hatch, linewidth=0, label=reason)
        for reason, hatch in hatches.items()
    ]
    if dots:
        label = f"q ≤ {number(_SIGNIFICANT_Q)} over the layer pairs"
        handles.insert(0, Line2D([], [], linestyle="", marker="o", markersize=3, color="black", label=label))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
