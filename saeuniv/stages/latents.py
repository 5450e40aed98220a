"""Latents as stored: shards, cut alike for every hookpoint, each published alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from saeuniv.stages.task import LatentsReference
from saeuniv.store import Artifact, Store

# Rows per shard, cut at the next document end. Part of the format: shards of one key are cut alike.
SHARD_ROWS = 32_768

_TENSORS = "latents.safetensors"
_QUALITY = "quality.json"


def save_shard(folder: Path, parts: Sequence[Any], fit: Any, width: int) -> None:
    """Write the latents of one shard, encoded in `parts`, and how well they reconstruct their input."""
    small = np.uint16 if width <= 1 << 16 else np.uint32
    arrays = {
        "counts": np.concatenate([part.counts for part in parts]).astype(np.uint16),
        "indices": np.concatenate([part.indices for part in parts]).astype(small),
        "values": np.concatenate([part.values for part in parts]).astype(np.float32),
        "input_total": np.asarray(fit.total, dtype=np.float64),
    }
    save_file(arrays, folder / _TENSORS)
    quality = {"rows": fit.rows, "error": fit.error, "squares": fit.squares, "width": width}
    (folder / _QUALITY).write_text(json.dumps(quality, sort_keys=True))


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
    )


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


def fit_of(folders: Sequence[Path]) -> _Fit:
    """How well shards were reconstructed, all together; their values are not read."""
    about = [json.loads((folder / _QUALITY).read_text()) for folder in folders]
    total = np.zeros(0)
    for folder in folders:
        with safe_open(folder / _TENSORS, framework="numpy") as tensors:
            part = np.asarray(tensors.get_tensor("input_total"))
        total = total + part if total.size else part
    rows = sum(each["rows"] for each in about)
    variance = sum(each["squares"] for each in about) - float(total @ total) / rows
    return _Fit(about[0]["width"], sum(each["error"] for each in about), variance)


def _folders(store: Store, reference: LatentsReference, n_shards: int) -> list[Path]:
    return [store.open(replace(reference.artifact, shard=shard)) for shard in range(n_shards)]


def shard_cuts(documents: Int[np.ndarray, " sequences"], positions: int) -> list[slice]:
    """Ranges of sequences of about SHARD_ROWS rows each that end where a document ends."""
    ends = np.append(np.flatnonzero(np.diff(documents)) + 1, len(documents))
    cuts: list[slice] = []
    start = 0
    for end in map(int, ends):
        if (end - start) * positions >= SHARD_ROWS or end == len(documents):
            cuts.append(slice(start, end))
            start = end
    return cuts


def shards(reference: LatentsReference, n_shards: int) -> tuple[Artifact, ...]:
    """What is published of these latents."""
    return tuple(replace(reference.artifact, shard=shard) for shard in range(n_shards))
