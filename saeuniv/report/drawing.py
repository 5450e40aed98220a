"""How every figure looks and is written: the same bytes for the same numbers, whatever the format."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")

_DPI = 150
# Dates, and name tags with the version of the library, are left out.
_WITHOUT: dict[str, dict[str, None]] = {
    "png": {"Software": None},
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    for kind in formats:
        path = folder / f"{name}.{kind}"
        figure.savefig(path, dpi=_DPI, bbox_inches="tight", metadata=_WITHOUT[kind])
