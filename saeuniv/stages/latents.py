"""Latents as stored: shards, cut alike for every hookpoint, each published alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int, UInt
from safetensors import safe_open
from safetensors.numpy import load_file

from saeuniv.stages.task import LatentsReference
from saeuniv.stages.tensor_file import InParts, save_in_parts
from saeuniv.stages.tokens import HeldOut
from saeuniv.store import Artifact, Store

# Rows per shard, cut at the next document end. Part of the format: shards of one key are cut alike.
SHARD_ROWS = 32_768

TENSORS = "latents.safetensors"
QUALITY = "quality.json"
"""Files of a shard."""


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
    counts = [part.counts for part in parts]
    most = max((int(each.max(initial=0)) for each in counts), default=0)
    # Written part by part, and in the smallest types: pre-activations are gigabytes.
    tensors = {
        "counts": InParts(counts, _unsigned(most + 1)),
        "indices": InParts([part.indices for part in parts], _unsigned(width)),
        "values": InParts([part.values for part in parts], np.float32),
        "input_total": InParts([fit.total], np.float64),
        "high_norm": InParts([np.flatnonzero(quality.high_norm)], np.uint32),
        "high_norm_total": InParts([apart.total], np.float64),
    }
    save_in_parts(tensors, folder / TENSORS)
    about = {"rows": fit.rows, "error": fit.error, "squares": fit.squares, "width": width}
    about |= {f"high_norm_{name}": getattr(apart, name) for name in ("rows", "error", "squares")}
    about |= {"loss": quality.loss and dict(quality.loss)}
    (folder / QUALITY).write_text(json.dumps(about, sort_keys=True))


def _unsigned(end: int) -> type[np.unsignedinteger]:
    """A type that holds the numbers below `end`."""
    return np.uint16 if end <= 1 << 16 else np.uint32


def read_rows(
    store: Store, reference: LatentsReference, n_shards: int, rows: Int[np.ndarray, " chosen"]
) -> sp.csr_array:
    """Latents of one hookpoint on chosen rows, `chosen x d_sae`, float32.

    Memory: 8 bytes an active latent of the chosen rows, and one shard.

    Args:
        store: where they are.
        reference: the latents.
        n_shards: as `shard_cuts` of the token set has them.
        rows: among those that latents are stored of, ascending.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    folders = shard_folders(store, reference, n_shards)
    counts = shard_counts(folders)
    indptr = _pointers(counts[rows])
    indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    first, done, width = 0, 0, 0
    for folder in folders:
        part = _shard_latents(folder)
        n_rows, width = part.shape
        chosen = rows[slice(*np.searchsorted(rows, [first, first + n_rows]))] - first
        part = part if len(chosen) == n_rows else sp.csr_array(part[chosen])
        place = slice(done, done + part.nnz)
        indices[place], values[place] = part.indices, part.data
        first, done = first + n_rows, place.stop
    return sp.csr_array((values, indices, indptr), shape=(len(rows), width))


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


def _pointers(counts: UInt[np.ndarray, " rows"]) -> Int[np.ndarray, " rows_plus_1"]:
    """Where the entries of each row begin; int32 where that suffices: scipy gives indices the same type."""
    pointers = np.append(0, np.cumsum(counts, dtype=np.int64))
    return pointers.astype(np.int32 if pointers[-1] <= np.iinfo(np.int32).max else np.int64)


def _shard_latents(folder: Path) -> sp.csr_array:
    arrays = load_file(folder / TENSORS)
    indptr = _pointers(arrays["counts"])
    width = json.loads((folder / QUALITY).read_text())["width"]
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
        about = json.loads((folder / QUALITY).read_text())
        mask = np.zeros(about["rows"] + about["high_norm_rows"], dtype=bool)
        with safe_open(folder / TENSORS, framework="numpy") as tensors:
            mask[np.asarray(tensors.get_tensor("high_norm"))] = True
        found.append(mask)
    return np.concatenate(found)


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


def shard_counts(folders: Sequence[Path]) -> UInt[np.ndarray, " rows"]:
    """Active latents of each stored row."""
    found: list[np.ndarray] = []
    for folder in folders:
        with safe_open(folder / TENSORS, framework="numpy") as tensors:
            found.append(np.asarray(tensors.get_tensor("counts")))
    return np.concatenate(found)


def shard_folders(store: Store, reference: LatentsReference, n_shards: int) -> list[Path]:
    """Where the shards of one hookpoint are, verified."""
    return [store.open(replace(reference.artifact, shard=shard)) for shard in range(n_shards)]
