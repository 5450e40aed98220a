"""The one-to-one assignment of largest total correlation (Kuhn 1955), among candidates, at any size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import CandidateAlignment
from saeuniv.numerics.assignment import Matching, hungarian
from saeuniv.numerics.candidates import Candidates


@dataclass
class Hungarian(CandidateAlignment):
    """One to one, min(n_a, n_b) pairs, those that are not alike included: as many in data and null."""

    name: ClassVar[str] = "hungarian"
    fixed_size: ClassVar[bool] = True

    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """The optimal assignment of the candidates, completed to min(n_a, n_b) pairs."""
        return {"both": hungarian(candidates)}
