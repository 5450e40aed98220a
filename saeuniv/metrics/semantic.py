"""Latents of a category of words (Time, Emotions ...) as a space of their own: semantic subspaces.

Lan et al. 2024 (arXiv 2410.06981, section 4.3): latents whose most active tokens are words of the category
are paired among themselves and compared. What speaks for the category is not that the pairs are no random
ones of these latents, but that other latents, found and paired alike, are less similar (docs/methods.md).
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from saeuniv.config import require_option
from saeuniv.metrics.base import RANDOM_SUBSPACE, RANDOM_WORDS, Measurement, MetricMethod, undefined
from saeuniv.metrics.decoder_metric import DecoderMetric
from saeuniv.metrics.layer_pair import WHOLE, Drawn, LatentPairs, LayerPair
from saeuniv.metrics.pc1 import Pc1AbsCorr
from saeuniv.metrics.published import of_rows
from saeuniv.metrics.rsa import RsaDimensions
from saeuniv.metrics.subspace_pairs import Subspace, subspace_pairs
from saeuniv.metrics.svcca import Svcca
from saeuniv.metrics.word_lists import categories, category_words
from saeuniv.numerics.correlation import pair_correlations
from saeuniv.numerics.semantic import latents_of_words, random_latents, random_words, words_in

_CHOOSE, _SCORE = 0, 1

# Streams of draws that must not be those of another null.
_OF_A, _OF_B, _OF_WORDS = 101, 102, 103

# Latents of a side below which a draw is none: one pair has no geometry.
_FEWEST = 2


@dataclass
class SemanticMetric(MetricMethod):
    """Base: latents of one category of words, paired among themselves as the published analysis pairs."""

    primary_null: ClassVar[str] = RANDOM_SUBSPACE
    aligned: ClassVar[bool] = False
    needs_words: ClassVar[bool] = True
    draws_permutations: ClassVar[bool] = True

    category: str = "time"
    """The category; also the end of the metric's name, as in semantic_rsa_emotions."""

    words: list[str] = field(default_factory=list[str])
    """Its words; empty: those of the package. In small letters: however written; others as they are."""

    top_rows: int = 5
    """Most active rows of a latent, whose words say whether it is of the category."""

    least_words: int = 1
    """How many of these are to be words of the category, at least; 1 as published."""

    min_latents: int = 5
    """Latents of a side below which nothing is computed (published sizes are 6 and more)."""

    first_seen: bool = False
    """Of the latents of B with one partner keep the first; false: the one of largest correlation."""

    in_sample: bool = False
    """Latents are found, paired and scored on all rows; false: found and paired on D1, scored on D2."""

    draws: int = 999
    """Random subspaces, random sets of words, and orders of the pairs."""

    def __post_init__(self) -> None:
        """Take the words of the category, and its name into the metric's own."""
        kind = type(self).name
        known = categories()
        found = self.category in known if not self.words else self.category.isidentifier()
        expected = f"one of {', '.join(known)}, or a name of your own with words=[...]"
        require_option(f"metrics.{kind}.category", self.category, found, expected)
        for setting, value, holds, expected in (
            ("top_rows", self.top_rows, self.top_rows >= 1, "at least 1"),
            ("least_words", self.least_words, 1 <= self.least_words <= self.top_rows, "1 to top_rows"),
            ("min_latents", self.min_latents, self.min_latents >= 2, "at least 2"),
            ("draws", self.draws, self.draws >= 1, "at least 1"),
        ):
            require_option(f"metrics.{kind}_{self.category}.{setting}", value, holds, expected)
        self.words = list(self.words or category_words(self.category))
        # One class makes the metrics of all categories: the name of each stands in the object.
        vars(self)["name"] = f"{kind}_{self.category}"

    @abstractmethod
    def of_pairs(self, pair: LayerPair, pairs: LatentPairs) -> Measurement:
        """What is computed of latents of A and B in pairs; with the nulls of their order."""

    @abstractmethod
    def value_of(self, pair: LayerPair, pairs: LatentPairs) -> float | None:
        """The value of `of_pairs`, without its nulls."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The value in direction `both` alone, beside random subspaces and random words."""
        if not (pair.a.n_eligible and pair.b.n_eligible):
            return undefined("no_eligible_latents", ("both",))
        if pair.words is None:
            return undefined("no_token_text", ("both",))
        chosen = words_in(pair.words.vocabulary, self.words)
        subspace = self._of_words(pair, chosen)
        if min(map(len, subspace)) < self.min_latents:
            return undefined("few_latents", ("both",))
        found = self.of_pairs(pair, *self._paired(pair, [subspace]))
        if found.value is None:
            return (found,)
        drawn = self._drawn(pair, chosen, subspace)
        nulls = {name: self._values(pair, pairings) for name, pairings in drawn.items()}
        # Draws on which the value is undefined are no draws: those left are a selection.
        enough = len(nulls[RANDOM_SUBSPACE]) == self.draws
        empty = {} if enough else dict.fromkeys(("p_value", "calibrated"), "undefined_similarity")
        return (found._replace(nulls={**nulls, **found.nulls}, empty={**empty, **found.empty}),)

    @property
    def _found_on(self) -> int:
        return WHOLE if self.in_sample else _CHOOSE

    def _of_words(self, pair: LayerPair, chosen: np.ndarray) -> Subspace:
        assert pair.words is not None
        words = pair.words
        a, b = (
            latents_of_words(side, words, chosen, n_peaks=self.top_rows, least=self.least_words)
            for side in pair.sides(self._found_on)
        )
        return a, b

    def _drawn(self, pair: LayerPair, chosen: np.ndarray, subspace: Subspace) -> Drawn:
        """The pairs of every draw of both nulls; the metrics of one category share them."""
        own = (*self.words, self.top_rows, self.least_words, self.first_seen, self.in_sample, self.draws)
        if own not in pair.drawn_pairs:
            seed = pair.draws.permutation_seed
            assert pair.words is not None
            drawn = random_words(pair.words, chosen, draws=self.draws, seed=_stream(seed, _OF_WORDS))
            subspaces = {
                RANDOM_SUBSPACE: self._random(pair, subspace),
                RANDOM_WORDS: (self._of_words(pair, each) for each in drawn),
            }
            pair.drawn_pairs[own] = {
                null: tuple(self._paired(pair, (each for each in draws if min(map(len, each)) >= _FEWEST)))
                for null, draws in subspaces.items()
            }
        return pair.drawn_pairs[own]

    def _random(self, pair: LayerPair, subspace: Subspace) -> Iterable[Subspace]:
        """Random latents of A and, independently, of B."""
        seed, sides = pair.draws.permutation_seed, pair.sides(self._found_on)
        of_a, of_b = (
            random_latents(side, latents, draws=self.draws, seed=_stream(seed, stream))
            for side, latents, stream in zip(sides, subspace, (_OF_A, _OF_B), strict=True)
        )
        return zip(of_a, of_b, strict=True)

    def _values(self, pair: LayerPair, pairings: Iterable[LatentPairs]) -> np.ndarray:
        """The value of each, without those on which there is none."""
        found = (self.value_of(pair, each) for each in pairings)
        return np.array([value for value in found if value is not None])

    def _paired(self, pair: LayerPair, subspaces: Iterable[Subspace]) -> Iterator[LatentPairs]:
        return subspace_pairs(pair, subspaces, found_on=self._found_on, first_seen=self.first_seen)


