"""Two sweeps side by side: maps of the differences, and one page that opens offline."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from saeuniv.report.drawing import style, write_png
from saeuniv.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{border-bottom:1px solid #ccc;padding:.3rem .7rem;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;height:auto}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}"
    "img{background:#fff}}"
)

_COLUMNS = (
    "metric",
    "first",
    "second",
    "mean of first",
    "mean of second",
    "difference",
    "interval excludes 0",
)
# Settings that a sentence names.
_NAMED = 5

_HEADERS = "".join(f"<th>{each}</th>" for each in _COLUMNS)


class DifferenceMap(NamedTuple):
    """One metric of two comparisons."""

    metric: str
    one: str
    """Name of the first comparison."""

    other: str
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    difference: Float[np.ndarray, "layers_a layers_b"]
    """Of the other less the first; NaN where it is undefined."""

    apart: Bool[np.ndarray, "layers_a layers_b"]
    """The interval of the difference excludes 0."""

    n_intervals: int
    """Layer pairs whose difference has an interval."""

    means: tuple[float, float]
    """Of both, over the layer pairs that are defined in both."""


def difference_map(found: DifferenceMap) -> "Figure":
    """The differences, RdBu centred on 0; a dot where the interval excludes 0."""
    from matplotlib.figure import Figure

    n_a, n_b = found.difference.shape
    most = float(np.nanmax(np.abs(found.difference), initial=0.0)) or 1.0
    if not np.isfinite(most):
        most = 1.0
    figure = Figure(figsize=(max(4.2, 0.2 * n_b + 2.2), max(3.0, 0.2 * n_a + 1.6)), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#d9d9d9")
    image = axes.imshow(
        found.difference, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest", origin="upper"
    )
    figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    rows, columns = np.nonzero(found.apart)
    axes.scatter(columns, rows, s=7, c="black", linewidths=0)
    for axis, layers in ((axes.xaxis, found.layers_b), (axes.yaxis, found.layers_a)):
        every = 1 if len(layers) <= 16 else 5
        axis.set_ticks(range(0, len(layers), every), labels=layers[::every])
        axis.set_tick_params(labelsize=7, length=2)
    axes.set_xlabel("layer of B", fontsize=8)
    axes.set_ylabel("layer of A", fontsize=8)
    dots = "; dot: interval excludes 0" if found.n_intervals else "; no intervals"
    figure.suptitle(f"{found.metric.replace('_', ' ')}: second less first{dots}", fontsize=9)
    return figure


def difference_page(
    names: tuple[str, str],
    differing: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    unmatched: Sequence[str],
    maps: Sequence[DifferenceMap],
) -> str:
    """One HTML page with everything in it: what tells the sweeps apart, a table of means, the maps."""
    rows = "".join(
        f"<tr><td>{_text(each.metric)}</td><td>{_text(each.one)}</td><td>{_text(each.other)}</td>"
        + "".join(f'<td class="n">{number(value, 3)}</td>' for value in (*each.means, _mean(each)))
        + f'<td class="n">{_apart(each)}</td></tr>'
        for each in maps
    )
    settings = "".join(
        f"<tr><td>{_text(key)}</td><td>{_text(', '.join(one))}</td><td>{_text(', '.join(other))}</td></tr>"
        for key, (one, other) in differing.items()
    )
    alone = f"<p>Without a partner: {_text(', '.join(unmatched))}.</p>" if unmatched else ""
    title = f"{_text(names[0])} and {_text(names[1])}"
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{title}</h1><p>Differences are the second sweep less the first. Intervals resample the "
        f"documents of both together; there are none where the two were compared on different tokens.</p>"
        f"<h2>What tells them apart</h2><table><thead><tr><th>setting</th><th>{_text(names[0])}</th>"
        f"<th>{_text(names[1])}</th></tr></thead><tbody>{settings}</tbody></table>{alone}"
        f"<h2>Means over layer pairs</h2><table><thead><tr>{_HEADERS}</tr></thead><tbody>{rows}</tbody>"
        f"</table><h2>Layer pairs</h2>{''.join(map(_figure, maps))}</main></body></html>\n"
    )


def difference_sentence(
    names: tuple[str, str], differing: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
) -> str:
    """What is compared, and in which settings the two differ; of many settings the first."""
    keys = list(differing)
    named = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
    return (
        f"Layer pairs of {names[1]} less the same of {names[0]}; the two differ in {named or 'no setting'}."
    )


def difference_tables(
    names: tuple[str, str],
    differing: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    unmatched: Sequence[str],
    maps: Sequence[DifferenceMap],
) -> str:
    """The tables of the page as Markdown."""
    settings = [(key, ", ".join(one), ", ".join(other)) for key, (one, other) in differing.items()]
    means = [
        (
            each.metric,
            each.one,
            each.other,
            *(number(value, 3) for value in (*each.means, _mean(each))),
            _apart(each),
        )
        for each in maps
    ]
    alone = [f"Without a partner: {', '.join(map(_cell, unmatched))}."] if unmatched else []
    return "\n\n".join([_markdown(("setting", *names), settings), *alone, _markdown(_COLUMNS, means)])


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: str) -> str:
    """One line in which nothing ends the cell or begins HTML."""
    return html.escape(" ".join(value.split()), quote=False).replace("|", "\\|")


def _figure(found: DifferenceMap) -> str:
    with style(), io.BytesIO() as file:
        write_png(difference_map(found), file, dpi=100)
        content = base64.b64encode(file.getvalue()).decode()
    what = f"{found.metric}: {found.other} less {found.one}"
    return (
        f'<figure><img alt="{_text(what)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{_text(what)}</figcaption></figure>"
    )


def _mean(found: DifferenceMap) -> float:
    return found.means[1] - found.means[0]


def _apart(found: DifferenceMap) -> str:
    return f"{int(found.apart.sum())} of {found.n_intervals}" if found.n_intervals else "no intervals"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
