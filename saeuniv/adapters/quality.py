"""What dictionaries make of a model's activations: latents, and how well they stand for their input."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeuniv.adapters.dictionary import Dictionary, EncodedRows, FvuSums
from saeuniv.adapters.language_model import LanguageModel
from saeuniv.hookpoints import Hookpoint, HookpointKind

HIGH_NORM = 10.0
"""A row whose residual norm is so many times the median is one of high norm (an attention sink)."""

# Sequences per forward pass where a few sequences are looked at.
_BATCH_SEQUENCES = 32


class Encoded(NamedTuple):
    """The latents of one hookpoint on some sequences, and their fit."""

    parts: Sequence[EncodedRows]
    """Of each batch."""

    fit: FvuSums
    fit_high_norm: FvuSums
    high_norm: Bool[np.ndarray, " rows"]
    """Rows of high norm: they are encoded as all others, and are no part of `fit`."""


def encode_rows(
    model: LanguageModel,
    dictionaries: Mapping[Hookpoint, Dictionary],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    *,
    bound: float,
    batch_sequences: int,
) -> dict[Hookpoint, Encoded]:
    """The latents of the kept positions at every hookpoint, from one forward pass a batch.

    Rows whose norm at `norm_hookpoint` is above `bound` are those of high norm. Memory is that of a batch
    and of the latents themselves.
    """
    reference = norm_hookpoint(model)
    parts: dict[Hookpoint, list[EncodedRows]] = {hookpoint: [] for hookpoint in dictionaries}
    fits: dict[Hookpoint, tuple[FvuSums, FvuSums]] = {}
    high: list[Tensor] = []
    for start in range(0, len(ids), batch_sequences):
        batch = slice(start, start + batch_sequences)
        activations = model.activations(ids[batch], list({*dictionaries, reference}))
        is_high = _norms(activations[reference], keep[batch]) > bound
        high.append(is_high)
        for hookpoint, dictionary in dictionaries.items():
            x = activations[hookpoint][keep[batch]]
            parts[hookpoint].append(dictionary.encode(x))
            made = dictionary.reconstruct(x)
            both = (FvuSums.of(x[~is_high], made[~is_high]), FvuSums.of(x[is_high], made[is_high]))
            known = fits.get(hookpoint)
            fits[hookpoint] = (known[0].plus(both[0]), known[1].plus(both[1])) if known else both
    mask = torch.cat(high).cpu().numpy()
    return {hookpoint: Encoded(parts[hookpoint], *fits[hookpoint], mask) for hookpoint in dictionaries}


def row_norms(
    model: LanguageModel,
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
) -> Float[np.ndarray, " rows"]:
    """The norm of the residual stream at `norm_hookpoint` on the kept positions."""
    reference = norm_hookpoint(model)
    found: list[Tensor] = []
    for start in range(0, len(ids), _BATCH_SEQUENCES):
        batch = slice(start, start + _BATCH_SEQUENCES)
        found.append(_norms(model.activations(ids[batch], [reference])[reference], keep[batch]))
    return torch.cat(found).cpu().numpy()


def norm_hookpoint(model: LanguageModel) -> Hookpoint:
    """Where rows of high norm are told: the middle of the model, where massive activations stand.

    They appear after the first blocks and go before the last (Sun et al. 2024, Massive Activations).
    """
    return Hookpoint(HookpointKind.resid_post, (model.n_layers - 1) // 2)


def _norms(
    x: Float[Tensor, "batch context d_model"], keep: Bool[np.ndarray, "batch context"]
) -> Float[Tensor, " rows"]:
    return torch.linalg.vector_norm(x.float(), dim=-1)[keep]