@dataclass
class SemanticSimilarity(SemanticMetric):
    """Base: a similarity of the decoder rows of the pairs."""

    space: ClassVar[str] = "decoder"
    needs_decoders: ClassVar[bool] = True

    @property
    @abstractmethod
    def similarity(self) -> DecoderMetric[Any]:
        """What is computed of the rows."""

    def of_pairs(self, pair: LayerPair, pairs: LatentPairs) -> Measurement:
        """The similarity, beside pairings of the same latents at random."""
        return of_rows(self.similarity, pair, *pairs, runs=self.draws)

    def value_of(self, pair: LayerPair, pairs: LatentPairs) -> float | None:
        """The similarity alone."""
        return of_rows(self.similarity, pair, *pairs, runs=0).value


@dataclass
class SemanticSvcca(SemanticSimilarity):
    """What is published as SVCCA of a category: the correlation of the first components of its pairs."""

    name: ClassVar[str] = "semantic_svcca"
    family: ClassVar[str] = "semantic_svcca"

    pc1: bool = True
    """As published, |r| of the first components; false: SVCCA, undefined where there are too few pairs."""

    @property
    def similarity(self) -> DecoderMetric[Any]:
        """`pc1_abs_corr` or `svcca`."""
        return Pc1AbsCorr() if self.pc1 else Svcca()


@dataclass
class SemanticRsa(SemanticSimilarity):
    """RSA of the pairs of a category: Pearson's r over dimensions, Spearman's between the sides."""

    name: ClassVar[str] = "semantic_rsa"
    family: ClassVar[str] = "semantic_rsa"

    @property
    def similarity(self) -> DecoderMetric[Any]:
        """`rsa_dimensions`."""
        return RsaDimensions()


@dataclass
class SemanticCorrelation(SemanticMetric):
    """Mean r of the pairs of a category, on documents they were not chosen on, whatever the basis."""

    name: ClassVar[str] = "semantic_correlation"
    family: ClassVar[str] = "semantic_correlation"
    space: ClassVar[str] = "tokens"

    def of_pairs(self, pair: LayerPair, pairs: LatentPairs) -> Measurement:
        """The mean over the pairs."""
        r = pair_correlations(*pair.sides(WHOLE if self.in_sample else _SCORE), *pairs, "none")
        return Measurement("both", float(r.mean()), empty={"ci": "no_interval"}, n_matches=len(r))

    def value_of(self, pair: LayerPair, pairs: LatentPairs) -> float | None:
        """The same."""
        return self.of_pairs(pair, pairs).value


def _stream(seed: int, stream: int) -> int:
    """A seed of its own for each kind of draw."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
