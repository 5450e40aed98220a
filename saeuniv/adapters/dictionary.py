"""Dictionaries (SAEs) of every format, and how well they fit what they read."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from saeuniv.adapters.encoding import Dictionary as Dictionary
from saeuniv.adapters.encoding import EncodedRows as EncodedRows
from saeuniv.adapters.encoding import load_dictionary as load_dictionary
from saeuniv.adapters.language_model import LanguageModel
from saeuniv.adapters.training import train_dictionaries as train_dictionaries
from saeuniv.hookpoints import Hookpoint

# Sequences per forward pass of the FVU check.
_BATCH_SEQUENCES = 32
# A neighbour that leaves less than this share of the unexplained variance is suspicious.
_SUSPICIOUS_SHARE = 0.5


class RefusedDictionary(ValueError):
    """A dictionary does not reconstruct the activations it is given."""


class FvuSums(NamedTuple):
    """Sums from which the fraction of variance unexplained follows; those of batches add up."""

    rows: int
    error: float
    """Sum of squares of input minus reconstruction."""

    squares: float
    """Sum of squares of the input."""

    total: Float64[np.ndarray, " d_in"]
    """Sum of the input's rows."""

    @classmethod
    def of(cls, x: Float[Tensor, "rows d_in"], reconstruction: Float[Tensor, "rows d_in"]) -> "FvuSums":
        """The sums of these rows, in float64."""
        wide = x.to(reconstruction.device, torch.float64)
        error = float((wide - reconstruction.double()).square().sum())
        return cls(len(x), error, float(wide.square().sum()), wide.sum(0).cpu().numpy())

    def plus(self, other: "FvuSums") -> "FvuSums":
        """The sums over the rows of both."""
        return FvuSums(
            self.rows + other.rows,
            self.error + other.error,
            self.squares + other.squares,
            self.total + other.total,
        )

    @property
    def fvu(self) -> float:
        """Squared error over squared distance from the mean row: 0 is perfect, the mean row scores 1.

        Raises:
            ValueError: the input does not vary, so that the fraction is undefined.
        """
        variance = self.squares - float(self.total @ self.total) / self.rows
        if variance <= 0:
            raise ValueError(f"expected activations that vary, got {self.rows} equal rows.")
        return self.error / variance


def check_fvu(
    model: LanguageModel,
    dictionaries: Mapping[Hookpoint, Dictionary],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None = None,
    *,
    max_fvu: float,
    label: str,
) -> list[str]:
    """Warnings about dictionaries that fit a neighbouring hookpoint better than their own.

    Positions that are not kept are left out. Costs one forward pass over `ids` and
    three reconstructions per dictionary. `label` names the dictionaries in messages. `attended`: the
    positions that are not hidden from attention; None: all.

    Raises:
        RefusedDictionary: with every dictionary that leaves more than `max_fvu` of its own input's
            variance unexplained, its FVU at the neighbouring hookpoints, and the lowest named.
    """
    sums = _neighbourhood_sums(model, dictionaries, ids, keep, attended)
    refused: list[str] = []
    warnings: list[str] = []
    for own in dictionaries:
        fvu = {place: each.fvu for (owner, place), each in sums.items() if owner == own}
        lowest = min(fvu, key=fvu.__getitem__)
        others = ", ".join(f"{fvu[place]:.3f} at {place}" for place in fvu if place != own)
        measured = f"{label} at {own}: FVU {fvu[own]:.3f}"
        if not fvu[own] <= max_fvu:  # also where it is not a number
            fits = f"fits {lowest} best" if lowest != own else "fits no neighbour better"
            refused.append(
                f"{measured} on its own input, expected at most {max_fvu}; {others}. It {fits}: check that "
                f"the dictionary is this model's and reads this hookpoint (sae.hookpoint, off by one layer)."
            )
        elif fvu[lowest] < _SUSPICIOUS_SHARE * fvu[own]:
            warnings.append(
                f"{measured} on its own input, but {fvu[lowest]:.3f} at {lowest}: it may have been trained "
                f"there. Check sae.hookpoint (off by one layer)."
            )
    if refused:
        raise RefusedDictionary("\n".join(refused))
    return warnings


def neighbourhood_fvu(
    model: LanguageModel,
    dictionaries: Mapping[Hookpoint, Dictionary],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
) -> dict[Hookpoint, dict[str, float]]:
    """The FVU of each dictionary at its own hookpoint (first) and at the neighbours, by their names."""
    sums = _neighbourhood_sums(model, dictionaries, ids, keep)
    return {
        own: {str(place): each.fvu for (owner, place), each in sums.items() if owner == own}
        for own in dictionaries
    }


def _neighbourhood_sums(
    model: LanguageModel,
    dictionaries: Mapping[Hookpoint, Dictionary],
    ids: Int[np.ndarray, "sequences context"],
    keep: Bool[np.ndarray, "sequences context"],
    attended: Bool[np.ndarray, "sequences context"] | None = None,
) -> dict[tuple[Hookpoint, Hookpoint], FvuSums]:
    """Sums of each dictionary (first of the key) at its own hookpoint and the neighbours (second)."""
    places = [(own, place) for own in dictionaries for place in (own, *own.neighbours(model.n_layers))]
    wanted = list(dict.fromkeys(place for _, place in places))
    sums: dict[tuple[Hookpoint, Hookpoint], FvuSums] = {}

    def sums_of(batch: slice) -> list[FvuSums]:
        shown = None if attended is None else attended[batch]
        activations = model.activations(ids[batch], wanted, attended=shown)
        rows = {place: activations[place][keep[batch]] for place in wanted}
        return [FvuSums.of(rows[place], dictionaries[own].reconstruct(rows[place])) for own, place in places]

    for found in model.batches.of(len(ids), _BATCH_SEQUENCES, sums_of):
        for at, new in zip(places, found, strict=True):
            sums[at] = sums[at].plus(new) if at in sums else new
    return sums
