"""The assignment of least squared distance of folded parameters (SAE Match; Balagansky et al. 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import DictionaryAlignment
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.dictionary_similarity import DictionaryParameters, folded_parameter_candidates


@dataclass
class FoldedParameters(DictionaryAlignment):
    """One to one, for dictionaries with thresholds (JumpReLU) in one residual basis; reads no tokens."""

    name: ClassVar[str] = "folded_parameters"
    needs_thresholds: ClassVar[bool] = True

    def candidates_of(self, a: DictionaryParameters, b: DictionaryParameters) -> Candidates:
        """The latents with the closest encoder, bias and decoder, all scaled to thresholds of 1.

        Raises:
            ValueError: different residual bases, no thresholds (TopK), or damaged parameters.
        """
        return folded_parameter_candidates(a, b, top_m=self.candidates)
