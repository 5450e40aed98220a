"""Each latent's most correlated latent on the other side (MPPC; Wang et al. 2024, arXiv 2410.06672)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import AlignmentMethod
from saeuniv.numerics.assignment import Matching, max_similarity, max_similarity_backward
from saeuniv.numerics.candidates import Candidates


@dataclass
class MaxCorr(AlignmentMethod):
    """Many to one, in each direction; a latent whose best correlation is not positive stays unmatched."""

    name: ClassVar[str] = "max_corr"
    fixed_size: ClassVar[bool] = False

    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """The best B for every A (a_to_b), and the best A for every B (b_to_a)."""
        return {"a_to_b": max_similarity(candidates), "b_to_a": max_similarity_backward(candidates)}
