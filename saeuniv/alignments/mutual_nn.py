"""Latents that are each other's most correlated latent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.alignments.base import AlignmentMethod
from saeuniv.numerics.assignment import Matching, mutual_nearest


@dataclass
class MutualNn(AlignmentMethod):
    """One to one and selective: a latent without a mutual partner stays unmatched."""

    name: ClassVar[str] = "mutual_nn"
    fixed_size: ClassVar[bool] = False

    def match(self, correlation: Float[np.ndarray, "latents_a latents_b"]) -> Mapping[str, Matching]:
        """The mutual nearest neighbours."""
        return {"both": mutual_nearest(correlation)}
