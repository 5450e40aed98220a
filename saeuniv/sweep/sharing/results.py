"""Results folders as an export has them: all numbers and figures, and pages without text where it stays."""

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Shaped

from saeuniv.report.page import (
    REPORT,
    SWEEP,
    Compared,
    MatchDetail,
    PairDetail,
    page,
    report_data,
    sweep_page,
)
from saeuniv.results import MATCHES, Results, find_results, load, match_columns, read_status
from saeuniv.stages.sweep import TABLE
from saeuniv.sweep.control import control_of
from saeuniv.sweep.sharing.contract import RESULTS
from saeuniv.sweep.sharing.pieces import Piece, copied, written

_FILES = (
    *("layer_pairs.csv", "nulls.csv", "matrices.npz", "summary.json", "config.yaml", "status.json"),
    *(MATCHES, "contact_sheet.png", "heatmap_*.png"),
)
"""What of a results folder holds no text; anything else in it is not ours."""

_TEXTS = {
    "what": f"contexts in {REPORT}",
    "why": "text is left out without --with-text; pages were written without it",
}
_RUNS = {"what": "runs of W&B", "why": "they are never exported"}

_SHOWN = 40
_COLUMNS = ("latent_a", "latent_b", "r", "r_held_out", "r_null", "rate_a", "rate_b")

Columns = Mapping[str, Shaped[np.ndarray, " matches"]]


def results_pieces(
    comparison: Path, results: Results, *, with_text: bool
) -> tuple[list[Piece], list[Mapping[str, str]]]:
    """The files of one comparison, and what was left out.

    Raises:
        ValueError: matches.parquet is damaged.
    """
    folder, below = find_results(comparison), f"{RESULTS}/{comparison.name}/results"
    pieces: list[Piece] = []
    left_out: list[Mapping[str, str]] = []
    for path in sorted(folder.iterdir()):
        known = path.name == REPORT or any(fnmatch.fnmatchcase(path.name, each) for each in _FILES)
        if path.name.startswith("."):
            continue
        if not known or path.is_symlink() or not path.is_file():
            left_out.append(
                {"what": f"{comparison.name}/results/{path.name}", "why": "not a file of results"}
            )
        elif path.name == REPORT and not with_text:
            found = report_data(results, control_of(comparison, results), _details(folder))
            pieces.append(written(f"{below}/{REPORT}", RESULTS, page(found)))
            left_out.append(_TEXTS)
        else:
            pieces.append(copied(f"{below}/{path.name}", RESULTS, path))
    if any(comparison.glob("wandb/*")):
        left_out.append(_RUNS)
    return pieces, left_out


def sweep_pieces(sweep: Path, comparisons: Sequence[Path]) -> Iterator[Piece]:
    """The sweep's own table, and its page written anew, with links that hold in the export."""
    if (sweep / TABLE).is_file():
        yield copied(f"{RESULTS}/{TABLE}", RESULTS, sweep / TABLE)
        compared = [
            Compared(
                each.name,
                str(read_status(each).get("state", "none")),
                load(each),
                quote(f"{each.name}/results/{REPORT}") if (each / "results" / REPORT).is_file() else "",
            )
            for each in comparisons
        ]
        yield written(f"{RESULTS}/{SWEEP}", RESULTS, sweep_page(compared, sweep.absolute().name))


def _details(folder: Path) -> dict[tuple[str, str], PairDetail]:
    """Matches as matches.parquet has them, without what they fire on."""
    return {
        (layer_a, layer_b): _detail(columns) for layer_a, layer_b, columns in match_columns(folder, _COLUMNS)
    }


def _detail(columns: Columns) -> PairDetail:
    held_out = columns["r_held_out"]
    best = np.argsort(-np.nan_to_num(held_out, nan=-1.0), kind="stable")[:_SHOWN]
    return {
        "n_matches": len(held_out),
        "matches": [_match(columns, int(number)) for number in best],
        "histogram": {"matched": _finite(held_out), "null": _finite(columns["r_null"])},
    }


def _match(columns: Columns, number: int) -> MatchDetail:
    held_out = float(columns["r_held_out"][number])
    return {
        "a": int(columns["latent_a"][number]),
        "b": int(columns["latent_b"][number]),
        "r": float(columns["r"][number]),
        "r_held_out": held_out if math.isfinite(held_out) else None,
        "rate_a": float(columns["rate_a"][number]),
        "rate_b": float(columns["rate_b"][number]),
        "contexts": [],
    }


def _finite(values: Float[np.ndarray, " matches"]) -> list[float]:
    return [float(each) for each in values[np.isfinite(values)]]
