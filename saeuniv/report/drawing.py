"""How every figure looks and is written: the same bytes for the same numbers, whatever the format."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")

_DPI = 150
_MARGIN_INCHES = 0.1
# Dates, and name tags with the version of the library, are left out.
_WITHOUT: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def style() -> AbstractContextManager[None]:
    """The settings under which figures are drawn and saved."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans",
            "axes.linewidth": 0.6,
            "hatch.linewidth": 0.6,
            # Ids of elements are hashes of this and what is drawn, and text stays text.
            "svg.hashsalt": "saeuniv",
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
        }
    )


def save(figure: "Figure", folder: Path, name: str, formats: Sequence[str]) -> None:
    """Write `<name>.<format>` in each format; without pyplot, so that drawing leaves no state behind.

    Raises:
        OSError: where the folder cannot be written.
    """
    for kind in formats:
        path = folder / f"{name}.{kind}"
        if kind == "png":
            write_png(figure, path)
        else:
            figure.savefig(path, bbox_inches="tight", metadata=_WITHOUT[kind])


def write_png(figure: "Figure", to: Path | BytesIO, *, dpi: int = _DPI) -> None:
    """Draw a figure once and cut what is empty around it (`bbox_inches="tight"` lays out and draws twice).

    Raises:
        OSError: where the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    if missing := _beyond(figure, canvas):
        figure.set_size_inches(figure.get_figwidth() + missing, figure.get_figheight())
        canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())
    drawn = (picture != picture[0, 0]).any(axis=2)
    inside = tuple(_span(drawn.any(axis=axis), margin=round(_MARGIN_INCHES * dpi)) for axis in (1, 0))
    Image.fromarray(picture[inside][..., :3]).save(to, format="png", dpi=(dpi, dpi))


def _beyond(figure: "Figure", canvas: "FigureCanvasAgg") -> float:
    """Inches of width that titles and legends lack, which no layout makes room for."""
    titles = [*figure.texts, *figure.legends, *(axes.title for axes in figure.axes)]
    box = figure.get_tightbbox(canvas.get_renderer(), bbox_extra_artists=titles)
    # What is centred sticks out on both sides.
    return 2 * max(0.0, -box.x0, box.x1 - figure.get_figwidth())


def _span(drawn: Bool[np.ndarray, " pixels"], *, margin: int) -> slice:
    """From the first pixel drawn on to the last, and a margin."""
    first, last = np.flatnonzero(drawn)[[0, -1]]
    return slice(max(first - margin, 0), last + 1 + margin)
