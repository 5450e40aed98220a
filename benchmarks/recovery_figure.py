"""Precision, recall and the trap, against overlap, tokens and firing rate, in one figure."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.recovery_scores import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008: told apart by the colour-blind; markers tell them apart without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = {"token": "-", "none": (0, (4, 2))}
_SWEEPS = {"overlap": "overlap", "tokens": "tokens", "rate": "firing rate"}
_SHOWN = {
    "precision": "precision",
    "recall": "recall",
    "fooled": "token latents paired\nfor their token",
}
_DPI = 150


def means(scores: Sequence[Score]) -> dict[tuple[str, str, str, str], dict[float, float]]:
    """The mean over seeds of each shown number, by (sweep, number, alignment, condition) and `at`.

    Where a number is undefined for every seed there is no entry.
    """
    found: dict[tuple[str, str, str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in scores:
        for shown in _SHOWN:
            value = getattr(each, shown)
            if value is not None:
                found[each.sweep, shown, each.alignment, each.condition][each.at].append(value)
    return {
        key: {at: float(np.mean(values)) for at, values in sorted(curve.items())}
        for key, curve in found.items()
    }


def draw(scores: Sequence[Score], path: Path, *, title: str) -> None:
    """Write the figure; equal scores give equal bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.family": "DejaVu Sans", "axes.linewidth": 0.6}):
        figure = Figure(figsize=(9.0, 8.2), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(_SHOWN), len(_SWEEPS), sharex="col", sharey=True)
        for row, shown in zip(grid, _SHOWN, strict=True):
            for axes, sweep in zip(row, _SWEEPS, strict=True):
                _panel(axes, scores, sweep, shown)
            row[0].set_ylabel(_SHOWN[shown], fontsize=9)
        for axes, sweep in zip(grid[-1], _SWEEPS, strict=True):
            axes.set_xlabel(_SWEEPS[sweep], fontsize=9)
        figure.suptitle(title, fontsize=9)
        _legend(grid[0][0], figure)
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})


def _panel(axes: "Axes", scores: Sequence[Score], sweep: str, shown: str) -> None:
    alignments = list(dict.fromkeys(each.alignment for each in scores))
    for (of, number, alignment, condition), curve in means(scores).items():
        if (of, number) != (sweep, shown):
            continue
        which = alignments.index(alignment)
        colour = _COLOURS[which % len(_COLOURS)]
        axes.plot(
            list(curve),
            list(curve.values()),
            color=colour,
            linestyle=_LINES[condition],
            marker=_MARKERS[which % len(_MARKERS)],
            markersize=5,
            # Hollow for none: curves of the two conditions often lie on one another.
            markerfacecolor=colour if condition == "token" else "white",
            linewidth=1.3,
            label=f"{alignment}, {condition}",
            clip_on=False,
        )
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if sweep != "overlap":
        axes.set_xscale("log")


def _legend(axes: "Axes", figure: "Figure") -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title="alignment, condition",
        title_fontsize=8,
        loc="outside lower center",
        # Columns are filled first: an alignment's two conditions stand in one.
        ncols=max(len(labels) // 2, 1),
        frameon=False,
        fontsize=8,
        handlelength=3,
    )
