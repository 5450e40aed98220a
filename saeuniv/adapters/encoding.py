"""A dictionary that computes: rows of activations in, sparse latents and reconstructions out."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32
from torch import Tensor
from torch.nn import functional

from saeuniv.adapters import formats
from saeuniv.adapters.formats.weights import (
    Activation,
    DictionaryWeights,
    Normalisation,
    pre_acts_fault,
)
from saeuniv.config import LatentKind

# Pre-activations computed at once: 256 MiB of float32.
_ENTRIES_AT_ONCE = 1 << 26
# As sae-lens has it.
_EPSILON = 1e-5


class EncodedRows(NamedTuple):
    """Sparse latents of some rows: the entries of row r follow those of row r - 1."""

    counts: Int32[np.ndarray, " rows"]
    """Entries per row."""

    indices: Int32[np.ndarray, " entries"]
    """Latents, ascending within a row."""

    values: Float32[np.ndarray, " entries"]
    """Positive."""


class _Active(NamedTuple):
    """Latents of some rows, in the order in which they are added up again."""

    indices: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]
    """Not negative: TopK fills up with zeros."""

    counts: Int[Tensor, " rows"]
    pre_acts: Float[Tensor, "rows latents"] | None = None
    """What TopK or groupmax chose among, not yet rectified; the next rows overwrite it."""


class _Scale(NamedTuple):
    """What was taken from rows before they were encoded."""

    shift: Float[Tensor, "rows one"] | None
    factor: Float[Tensor, "rows one"] | None
    mean: Float[Tensor, "rows one"] | None


class Dictionary:
    """A loaded dictionary of any format. It computes in float32, whatever type its file has."""

    def __init__(
        self, weights: DictionaryWeights, *, device: str = "cpu", kind: LatentKind = LatentKind.latents
    ) -> None:
        """With `kind=pre_acts` it encodes rows as pre-activations, and reconstructs from its own latents.

        Raises:
            ValueError: pre-activations of JumpReLU or gated dictionaries.
        """
        if kind is LatentKind.pre_acts and (fault := pre_acts_fault(weights.activation.value)):
            raise ValueError(f"the dictionary {fault}")

        def tensor(values: np.ndarray | None) -> Tensor | None:
            return None if values is None else torch.tensor(values, dtype=torch.float32, device=device)

        self._device = device
        self._kind = kind
        self.width, self.d_in = weights.encoder.shape
        self.k = weights.k
        """Largest number of active latents per row, where the dictionary bounds it."""

        # The large arrays live on as tensors alone.
        self._weights = weights._replace(
            encoder=weights.encoder[:0].copy(), decoder=weights.decoder[:0].copy()
        )
        self._encoder, self._bias, self._decoder, self._decoder_bias = (
            torch.tensor(values, dtype=torch.float32, device=device)
            for values in (weights.encoder, weights.encoder_bias, weights.decoder, weights.decoder_bias)
        )
        self._thresholds, self._skip = tensor(weights.thresholds), tensor(weights.skip)
        self._gate_bias, self._magnitude = tensor(weights.gate_bias), tensor(weights.magnitude)

    def encode(self, x: Float[Tensor, "rows d_in"]) -> EncodedRows:
        """The active latents (or pre-activations) of each row, those that are positive."""
        with torch.inference_mode():
            return _joined([self._rows(active) for active, _, _ in self._active(x)])

    def reconstruct(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
        """What the dictionary makes of its input, in the input's own scale and with its mean."""
        with torch.inference_mode():
            return torch.cat([self._decode(*each) for each in self._active(x)])

    def encode_and_reconstruct(
        self, x: Float[Tensor, "rows d_in"]
    ) -> tuple[EncodedRows, Float[Tensor, "rows d_out"]]:
        """Both at the cost of one encoding."""
        with torch.inference_mode():
            parts = [(self._rows(each[0]), self._decode(*each)) for each in self._active(x)]
        return _joined([rows for rows, _ in parts]), torch.cat([y for _, y in parts])

    @property
    def decoder(self) -> Float32[np.ndarray, "latents d_out"]:
        """The decoder directions as stored: their norms are not one."""
        return self._decoder.cpu().numpy()

    def _active(self, x: Float[Tensor, "rows d_in"]) -> Iterator[tuple[_Active, Tensor, _Scale]]:
        """The latents, input and scale of some rows after others."""
        if x.shape[-1] != self.d_in:
            raise ValueError(
                f"expected activations of {self.d_in} dimensions, got {x.shape[-1]}: the dictionary is "
                f"another model's or reads another hookpoint."
            )
        for chunk in x.split(max(_ENTRIES_AT_ONCE // self.width, 1)):
            rows = chunk.to(self._device, torch.float32)
            read, scale = self._normalised(rows)
            if self._weights.subtracts_decoder_bias:
                read = read - self._decoder_bias
            yield self._selected(read), rows, scale

    def _normalised(self, x: Tensor) -> tuple[Tensor, _Scale]:
        shift = factor = mean = None
        if self._weights.centred:
            mean = x.mean(-1, keepdim=True)
            x = x - mean
        match self._weights.normalisation:
            case Normalisation.layer_norm:
                shift = x.mean(-1, keepdim=True)
                x = x - shift
                factor = x.std(-1, keepdim=True)
                x = x / (factor + _EPSILON)
            case Normalisation.rescale:
                factor = x.norm(dim=-1, keepdim=True) / self.d_in**0.5
                x = x / factor
            case Normalisation.none:
                pass
        return x, _Scale(shift, factor, mean)

    def _selected(self, x: Tensor) -> _Active:
        if self._weights.activation is Activation.gated:
            assert self._gate_bias is not None and self._magnitude is not None
            shared = functional.linear(x, self._encoder)
            acts = torch.relu(shared * self._magnitude + self._bias) * (shared + self._gate_bias > 0)
            return _positive(acts)
        acts = torch.addmm(self._bias, x, self._encoder.T, out=_room(len(x), self.width, x.device))
        if self._weights.activation in (Activation.topk, Activation.groupmax):
            assert self.k is not None
            # The largest of all are the largest of the positive ones, where there are k of these.
            values, indices = _largest(acts, self.k, self._weights.activation)
            counts = torch.full((len(x),), self.k, dtype=torch.int64, device=acts.device)
            return _Active(indices.flatten(), values.flatten().relu_(), counts, acts)
        acts.relu_()
        match self._weights.activation:
            case Activation.jumprelu:
                assert self._thresholds is not None
                return _positive(acts * (acts > self._thresholds))
            case _:
                return _positive(acts)

    def _decode(self, active: _Active, x: Tensor, scale: _Scale) -> Tensor:
        starts = active.counts.cumsum(0) - active.counts
        y = functional.embedding_bag(
            active.indices, self._decoder, starts, per_sample_weights=active.values, mode="sum"
        )
        y = y + self._decoder_bias
        if self._skip is not None:
            y = y + x @ self._skip.mT
        for values, undo in ((scale.factor, torch.mul), (scale.shift, torch.add), (scale.mean, torch.add)):
            y = y if values is None else undo(y, values)
        return y

    def _rows(self, active: _Active) -> EncodedRows:
        """The positive latents, ascending within a row."""
        if self._kind is LatentKind.pre_acts and active.pre_acts is not None:
            indices, values, counts, _ = _positive(active.pre_acts.relu_())
        elif self._weights.activation in (Activation.topk, Activation.groupmax):
            indices, values, counts, _ = active
            table, order = indices.unflatten(0, (len(counts), -1)).sort(dim=-1)
            acts = values.unflatten(0, (len(counts), -1)).gather(-1, order)
            positive = acts > 0
            indices, values, counts = table[positive], acts[positive], positive.sum(-1)
        else:
            indices, values, counts, _ = active
        return EncodedRows(
            counts.to(torch.int32).cpu().numpy(), indices.to(torch.int32).cpu().numpy(), values.cpu().numpy()
        )


def load_dictionary(folder: str | Path, *, form: str | None = None, device: str = "cpu") -> Dictionary:
    """The dictionary in a folder of any format (no weights are unpickled that could run code).

    Raises:
        ValueError: see `formats.read`.
    """
    return Dictionary(formats.read(Path(folder), form=form), device=device)


@lru_cache(maxsize=1)
def _room(rows: int, width: int, device: torch.device) -> Tensor:
    """Where pre-activations are written, over and over: new pages cost as much as choosing the largest."""
    return torch.empty(rows, width, device=device)


def _largest(acts: Tensor, k: int, activation: Activation) -> tuple[Tensor, Tensor]:
    if activation is Activation.topk:
        return torch.topk(acts, k, dim=-1, sorted=False)
    values, within = acts.unflatten(-1, (k, -1)).max(dim=-1)
    size = acts.shape[-1] // k
    return values, within + torch.arange(0, acts.shape[-1], size, device=acts.device)


def _positive(acts: Float[Tensor, "rows latents"]) -> _Active:
    rows, latents = acts.nonzero(as_tuple=True)
    return _Active(latents, acts[rows, latents], torch.bincount(rows, minlength=len(acts)))


def _joined(parts: list[EncodedRows]) -> EncodedRows:
    if len(parts) == 1:
        return parts[0]
    return EncodedRows(*(np.concatenate(each) for each in zip(*parts, strict=True)))
