"""Latents of every asked layer of one model on the held-out tokens, in one forward pass, shard by shard."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.task import LatentsReference, ModelReference, Progress, Task
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Store

_log = logging.getLogger(__name__)

# Rows per shard, cut at the next document end. Part of the format: shards of one key are cut alike.
SHARD_ROWS = 32_768

# Sequences on which a dictionary's fit to its hookpoint is checked before anything is encoded.
_CHECKED_SEQUENCES = 64

_TENSORS = "latents.safetensors"
_QUALITY = "quality.json"


@dataclass(frozen=True)
class Encode(Task):
    """Encodes all missing shards of all hookpoints of one model."""

    stage: ClassVar[str] = "latents"

    model: ModelReference
    tokens: Artifact
    latents: tuple[LatentsReference, ...]
    skip_first: int
    batch_sequences: int

    @property
    def label(self) -> str:
        """The model and how many of its hookpoints."""
        return f"{self.model.label} x {len(self.latents)}"

    def __call__(self, progress: Progress) -> None:
        """Check every dictionary on its own input, then encode and publish shard by shard.

        Raises:
            RefusedDictionary: a dictionary leaves more of its input unexplained than allowed.
        """
        from saeuniv.adapters.dictionary import check_fvu, load_dictionary
        from saeuniv.adapters.language_model import load_language_model

        held_out = read_held_out(self.store, self.tokens)
        model = load_language_model(self.model.locate(self.store), revision=self.model.revision)
        dictionaries = {
            each.dictionary.hookpoint: load_dictionary(each.dictionary.locate(self.store))
            for each in self.latents
        }
        step = max(len(held_out.ids) // _CHECKED_SEQUENCES, 1)
        for warning in check_fvu(
            model,
            dictionaries,
            held_out.ids[::step][:_CHECKED_SEQUENCES],
            skip_first=self.skip_first,
            max_fvu=min(each.dictionary.sae.max_fvu for each in self.latents),
            label=self.model.label,
        ):
            _log.warning(warning)
        cuts = shard_cuts(held_out.documents, held_out.ids.shape[1] - self.skip_first)
        for shard, cut in enumerate(cuts):
            self._encode_shard(model, dictionaries, held_out.ids[cut], shard)
            progress(shard + 1, len(cuts))
        _log.info("latents: %s, %d sequences in %d shards", self.label, len(held_out.ids), len(cuts))

    def _encode_shard(
        self,
        model: Any,
        dictionaries: dict[Hookpoint, Any],
        ids: Int[np.ndarray, "sequences context"],
        shard: int,
    ) -> None:
        missing = [
            (each.dictionary.hookpoint, replace(each.artifact, shard=shard))
            for each in self.latents
            if not self.store.exists(replace(each.artifact, shard=shard))
        ]
        if not missing:
            return
        from saeuniv.adapters.dictionary import FvuSums

        started = time.monotonic()
        hookpoints = [hookpoint for hookpoint, _ in missing]
        parts: dict[Hookpoint, list[Any]] = {hookpoint: [] for hookpoint in hookpoints}
        sums: dict[Hookpoint, Any] = {}
        for start in range(0, len(ids), self.batch_sequences):
            batch = model.activations(ids[start : start + self.batch_sequences], hookpoints)
            for hookpoint in hookpoints:
                x = batch[hookpoint][:, self.skip_first :].flatten(0, 1)
                parts[hookpoint].append(dictionaries[hookpoint].encode(x))
                fit = FvuSums.of(x, dictionaries[hookpoint].reconstruct(x))
                sums[hookpoint] = sums[hookpoint].plus(fit) if hookpoint in sums else fit
        share = (time.monotonic() - started) / len(missing)
        for hookpoint, output in missing:
            width = dictionaries[hookpoint].width
            with self.store.publish(output, seconds=share) as folder:
                _save_shard(folder, parts[hookpoint], sums[hookpoint], width)


def _save_shard(folder: Path, parts: Sequence[Any], fit: Any, width: int) -> None:
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
    fit = _fit(folders)
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
    fit = _fit(_folders(store, reference, n_shards))
    return fit.error / max(fit.variance, 1e-300)


class _Fit(NamedTuple):
    width: int
    error: float
    variance: float


def _fit(folders: Sequence[Path]) -> _Fit:
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
