"""Matched latents as pictures: one block of the correlation matrix for every layer pair."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

CONTACT_SHEET = "contact_sheet.png"

SIZE = 64
"""Matches of a block, and pixels of its side."""

_GAP = 4
_PAPER = 255


def shown_matches(r: Float[np.ndarray, " matches"], *, size: int = SIZE) -> Int[np.ndarray, " shown"]:
    """Which matches a block shows: by quantile of their correlation, evenly from the best to the worst.

    A diagonal that fades into its surroundings is then seen to. Fewer matches than `size` are all shown;
    matches without a correlation (NaN) are not.
    """
    order = np.argsort(-r, kind="stable")[: int((~np.isnan(r)).sum())]
    return order[np.linspace(0, len(order) - 1, min(size, len(order))).round().astype(int)]


def contact_sheet(
    blocks: Mapping[tuple[str, str], Float[np.ndarray, "_ _"]],
    layers_a: Sequence[str],
    layers_b: Sequence[str],
    *,
    size: int = SIZE,
) -> UInt8[np.ndarray, "height width 3"]:
    """The blocks in a grid, layers of A down and of B across, RdBu from -1 (blue) to 1 (red).

    Every block is drawn at the top left of its `size` x `size` place, a pixel per correlation; layer pairs
    without a block, and correlations that are NaN, stay white.
    """
    from matplotlib import colormaps

    step = size + _GAP
    sheet = np.full((len(layers_a) * step - _GAP, len(layers_b) * step - _GAP, 3), _PAPER, np.uint8)
    for (layer_a, layer_b), block in blocks.items():
        top, left = layers_a.index(layer_a) * step, layers_b.index(layer_b) * step
        shown = block[:size, :size]
        # Halves, from [-1, 1] to the [0, 1] of colour maps.
        colours = colormaps["RdBu_r"](np.nan_to_num(shown) / 2 + 0.5, bytes=True)[..., :3]
        colours[np.isnan(shown)] = _PAPER
        sheet[top : top + shown.shape[0], left : left + shown.shape[1]] = colours
    return sheet


def write_contact_sheet(
    blocks: Mapping[tuple[str, str], Float[np.ndarray, "_ _"]],
    layers_a: Sequence[str],
    layers_b: Sequence[str],
    folder: Path,
) -> None:
    """Writes `contact_sheet.png`, which W&B runs show; equal blocks give equal bytes.

    Raises:
        OSError: where the folder cannot be written.
    """
    from matplotlib.image import imsave

    sheet = contact_sheet(blocks, layers_a, layers_b)
    # Else the version of the drawing library would be in the bytes.
    imsave(folder / CONTACT_SHEET, sheet, metadata={"Software": "saeuniv"})
