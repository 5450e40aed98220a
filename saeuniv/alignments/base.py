"""What every alignment method is: a configuration and one function of the candidates."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saeuniv.config import Alignment, require_option
from saeuniv.numerics.assignment import Matching, hungarian
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.dictionary_similarity import DictionaryParameters


@dataclass
class AlignmentMethod(Alignment, ABC):
    """Base of the methods; a new one is a file here, a line in `ALIGNMENTS`, a YAML file and a test."""

    fixed_size: ClassVar[bool]
    """The number of pairs does not depend on the data, so that a re-matched null has as many."""

    @property
    def n_candidates(self) -> int:
        """Partners per latent and side that `match` looks at."""
        return 1

    @abstractmethod
    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """Pairs by direction: a_to_b and b_to_a, or both where the method has no direction."""


@dataclass
class CandidateAlignment(AlignmentMethod):
    """Base of the methods that look at more than the best partner."""

    candidates: int = 50
    """Partners looked at per latent and side."""

    def __post_init__(self) -> None:
        """Refuse a number of candidates below one."""
        super().__post_init__()
        require_option("alignment.candidates", self.candidates, self.candidates >= 1, "at least 1")

    @property
    def n_candidates(self) -> int:
        """Partners per latent and side that `match` looks at."""
        return self.candidates


@dataclass
class DictionaryAlignment(CandidateAlignment):
    """Base of the methods that compare what dictionaries are, not what they do on tokens; one to one.

    Only within one residual basis: coordinates of two models have nothing to do with one another.
    """

    reads: ClassVar[str] = "dictionaries"
    fixed_size: ClassVar[bool] = True

    @abstractmethod
    def candidates_of(self, a: DictionaryParameters, b: DictionaryParameters) -> Candidates:
        """The most similar latents by their parameters.

        Raises:
            ValueError: dictionaries of different residual bases, or without what the method reads.
        """

    def match(self, candidates: Candidates) -> Mapping[str, Matching]:
        """The assignment of largest total similarity, min(n_a, n_b) pairs."""
        return {"both": hungarian(candidates)}
