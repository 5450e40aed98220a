"""The assignment of largest total cosine of decoder rows (Paulo and Belrose 2025, arXiv 2501.16615)."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.alignments.base import DictionaryAlignment
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.dictionary_similarity import DictionaryParameters, decoder_cosine_candidates


@dataclass
class DecoderCosine(DictionaryAlignment):
    """One to one by writing directions, for dictionaries of one residual basis only; reads no tokens."""

    name: ClassVar[str] = "decoder_cosine"

    def candidates_of(self, a: DictionaryParameters, b: DictionaryParameters) -> Candidates:
        """The latents with the most similar decoder rows.

        Raises:
            ValueError: different residual bases, or damaged parameters.
        """
        return decoder_cosine_candidates(a, b, top_m=self.candidates)
