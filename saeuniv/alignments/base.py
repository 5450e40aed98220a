"""What every alignment method is: a configuration and one function of a correlation matrix."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.config import Alignment
from saeuniv.numerics.assignment import Matching


@dataclass
class AlignmentMethod(Alignment, ABC):
    """Base of the methods; a new one is a file here, a line in `ALIGNMENTS`, a YAML file and a test."""

    fixed_size: ClassVar[bool]
    """The number of pairs does not depend on the data, so that a re-matched null has as many."""

    @abstractmethod
    def match(self, correlation: Float[np.ndarray, "latents_a latents_b"]) -> Mapping[str, Matching]:
        """Pairs by direction: a_to_b and b_to_a, or both where the method has no direction."""

    def refusal(self, n_a: int, n_b: int) -> str | None:
        """Why these many latents cannot be aligned by this method, or None."""
        del n_a, n_b
        return None
