"""What a W&B run says, computed from results alone: axes, the wide table, rows per layer pair, means."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Shaped

from saeuniv.results import Results, hookpoint_kind

Entry = str | int | float | None

LAYER_PAIRS, HISTOGRAMS = "layer_pairs", "histograms"
"""Keys of the tables."""

PAIR_STEP = "pair_idx"
"""The step of the rows per layer pair, in order of depth; W&B's own step counts everything logged."""

_PLACE = ("comparison", "layer_a", "layer_b")
_SUFFIXES = (
    *("", "__ab", "__ba", "__null", "__excess", "__control"),
    *("__calibrated", "__p", "__q", "__reason"),
)
_HISTOGRAM_COLUMNS = (*_PLACE, "from", "to", "matched", "null")
_N_BINS = 40
_SCALARS = {"score": "value", "null": "null", "calibrated": "calibrated"}
_QUALITY = (
    *("fvu_a", "fvu_b", "l0_a", "l0_b", "dead_fraction_a", "dead_fraction_b"),
    *("loss_recovered_a", "loss_recovered_b", "eligible_mass_a", "eligible_mass_b"),
)
_SIDE_AXES = ("model", "revision", "sae", "d_sae")
_SUMMARY_AXES = ("primary_metric", "control", "token_unit", "saeuniv")


def axes(results: Results) -> dict[str, str | int | float]:
    """What runs are compared by; flat, because W&B encodes nested configuration differently in each place.

    Nothing but what is listed here reaches the configuration of a run: no command line, no environment.
    """
    first = results.rows[0]
    sides = {f"{name}_{side}": getattr(first, f"{name}_{side}") for side in "ab" for name in _SIDE_AXES}
    hookpoints = {
        "hookpoint_a": hookpoint_kind(first.hookpoint_a),
        "hookpoint_b": hookpoint_kind(first.hookpoint_b),
    }
    matched = (row.alignment for row in results.rows if row.alignment != "-")
    found: dict[str, str | int | float | None] = {
        **sides,
        **hookpoints,
        # Where no metric reads the alignment, the name of the comparison still says it.
        "alignment": next(matched, first.comparison.split("-")[-2:][0]),
        "comparison": first.comparison,
        "seed": first.seed,
        "n_tokens": first.n_tokens,
        "n_layers_a": len(results.layers_a),
        "n_layers_b": len(results.layers_b),
    }
    found |= {name: str(results.summary[name]) for name in _SUMMARY_AXES if name in results.summary}
    return {name: entry for name, entry in found.items() if entry is not None}


def table_columns(metrics: Sequence[str]) -> list[str]:
    """Columns of the wide table: the place, then the matrices of these metrics as matrices.npz names them."""
    return [*_PLACE, *(f"{metric}{suffix}" for metric in metrics for suffix in _SUFFIXES)]


def layer_pair_table(results: Results, metrics: Sequence[str]) -> tuple[list[str], list[list[Entry]]]:
    """Columns and rows of the wide table: a row per layer pair, None where a number is undefined.

    `metrics` have their columns whether or not they were computed, so that the tables of all runs can be
    read as one; metrics of the results that are not among them come last.
    """
    columns = table_columns(tuple(dict.fromkeys((*metrics, *results.metrics))))
    arrays = results.arrays()
    comparison = results.rows[0].comparison
    rows: list[list[Entry]] = []
    for i, layer_a in enumerate(results.layers_a):
        for j, layer_b in enumerate(results.layers_b):
            numbers = (_entry(arrays.get(name), i, j) for name in columns[len(_PLACE) :])
            rows.append([comparison, layer_a, layer_b, *numbers])
    return columns, rows


def pair_rows(results: Results) -> list[dict[str, Entry]]:
    """One history row per layer pair with any number: `pair/<metric>`, and `_excess` over the null."""
    arrays = results.arrays()
    shown = {f"pair/{metric}{tail}": arrays[name] for metric in results.metrics for tail, name in _of(metric)}
    rows: list[dict[str, Entry]] = []
    for i, layer_a in enumerate(results.layers_a):
        for j, layer_b in enumerate(results.layers_b):
            numbers = {name: _entry(array, i, j) for name, array in shown.items()}
            defined = {name: number for name, number in numbers.items() if number is not None}
            if defined:
                place: dict[str, Entry] = {"pair/layer_a": layer_a, "pair/layer_b": layer_b}
                rows.append({PAIR_STEP: i * len(results.layers_b) + j, **place, **defined})
    return rows


def histogram_table(
    comparison: str, pairs: Iterable[tuple[str, str, Mapping[str, Float[np.ndarray, " matches"]]]]
) -> tuple[list[str], list[list[Entry]]]:
    """Counts of the held-out r of matches and of their null, for each layer pair in 40 bins of [-1, 1]."""
    edges = np.linspace(-1.0, 1.0, _N_BINS + 1)
    bounds = [(round(float(low), 2), round(float(high), 2)) for low, high in pairwise(edges)]
    rows: list[list[Entry]] = []
    for layer_a, layer_b, matches in pairs:
        # Rounding may leave a correlation just outside.
        matched, null = (
            np.histogram(np.clip(matches[name][~np.isnan(matches[name])], -1.0, 1.0), edges)[0].tolist()
            for name in ("r_held_out", "r_null")
        )
        for bound, *counts in zip(bounds, matched, null, strict=True):
            rows.append([comparison, layer_a, layer_b, *bound, *counts])
    return list(_HISTOGRAM_COLUMNS), rows


def scalars(results: Results) -> dict[str, float]:
    """Means over the layer pairs where a number is defined; nothing where it never is."""
    out: dict[str, float] = {}
    for metric in results.metrics:
        for prefix, statistic in _SCALARS.items():
            out |= _mean(f"{prefix}/{metric}", results.matrix(metric, statistic))
        out[f"quality/undefined_{metric}"] = float((results.reasons(metric) != 0).mean())
    for column in _QUALITY:
        out |= _mean(f"quality/{column}", results.matrix(results.metrics[0], column))
    return out


def _of(metric: str) -> tuple[tuple[str, str], ...]:
    return ("", metric), ("_excess", f"{metric}__excess")


def _entry(array: Shaped[np.ndarray, "layers_a layers_b"] | None, i: int, j: int) -> Entry:
    number = None if array is None else array[i, j].item()
    return None if number is None or number != number else number


def _mean(name: str, matrix: Shaped[np.ndarray, "layers_a layers_b"]) -> dict[str, float]:
    defined = matrix[~np.isnan(matrix)]
    return {name: float(defined.mean())} if defined.size else {}
