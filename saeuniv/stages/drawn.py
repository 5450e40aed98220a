"""What stands in results/ beside the numbers: heatmaps, matches, contact sheet, page, published numbers."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from saeuniv.report.contact_sheet import write_contact_sheet
from saeuniv.report.figures import heatmaps
from saeuniv.report.page import REPORT, PairDetail, page, report_data
from saeuniv.report.published import published_csv, published_markdown, reproductions
from saeuniv.results import Results, writes_matches
from saeuniv.stages.contexts import Window
from saeuniv.stages.pair_details import PairDetails
from saeuniv.stages.stored import StoredComparison
from saeuniv.store import ArtifactError, Store
from saeuniv.store.text import write_text

_log = logging.getLogger(__name__)

# Matches and contexts (of each side) read for the page, which keeps as many as fit: fewer for large grids.
_FEW_PAIRS = 144
_SHOWN, _SHOWN_OF_MANY = (40, 3), (12, 2)
_WINDOW, _WINDOW_OF_BYTES = Window(before=8, after=6), Window(before=32, after=24)

PUBLISHED = ("published.csv", "published.md")
"""Written where numbers were published for these models."""


def draw(results: Results, folder: Path, store: Store, control: Results | None = None) -> None:
    """Writes what is drawn from results and from the latents and text that they rest on.

    Without these the numbers are drawn all the same; a page with matches that is there already stays.

    Raises:
        OSError: where the folder cannot be written.
    """
    heatmaps(results, folder)
    write_published(results, folder)
    details: Mapping[tuple[str, str], PairDetail] | None = None
    try:
        details = _write_matches(StoredComparison(results, store), folder)
    except ArtifactError as error:
        kept = (folder / REPORT).is_file()
        _log.warning("%s: %s. %s", folder, "the page stays as it was" if kept else "no matches", error)
        if kept:
            return
    write_text(folder / REPORT, page(report_data(results, control, details)))


def write_published(results: Results, folder: Path) -> None:
    """Writes the results beside the published numbers of their models, each file whole; nothing without any.

    Raises:
        OSError: where the folder cannot be written.
    """
    if found := reproductions(results):
        for name, text in zip(PUBLISHED, (published_csv(found), published_markdown(found)), strict=True):
            write_text(folder / name, text)


def _write_matches(stored: StoredComparison, folder: Path) -> dict[tuple[str, str], PairDetail]:
    """Writes matches.parquet and the contact sheet; returns what the page shows."""
    found = PairDetails(stored)
    few = len(stored.compared) <= _FEW_PAIRS
    n_matches, n_contexts = _SHOWN if few else _SHOWN_OF_MANY
    window = _WINDOW_OF_BYTES if stored.results.summary.get("token_unit") == "byte" else _WINDOW
    details: dict[tuple[str, str], PairDetail] = {}
    blocks: dict[tuple[str, str], Float[np.ndarray, "_ _"]] = {}
    with writes_matches(folder) as write:
        for pair in stored.compared:
            matches, place = found.matches(*pair), {"layer_a": pair[0], "layer_b": pair[1]}
            made = {"alignment": matches.alignment, "condition": matches.condition}
            write(place | made, found.columns(*pair))
            blocks[pair] = found.block(*pair)
            details[pair] = found.details(*pair, n_matches=n_matches, n_contexts=n_contexts, window=window)
    write_contact_sheet(blocks, stored.results.layers_a, stored.results.layers_b, folder)
    return details
