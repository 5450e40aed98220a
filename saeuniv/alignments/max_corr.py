"""Each latent's most correlated latent on the other side (MPPC; Wang et al. 2024, arXiv 2410.06672)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.alignments.base import AlignmentMethod
from saeuniv.numerics.assignment import Matching, max_similarity


@dataclass
class MaxCorr(AlignmentMethod):
    """Many to one, in each direction; a latent whose best correlation is not positive stays unmatched."""

    name: ClassVar[str] = "max_corr"
    fixed_size: ClassVar[bool] = False

    def match(self, correlation: Float[np.ndarray, "latents_a latents_b"]) -> Mapping[str, Matching]:
        """The best B for every A (a_to_b), and the best A for every B (b_to_a)."""
        backward = max_similarity(np.ascontiguousarray(correlation.T))
        order = np.lexsort((backward.index_a, backward.index_b))
        return {
            "a_to_b": max_similarity(correlation),
            "b_to_a": Matching(backward.index_b[order], backward.index_a[order], backward.similarity[order]),
        }
