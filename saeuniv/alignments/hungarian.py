"""The one-to-one assignment of largest total correlation (Kuhn 1955; scipy's Jonker-Volgenant)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.alignments.base import AlignmentMethod
from saeuniv.numerics.assignment import Matching, hungarian


@dataclass
class Hungarian(AlignmentMethod):
    """One to one, min(n_a, n_b) pairs, pairs that are not positive included: as many in data and null."""

    name: ClassVar[str] = "hungarian"
    fixed_size: ClassVar[bool] = True

    max_latents: int = 8192
    """Refused above: the dense assignment grows with the cube (8192 latents: 6 s and 0.5 GB a matrix)."""

    def match(self, correlation: Float[np.ndarray, "latents_a latents_b"]) -> Mapping[str, Matching]:
        """The optimal assignment.

        Raises:
            ValueError: more than `max_latents` latents on a side.
        """
        if refusal := self.refusal(*correlation.shape):
            raise ValueError(refusal)
        return {"both": hungarian(correlation)}

    def refusal(self, n_a: int, n_b: int) -> str | None:
        """The refusal of widths that the dense assignment cannot take."""
        if max(n_a, n_b) <= self.max_latents:
            return None
        return (
            f"alignment=hungarian: expected at most {self.max_latents} latents a side, got {n_a} and {n_b}. "
            f"Choose alignment=mutual_nn or max_corr, smaller widths, or raise alignment.max_latents."
        )
