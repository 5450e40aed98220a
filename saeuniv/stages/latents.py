"""Latents as stored: shards, cut alike for every hookpoint, each published alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from saeuniv.stages.task import LatentsReference
from saeuniv.stages.tokens import HeldOut
from saeuniv.store import Artifact, Store

# Rows per shard, cut at the next document end. Part of the format: shards of one key are cut alike.
SHARD_ROWS = 32_768

# Nats below which the loss that an activation saves is no measure (docs/statistics.md: no gap).
_LEAST_LOSS = 0.05

_TENSORS = "latents.safetensors"
_QUALITY = "quality.json"


class ShardQuality(NamedTuple):
    """What is known of the dictionary on the rows of one shard."""

    fit: Any
    """FvuSums of its rows, those of high norm apart."""

    fit_high_norm: Any
    """FvuSums of the rows of high norm."""

    high_norm: Bool[np.ndarray, " rows"]
    """Rows whose norm in the middle of the model is far above the median."""

    loss: Mapping[str, float] | None
    """Mean loss clean, spliced and ablated, in nats, on the sequences that are looked at first."""


def save_shard(folder: Path, parts: Sequence[Any], quality: ShardQuality, width: int) -> None:
    """Write the latents of one shard, encoded in `parts`, and how well they reconstruct their input."""
    fit, apart = quality.fit, quality.fit_high_norm
    small = np.uint16 if width <= 1 << 16 else np.uint32
    arrays = {
        "counts": np.concatenate([part.counts for part in parts]).astype(np.uint16),
        "indices": np.concatenate([part.indices for part in parts]).astype(small),
        "values": np.concatenate([part.values for part in parts]).astype(np.float32),
        "input_total": np.asarray(fit.total, dtype=np.float64),
        "high_norm": np.flatnonzero(quality.high_norm).astype(np.uint32),
        "high_norm_total": np.asarray(apart.total, dtype=np.float64),
    }
    save_file(arrays, folder / _TENSORS)
    about = {"rows": fit.rows, "error": fit.error, "squares": fit.squares, "width": width}
    about |= {f"high_norm_{name}": getattr(apart, name) for name in ("rows", "error", "squares")}
    about |= {"loss": quality.loss and dict(quality.loss)}
    (folder / _QUALITY).write_text(json.dumps(about, sort_keys=True))


class StoredLatents(NamedTuple):
    """Latents of one hookpoint as stored, all shards together."""

    latents: sp.csr_array
    """`rows x d_sae`, float32."""

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


def read_latents(store: Store, reference: LatentsReference, n_shards: int) -> StoredLatents:
    """All shards of one hookpoint, verified.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    folders = _folders(store, reference, n_shards)
    arrays = [load_file(folder / _TENSORS) for folder in folders]
    fit = fit_of(folders)
    counts = np.concatenate([each["counts"] for each in arrays]).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = np.concatenate([each["indices"] for each in arrays]).astype(np.int32)
    values = np.concatenate([each["values"] for each in arrays])
    return StoredLatents(
        sp.csr_array((values, indices, indptr), shape=(len(counts), fit.width)),
        l0=float(counts.mean()),
        error=fit.error,
        variance=fit.variance,
        fvu_high_norm=fit_of(folders, "high_norm_").defined,
        loss_recovered=_loss_recovered(folders[0]),
    )


def read_columns(
    store: Store,
    layer: tuple[Artifact, ...],
    n_shards: int,
    chosen: Int[np.ndarray, " chosen"] | None = None,
) -> sp.csc_array:
    """Some latents of a layer on all stored rows, `rows x chosen`, float32; shard by shard, each read once.

    Memory: what is chosen, and one shard. Latents of a group of layers read as one are numbered on.

    Args:
        store: where they are.
        layer: the latents of the layer, or of each layer of a group.
        n_shards: as `shard_cuts` of the token set has them.
        chosen: numbers of the latents; None: all.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    parts: list[sp.csr_array] = []
    for shard in range(n_shards):
        folders = [store.open(replace(each, shard=shard)) for each in layer]
        part = sp.csr_array(sp.hstack([_shard_latents(folder) for folder in folders], format="csr"))
        parts.append(part if chosen is None else sp.csr_array(part[:, chosen]))
    columns = sp.csc_array(sp.vstack(parts, format="csc"))
    columns.sort_indices()
    return columns


def _shard_latents(folder: Path) -> sp.csr_array:
    arrays = load_file(folder / _TENSORS)
    indptr = np.concatenate([[0], np.cumsum(arrays["counts"], dtype=np.int64)])
    width = json.loads((folder / _QUALITY).read_text())["width"]
    indices = arrays["indices"].astype(np.int32)
    return sp.csr_array((arrays["values"], indices, indptr), shape=(len(indptr) - 1, width))


def read_high_norm(store: Store, latents: Artifact, n_shards: int) -> Bool[np.ndarray, " rows"]:
    """Rows whose norm is far above the median in the middle of the model; equal for all its hookpoints.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    found: list[np.ndarray] = []
    for shard in range(n_shards):
        folder = store.open(replace(latents, shard=shard))
        about = json.loads((folder / _QUALITY).read_text())
        mask = np.zeros(about["rows"] + about["high_norm_rows"], dtype=bool)
        with safe_open(folder / _TENSORS, framework="numpy") as tensors:
            mask[np.asarray(tensors.get_tensor("high_norm"))] = True
        found.append(mask)
    return np.concatenate(found)


def recorded_fvu(store: Store, reference: LatentsReference, n_shards: int) -> float:
    """Share of the variance of all its input that the dictionary left unexplained when it was encoded.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    return fit_of(_folders(store, reference, n_shards)).fvu


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
    about = [json.loads((folder / _QUALITY).read_text()) for folder in folders]
    total = np.zeros(0)
    for folder in folders:
        with safe_open(folder / _TENSORS, framework="numpy") as tensors:
            part = np.asarray(tensors.get_tensor(f"{kind or 'input_'}total"))
        total = total + part if total.size else part
    rows = sum(each[f"{kind}rows"] for each in about)
    squares, error = (sum(each[kind + name] for each in about) for name in ("squares", "error"))
    return _Fit(about[0]["width"], error, squares - float(total @ total) / max(rows, 1))


def _loss_recovered(folder: Path) -> float | None:
    """(ablated - spliced) / (ablated - clean); None where the activation does not lower the loss."""
    loss = json.loads((folder / _QUALITY).read_text())["loss"]
    if loss is None or loss["ablated"] - loss["clean"] < _LEAST_LOSS:
        return None
    return (loss["ablated"] - loss["spliced"]) / (loss["ablated"] - loss["clean"])


def _folders(store: Store, reference: LatentsReference, n_shards: int) -> list[Path]:
    return [store.open(replace(reference.artifact, shard=shard)) for shard in range(n_shards)]


def shard_cuts(held_out: HeldOut) -> list[slice]:
    """Ranges of sequences of about SHARD_ROWS rows each that end where a document ends."""
    documents = held_out.documents
    ends = np.append(np.flatnonzero(np.diff(documents)) + 1, len(documents))
    rows = np.append(0, np.cumsum(held_out.rows_per_sequence))
    cuts: list[slice] = []
    start = 0
    for end in map(int, ends):
        if rows[end] - rows[start] >= SHARD_ROWS or end == len(documents):
            cuts.append(slice(start, end))
            start = end
    return cuts


def shards(reference: LatentsReference, n_shards: int) -> tuple[Artifact, ...]:
    """What is published of these latents."""
    return tuple(replace(reference.artifact, shard=shard) for shard in range(n_shards))
