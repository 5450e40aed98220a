"""Excess correlation over a rotated basis: whether single latents are shared, or only the space they span."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.config import Condition, require_option
from saeuniv.metrics.base import DIRECTIONS, Found
from saeuniv.metrics.token_grams import Halves, TokenMetric
from saeuniv.numerics.dictionary_matching import random_rotation
from saeuniv.numerics.rotated_baseline import excess_correlations


@dataclass
class ExcessCorrelation(TokenMetric):
    """Mean over latents of the held-out correlation of the best match, less that with a rotated other side.

    Gurnee et al. 2024 (arXiv 2401.12181), made for neurons (sae=none sae.hookpoint=neurons). Departures: best
    matches are judged on the other half, the baseline's too; rotations are orthogonal; of activations without
    a dictionary positive and negative parts are latents of their own. A rotated side is dense: `max_latents`.
    """

    name: ClassVar[str] = "excess_correlation"
    directions: ClassVar[tuple[str, ...]] = DIRECTIONS

    condition: Condition = Condition.none
    """Rows of a group share this; none for Pearson's r, as published."""

    rotations: int = 1
    """Random bases that the baseline is the mean of."""

    seed: int = 0
    """Of the rotations: number r uses the generator (seed, r)."""

    def __post_init__(self) -> None:
        """Refuse a baseline of nothing."""
        given = self.rotations
        require_option("metrics.excess_correlation.rotations", given, given >= 1, "at least 1")

    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """The mean excess of A's latents over B rotated, of B's over A rotated, and the mean of both."""
        forward = self._mean(halves)
        backward = self._mean((halves[0].exchanged(), halves[1].exchanged()))
        each = {"a_to_b": forward, "b_to_a": backward, "both": (forward + backward) / 2}
        return {direction: Found(value) for direction, value in each.items()}

    def _mean(self, halves: Halves) -> float:
        width = len(halves[0].bb)
        rotations = tuple(_rotation(width, self.seed, r) for r in range(self.rotations))
        both = [excess_correlations(fit, judged, rotations) for fit, judged in (halves, halves[::-1])]
        return float(np.mean(both))


@lru_cache(maxsize=8)
def _rotation(width: int, seed: int, number: int) -> Float[np.ndarray, "width width"]:
    return random_rotation(width, np.random.default_rng([seed, number]))
