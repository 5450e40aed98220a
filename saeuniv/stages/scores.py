"""How matches and scores are stored: arrays in safetensors, the rest in JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from saeuniv.metrics import Measurement
from saeuniv.metrics.layer_pair import Matches
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.kernels import Moments

_TENSORS = "arrays.safetensors"
_SCORES = "scores.json"

_PAIR_FIELDS = ("index_a", "index_b", "similarity")
_BOUND, _CONVERGED = "upper_bound", "converged"


class LayerQuality(NamedTuple):
    """What is known of one layer's latents on these tokens, beside every number made from them."""

    d_sae: int
    l0: float
    fvu: float
    n_alive: int
    n_eligible: int
    eligible_mass: float
    context_share: float | None
    fvu_high_norm: float | None
    """On rows of high norm, apart; None where there are none."""

    dead_fraction: float
    """Latents that never fire on the rows compared on."""

    loss_recovered: float | None
    """By splicing the reconstruction into the model, against its mean; None where there is no gap."""


class Scores(NamedTuple):
    """One metric of one layer pair, as stored."""

    measurements: tuple[Measurement, ...]
    a: LayerQuality
    b: LayerQuality
    n_tokens: int
    n_documents: int


def save_matches(folder: Path, draws: tuple[Matches, ...]) -> None:
    """Write matchings by direction, any number of draws of any sizes."""
    arrays: dict[str, np.ndarray] = {}
    for direction in draws[0] if draws else ():
        each = [draw[direction] for draw in draws]
        arrays[f"{direction}/sizes"] = np.array([len(matching.index_a) for matching in each], dtype=np.int64)
        for name in _PAIR_FIELDS:
            arrays[f"{direction}/{name}"] = np.concatenate([getattr(matching, name) for matching in each])
        bounds = [np.nan if matching.upper_bound is None else matching.upper_bound for matching in each]
        arrays[f"{direction}/{_BOUND}"] = np.array(bounds, dtype=np.float64)
        arrays[f"{direction}/{_CONVERGED}"] = np.array([matching.converged for matching in each], dtype=bool)
    arrays["draws"] = np.array([len(draws)], dtype=np.int64)
    save_file(arrays, folder / _TENSORS)


def load_matches(folder: Path) -> tuple[Matches, ...]:
    """Read what `save_matches` wrote."""
    arrays = load_file(folder / _TENSORS)
    draws: list[dict[str, Matching]] = [{} for _ in range(int(arrays["draws"][0]))]
    for key in arrays:
        direction, _, field = key.partition("/")
        if field != "sizes":
            continue
        cuts = np.cumsum(arrays[key])[:-1]
        columns = [np.split(arrays[f"{direction}/{name}"], cuts) for name in _PAIR_FIELDS]
        bounds = (None if np.isnan(each) else float(each) for each in arrays[f"{direction}/{_BOUND}"])
        converged = map(bool, arrays[f"{direction}/{_CONVERGED}"])
        for draw, bound, ended, values in zip(
            draws, bounds, converged, zip(*columns, strict=True), strict=True
        ):
            draw[direction] = Matching(*values, upper_bound=bound, converged=ended)
    return tuple(draws)


def save_scores(folder: Path, scores: Scores) -> None:
    """Write one metric of one layer pair; floats round-trip exactly."""
    arrays: dict[str, np.ndarray] = {}
    described: list[dict[str, object]] = []
    for each in scores.measurements:
        arrays[f"{each.direction}/bootstrap"] = each.bootstrap
        arrays.update({f"{each.direction}/null/{name}": draws for name, draws in each.nulls.items()})
        described.append(
            {
                "direction": each.direction,
                "value": each.value,
                "reason": each.reason,
                "empty": dict(each.empty),
                "moments": {name: list(moments) for name, moments in each.moments.items()},
                "n_matches": each.n_matches,
                "flags": list(each.flags),
            }
        )
    save_file(
        {key: np.ascontiguousarray(array, dtype=np.float64) for key, array in arrays.items()},
        folder / _TENSORS,
    )
    whole = {
        "measurements": described,
        "a": scores.a._asdict(),
        "b": scores.b._asdict(),
        "n_tokens": scores.n_tokens,
        "n_documents": scores.n_documents,
    }
    (folder / _SCORES).write_text(json.dumps(whole, sort_keys=True, indent=1, allow_nan=False))


def load_scores(folder: Path) -> Scores:
    """Read what `save_scores` wrote."""
    arrays = load_file(folder / _TENSORS)
    whole = json.loads((folder / _SCORES).read_text())
    return Scores(
        measurements=tuple(_measurement(each, arrays) for each in whole["measurements"]),
        a=LayerQuality(**whole["a"]),
        b=LayerQuality(**whole["b"]),
        n_tokens=whole["n_tokens"],
        n_documents=whole["n_documents"],
    )


def _measurement(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Measurement:
    direction = str(described["direction"])
    prefix = f"{direction}/null/"
    moments = {name: Moments(*both) for name, both in described["moments"].items()}
    fields: dict[str, Any] = {**described, "flags": tuple(described["flags"]), "moments": moments}
    return Measurement(
        **fields,
        bootstrap=arrays[f"{direction}/bootstrap"],
        nulls={key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)},
    )
