"""The assignment of largest total cosine of encoder rows."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import DictionaryAlignment
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.dictionary_similarity import DictionaryParameters, encoder_cosine_candidates


@dataclass
class EncoderCosine(DictionaryAlignment):
    """One to one by reading directions, for dictionaries of one residual basis only; reads no tokens."""

    name: ClassVar[str] = "encoder_cosine"

    def candidates_of(self, a: DictionaryParameters, b: DictionaryParameters) -> Candidates:
        """The latents with the most similar encoder rows.

        Raises:
            ValueError: different residual bases, or damaged parameters.
        """
        return encoder_cosine_candidates(a, b, top_m=self.candidates)
