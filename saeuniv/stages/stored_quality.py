"""How well latents were encoded: what their shards say of the dictionary, all together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from saeuniv.stages.latents import QUALITY, TENSORS, shard_counts, shard_folders
from saeuniv.stages.task import LatentsReference
from saeuniv.store import Store

# Nats below which the loss that an activation saves is no measure (docs/statistics.md: no gap).
_LEAST_LOSS = 0.05


class StoredQuality(NamedTuple):
    """What is known of the dictionary on all rows that are stored."""

    l0: float
    """Mean number of active latents per row."""

    error: float
    """Summed squared error of the reconstruction."""

    variance: float
    """Summed squared deviation of the input from its mean; error / variance is the FVU."""

    fvu_high_norm: float | None
    """FVU on the rows of high norm, which are no part of the others; None where they do not vary."""

    loss_recovered: float | None
    """Share of the loss that replacing the activation by its mean costs which the reconstruction saves."""


def read_quality(store: Store, reference: LatentsReference, n_shards: int) -> StoredQuality:
    """How well one hookpoint was encoded; latents are not read.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    folders = shard_folders(store, reference, n_shards)
    fit = fit_of(folders)
    return StoredQuality(
        l0=float(shard_counts(folders).mean()),
        error=fit.error,
        variance=fit.variance,
        fvu_high_norm=fit_of(folders, "high_norm_").defined,
        loss_recovered=_loss_recovered(folders[0]),
    )


def recorded_fvu(store: Store, reference: LatentsReference, n_shards: int) -> float:
    """Share of the variance of all its input that the dictionary left unexplained when it was encoded.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    return fit_of(shard_folders(store, reference, n_shards)).fvu


class _Fit(NamedTuple):
    width: int
    error: float
    variance: float

    @property
    def fvu(self) -> float:
        return self.error / max(self.variance, 1e-300)

    @property
    def defined(self) -> float | None:
        return self.error / self.variance if self.variance > 0 else None


def fit_of(folders: Sequence[Path], kind: str = "") -> _Fit:
    """How well shards were reconstructed, all together; their values are not read.

    `kind` is empty, or `high_norm_` for the rows of high norm.
    """
    about = [json.loads((folder / QUALITY).read_text()) for folder in folders]
    total = np.zeros(0)
    for folder in folders:
        with safe_open(folder / TENSORS, framework="numpy") as tensors:
            part = np.asarray(tensors.get_tensor(f"{kind or 'input_'}total"))
        total = total + part if total.size else part
    rows = sum(each[f"{kind}rows"] for each in about)
    squares, error = (sum(each[kind + name] for each in about) for name in ("squares", "error"))
    return _Fit(about[0]["width"], error, squares - float(total @ total) / max(rows, 1))


def _loss_recovered(folder: Path) -> float | None:
    """(ablated - spliced) / (ablated - clean); None where the activation does not lower the loss."""
    loss = json.loads((folder / QUALITY).read_text())["loss"]
    if loss is None or loss["ablated"] - loss["clean"] < _LEAST_LOSS:
        return None
    return (loss["ablated"] - loss["spliced"]) / (loss["ablated"] - loss["clean"])
