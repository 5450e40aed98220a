"""What the page of one comparison holds, computed from its results."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saeuniv.report.console import NAMES, caption, primary_metric
from saeuniv.report.meaning import meaning
from saeuniv.report.page.packing import Details, rounded, visible
from saeuniv.report.published import KEY, first_line, published_parts, reproductions
from saeuniv.results import CONTROL_NOT_COMPUTED, NOT_COMPUTED, REASONS, Results, Row, hookpoint_kind

Tree = dict[str, object]

# Columns of layer_pairs.csv that the page has as matrices.
_SHOWN = ("value", "excess", "calibrated", "diff_control", "q_value", "control", "null_mean", "null_std")
_MORE = ("p_value", "ci_low", "ci_high", "diff_ci_low", "diff_ci_high")
_CORRELATIONS = ("corr", "wmppc")
# Names longer than this are cut.
_LONGEST = 300
_SHARES = ("share", "overlap", "mutual_knn")


@dataclass(frozen=True)
class ReportData:
    """Everything the page of one comparison shows."""

    title: str
    tree: Mapping[str, object]
    """JSON of all but the matches; numbers have four significant digits, layer_pairs.csv has them all."""
    details: Details
    """Matches and contexts by layers of A and B."""
    n_layer_pairs: int


def report_data(results: Results, control: Results | None, details: Details | None) -> ReportData:
    """What the page shows of these results.

    `control` holds the untrained counterparts; where it is None and the rows have values of a control,
    the sentence is made from these. `details` may lack all or some layer pairs, and the page says so.
    """
    row = results.rows[0]
    beside = control or _control_values(results)
    tree: Tree = {
        "facts": [[name, visible(fact, _LONGEST)] for name, fact in _facts(results)],
        "meaning": meaning(results, beside),
        "notes": caption(results, beside),
        "layers_a": results.layers_a,
        "layers_b": results.layers_b,
        "reasons": [reason.replace("_", " ") for reason in REASONS],
        "primary": primary_metric(results),
        "metrics": [metric_tree(results, metric) for metric in results.metrics],
        "quality": {side: _quality(results, side) for side in "ab"},
        "published": _published(results),
    }
    n_layer_pairs = len(results.layers_a) * len(results.layers_b)
    return ReportData(
        visible(f"{row.model_a} and {row.model_b}", _LONGEST), tree, details or {}, n_layer_pairs
    )


def metric_tree(results: Results, metric: str) -> Tree:
    """One metric: its matrices, None where undefined, and what its colours may be compared with."""
    row = max((each for each in results.rows if each.metric == metric), key=lambda each: each.null_draws or 0)
    matrices = {name: results.matrix(metric, name) for name in (*_SHOWN, *_MORE)}
    matrices |= {name: _directed(results, metric, name) for name in ("a_to_b", "b_to_a")}
    return {
        "name": metric,
        "label": NAMES.get(metric, metric.replace("_", " ")),
        "unit": _unit(metric),
        "alignment": row.alignment,
        "null": row.null.replace("_", " "),
        "draws": row.null_draws,
        "views": {name: _lists(m) for name, m in matrices.items() if not np.isnan(m).all()},
        "reasons": results.reasons(metric).tolist(),
        "empty": _remarks(results, metric),
    }


def _published(results: Results) -> Tree | None:
    """The results beside what was published of these models; None where that is nothing."""
    found = reproductions(results)
    if not found:
        return None
    parts = [
        {
            "title": part.title,
            "header": part.header,
            "rows": part.rows,
            "notes": [visible(note, _LONGEST) for note in part.notes],
        }
        for part in published_parts(found)
    ]
    return {"line": first_line(found), "key": KEY, "parts": parts}


def _facts(results: Results) -> list[tuple[str, str]]:
    row = results.rows[0]
    alignments = dict.fromkeys(each.alignment for each in results.rows if each.alignment != "-")
    unit = str(results.summary.get("token_unit", "token"))
    sides = (
        ("A", row.model_a, row.revision_a, row.sae_a, row.d_sae_a, row.hookpoint_a),
        ("B", row.model_b, row.revision_b, row.sae_b, row.d_sae_b, row.hookpoint_b),
    )
    return [
        *((f"Model {side}", model + (f", revision {rev}" if rev else "")) for side, model, rev, *_ in sides),
        *(
            (f"Dictionary {side}", f"{sae}, {width or 'unknown number of'} latents, {hookpoint_kind(hook)}")
            for side, _, _, sae, width, hook in sides
        ),
        ("Alignment", ", ".join(alignments) or "none"),
        ("Tokens", f"{row.n_tokens:,} {unit}s of {row.n_documents:,} documents, seed {row.seed}"),
        ("Comparison", row.comparison),
    ]


def _control_values(results: Results) -> Results | None:
    """What the rows know of the control: its values, without intervals."""
    if all(row.control is None for row in results.rows):
        return None
    rows = [
        dataclasses.replace(
            row,
            value=row.control,
            ci_low=None,
            ci_high=None,
            reason="no_interval" if row.control is not None else row.reason or _no_control(row),
        )
        for row in results.rows
    ]
    return dataclasses.replace(results, rows=tuple(rows), null_rows=())


def _no_control(row: Row) -> str:
    return NOT_COMPUTED if CONTROL_NOT_COMPUTED in row.flags.split(";") else "not_requested"


def _quality(results: Results, side: str) -> list[Tree | None]:
    """What is known of the dictionary of each layer; counts of latents are those of the primary metric."""
    layers = results.layers_a if side == "a" else results.layers_b
    found: dict[str, Row] = {}
    primary = primary_metric(results)
    for row in results.rows:
        known = getattr(row, f"d_sae_{side}") is not None and getattr(row, f"fvu_{side}") is not None
        if known and row.direction == "both" and row.metric == primary:
            found.setdefault(getattr(row, f"layer_{side}"), row)
    return [_of_side(found[layer], side) if layer in found else None for layer in layers]


def _of_side(row: Row, side: str) -> Tree:
    columns = ("fvu", "l0", "dead_fraction", "loss_recovered", "eligible_mass", "context_share")
    counts = ("n_eligible", "n_alive", "d_sae")
    known: Tree = {name: rounded(getattr(row, f"{name}_{side}")) for name in columns}
    return known | {name: getattr(row, f"{name}_{side}") for name in counts}


def _unit(metric: str) -> str:
    """What the metric counts in: only metrics of one unit can share a scale."""
    if any(part in metric for part in _CORRELATIONS):
        return "correlation"
    return "share" if any(part in metric for part in _SHARES) else "similarity"


def _directed(results: Results, metric: str, direction: str) -> Float[np.ndarray, "layers_a layers_b"]:
    known = any(row.metric == metric and row.direction == direction for row in results.rows)
    undefined = np.full((len(results.layers_a), len(results.layers_b)), np.nan)
    return results.matrix(metric, direction=direction) if known else undefined


def _lists(matrix: Float[np.ndarray, "layers_a layers_b"]) -> list[list[float | None]]:
    return [[rounded(float(entry)) for entry in line] for line in matrix]


def _remarks(results: Results, metric: str) -> dict[str, str]:
    """Flags and reasons of layer pairs that have any, by `row,column`."""
    out: dict[str, str] = {}
    for i, layer_a in enumerate(results.layers_a):
        for j, layer_b in enumerate(results.layers_b):
            row = results.row(metric, layer_a, layer_b)
            said = [*row.flags.split(";"), *row.reason.split(";")] if row else []
            if text := ", ".join(each.replace("_", " ") for each in said if each):
                out[f"{i},{j}"] = text
    return out
