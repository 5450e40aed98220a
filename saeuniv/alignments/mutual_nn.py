"""Latents that are each other's most correlated latent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import AlignmentMethod
from saeuniv.numerics.assignment import Matching, mutual_nearest
from saeuniv.numerics.candidates import Candidates


@dataclass
class MutualNn(AlignmentMethod):
    """One to one and selective: a latent without a mutual partner stays unmatched."""

    name: ClassVar[str] = "mutual_nn"
    fixed_size: ClassVar[bool] = False

    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """The mutual nearest neighbours."""
        return {"both": mutual_nearest(candidates)}
