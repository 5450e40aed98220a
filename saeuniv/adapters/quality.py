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
# Bytes of logits held at once where losses are computed: 4 sequences of 128 tokens and 256k words.
_LOGITS_BYTES = 2**29


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
    attended: Bool[np.ndarray, "sequences context"] | None = None,
    *,
    bound: float,
    batch_sequences: int,
) -> dict[Hookpoint, Encoded]:
    """The latents of the kept positions at every hookpoint, from one forward pass a batch.

    Rows whose norm at `norm_hookpoint` is above `bound` are those of high norm. `attended`: the positions
    that are not hidden from attention (padding is), here and below; None: all. Memory is that of a batch
    and of the latents themselves.
    """
    reference = norm_hookpoint(model)
    parts: dict[Hookpoint, list[EncodedRows]] = {hookpoint: [] for hookpoint in dictionaries}
    fits: dict[Hookpoint, tuple[FvuSums, FvuSums]] = {}
    high: list[Tensor] = []

    def encoded(batch: slice) -> tuple[Tensor, dict[Hookpoint, _EncodedBatch]]:
        shown = _part(attended, batch)
        activations = model.activations(ids[batch], list({*dictionaries, reference}), attended=shown)
        is_high = _norms(activations[reference], keep[batch]) > bound
        rows = {hookpoint: activations[hookpoint][keep[batch]] for hookpoint in dictionaries}
        return is_high, {each: _encoded(dictionaries[each], x, is_high) for each, x in rows.items()}

    for is_high, found in model.batches.of(len(ids), batch_sequences, encoded):
        high.append(is_high)
        for hookpoint, (rows, *both) in found.items():
            parts[hookpoint].append(rows)
            known = fits.get(hookpoint)
            fits[hookpoint] = (
                (known[0].plus(both[0]), known[1].plus(both[1])) if known else (both[0], both[1])
            )
    mask = torch.cat(high).cpu().numpy()
    return {hookpoint: Encoded(parts[hookpoint], *fits[hookpoint], mask) for hookpoint in dictionaries}


def row_norms(
    model: LanguageModel,
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None = None,
) -> Float[np.ndarray, " rows"]:
    """The norm of the residual stream at `norm_hookpoint` on the kept positions."""
    reference = norm_hookpoint(model)

    def norms(batch: slice) -> Float[Tensor, " rows"]:
        shown = _part(attended, batch)
        return _norms(model.activations(ids[batch], [reference], attended=shown)[reference], keep[batch])

    return torch.cat([*model.batches.of(len(ids), _BATCH_SEQUENCES, norms)]).cpu().numpy()


def norm_hookpoint(model: LanguageModel) -> Hookpoint:
    """Where rows of high norm are told: the middle of the model, where massive activations stand.

    They appear after the first blocks and go before the last (Sun et al. 2024, Massive Activations).
    """
    return Hookpoint(HookpointKind.resid_post, (model.n_layers - 1) // 2)


def splicing_losses(
    model: LanguageModel,
    dictionaries: Mapping[Hookpoint, Dictionary],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None = None,
) -> dict[Hookpoint, dict[str, float]]:
    """Mean next-token loss in nats: clean, with each reconstruction spliced in, with the mean in its place.

    Kept positions alone are replaced, and counted where a token of text follows. Costs two forward passes a
    dictionary, and two more. From these follows the loss recovered, (ablated - spliced) / (ablated - clean).
    """
    means = _means(model, list(dictionaries), ids, keep, attended)
    clean = _loss(model, ids, keep, attended)
    found: dict[Hookpoint, dict[str, float]] = {}
    for hookpoint, dictionary in dictionaries.items():
        found[hookpoint] = {
            "clean": clean,
            "spliced": _loss(model, ids, keep, attended, hookpoint, dictionary),
            "ablated": _loss(model, ids, keep, attended, hookpoint, means[hookpoint]),
        }
    return found


def _loss(
    model: LanguageModel,
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None,
    hookpoint: Hookpoint | None = None,
    instead: Dictionary | Tensor | None = None,
) -> float:
    counted = keep[:, :-1] if attended is None else keep[:, :-1] & attended[:, 1:]

    def summed(batch: slice) -> float:
        kept = torch.from_numpy(keep[batch])

        def replaced(x: Tensor) -> Tensor:
            x, chosen = x.clone(), kept.to(x.device)
            made = instead.reconstruct(x[chosen]) if isinstance(instead, Dictionary) else instead
            assert made is not None, "a hookpoint is replaced by something"
            x[chosen] = made.to(x)
            return x

        n = int(counted[batch].sum())
        if not n:
            return 0.0
        replace = {hookpoint: replaced} if hookpoint is not None else None
        shown = _part(attended, batch)
        return model.mean_loss(ids[batch], keep[batch], attended=shown, replace=replace) * n

    a_sequence = 4 * ids.shape[1] * model.n_vocabulary
    size = min(_BATCH_SEQUENCES, max(1, _LOGITS_BYTES // a_sequence))
    return sum(model.batches.of(len(ids), size, summed)) / max(int(counted.sum()), 1)


def _means(
    model: LanguageModel,
    hookpoints: list[Hookpoint],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None,
) -> dict[Hookpoint, Float[Tensor, " d_in"]]:
    def sums(batch: slice) -> list[Tensor]:
        found = model.activations(ids[batch], hookpoints, attended=_part(attended, batch))
        return [x[keep[batch]].double().sum(0) for x in found.values()]

    batches = [*model.batches.of(len(ids), _BATCH_SEQUENCES, sums)]
    totals = [torch.stack(each).sum(0) for each in zip(*batches, strict=True)]
    n = max(int(keep.sum()), 1)
    return {hookpoint: total / n for hookpoint, total in zip(hookpoints, totals, strict=True)}


def _part(
    attended: Bool[np.ndarray, "sequences context"] | None, batch: slice
) -> Bool[np.ndarray, "batch context"] | None:
    return None if attended is None else attended[batch]


_EncodedBatch = tuple[EncodedRows, FvuSums, FvuSums]


def _encoded(
    dictionary: Dictionary, x: Float[Tensor, "rows d_in"], is_high: Bool[Tensor, " rows"]
) -> _EncodedBatch:
    rows, made = dictionary.encode_and_reconstruct(x)
    fit, fit_high = (FvuSums.of(x[chosen], made[chosen]) for chosen in (~is_high, is_high))
    return rows, fit, fit_high


def _norms(
    x: Float[Tensor, "batch context d_model"], keep: Bool[np.ndarray, "batch context"]
) -> Float[Tensor, " rows"]:
    return torch.linalg.vector_norm(x.float(), dim=-1)[keep]
