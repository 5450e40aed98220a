"""The published analysis as metrics of their own, with its matching and its faults (docs/methods.md).

Lan et al. 2024 (arXiv 2410.06981). Only to reproduce its figures, and to say what each fault does to them.
Each fault is an option, and by default all are on.
"""

import json
from abc import abstractmethod
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.config import require_option
from saeuniv.metrics.base import PERMUTATION, Measurement, MetricMethod, undefined
from saeuniv.metrics.decoder_metric import DecoderMetric
from saeuniv.metrics.layer_pair import WHOLE, LayerPair
from saeuniv.metrics.pc1 import Pc1AbsCorr
from saeuniv.metrics.rsa import RsaDimensions
from saeuniv.metrics.svcca import Svcca
from saeuniv.numerics.correlation import Evidence, pair_correlations
from saeuniv.numerics.nulls import permutations
from saeuniv.numerics.published import best_partners, concept_pairs, one_to_one

_CHOOSE, _SCORE = 0, 1
_WITHOUT_NULL = {"p_value": "no_null", "calibrated": "no_null", "ci": "no_interval"}


class NonConcepts(Enum):
    """The lists of tokens that were taken for no concept, which differ from result to result."""

    pipeline = "pipeline"
    """That of the repository's scripts."""

    pythia = "pythia"
    """That of the notebooks on Pythia."""

    gemma = "gemma"
    """That of the notebook on Gemma 1."""


class PublishedPairs(NamedTuple):
    """The pairs that are kept, in the order of the latents of B."""

    index_a: Int[np.ndarray, " pairs"]
    index_b: Int[np.ndarray, " pairs"]

    correlations: Float[np.ndarray, " latents_b"]
    """Pearson's r of every latent of B with its partner, kept or not; 0 for constant ones."""


@dataclass
class PublishedMetric(MetricMethod):
    """Base: the published matching, B to A, and what may be put right in it; by default nothing is."""

    primary_null: ClassVar[str] = PERMUTATION
    aligned: ClassVar[bool] = False

    first_seen: bool = True
    """Of the latents of B with one partner keep the first; false: the one of largest correlation."""

    unfiltered: bool = True
    """Pairs of non-concepts stay, since the published code discards its filter; false: they are left out."""

    in_sample: bool = True
    """Pairs are chosen and scored on the same rows, all of them; false: chosen on D1, scored on D2."""

    min_correlation: float = 0.1
    """Pairs of a correlation at most this are left out; signed."""

    top_tokens: int = 5
    """Most active rows of a latent, whose tokens say whether it is a concept."""

    non_concepts: NonConcepts = NonConcepts.pipeline
    """Which of the published lists the filter has: pipeline, pythia or gemma."""

    exact: bool = True
    """Tokens are compared to the letter, as published; false: without the spaces around them, case kept."""

    runs: int = 100
    """Draws of the permutation null, in place of nulls.draws."""

    def __post_init__(self) -> None:
        """Refuse numbers of which no matching can be made."""
        for setting, value, holds, expected in (
            ("min_correlation", self.min_correlation, -1 <= self.min_correlation < 1, "at least -1, below 1"),
            ("top_tokens", self.top_tokens, self.top_tokens >= 1, "at least 1"),
            ("runs", self.runs, self.runs >= 1, "at least 1"),
        ):
            require_option(f"metrics.{self.name}.{setting}", value, holds, expected)

    @property
    def needs_token_text(self) -> bool:
        """The filter reads tokens, where it is applied."""
        return not self.unfiltered

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The value of the kept pairs, in direction `both` alone."""
        if not (pair.a.n_eligible and pair.b.n_eligible):
            return undefined("no_eligible_latents", ("both",))
        if self.needs_token_text and pair.token_text is None:
            return undefined("no_token_text", ("both",))
        return (self.of_pairs(pair, self.matched(pair)),)

    @abstractmethod
    def of_pairs(self, pair: LayerPair, pairs: PublishedPairs) -> Measurement:
        """The value of the kept pairs, with its null."""

    def matched(self, pair: LayerPair) -> PublishedPairs:
        """Many of B to one of A, the filter of non-concepts, one to one, the bound: in this order."""
        half = WHOLE if self.in_sample else _CHOOSE
        partners = best_partners(pair.candidates(half, Evidence("pearson", "none"), top_m=1))
        r = partners.correlation
        if not self.in_sample:
            r = pair_correlations(*pair.sides(_SCORE), partners.index_a, np.arange(len(r)), "none")
        chosen = np.ones(len(r), bool)
        if not self.unfiltered:
            assert pair.token_text is not None
            text, listed = pair.token_text, _lists()[self.non_concepts.value]
            if not self.exact:
                text, listed = ([each.strip(" ") for each in tokens] for tokens in (text, listed))
            chosen = concept_pairs(
                pair.sides(half),
                partners,
                text,
                non_concepts=listed,
                n_tokens=self.top_tokens,
            )
        index_b = one_to_one(partners, chosen, first_seen=self.first_seen)
        index_b = index_b[r[index_b] > self.min_correlation]
        return PublishedPairs(partners.index_a[index_b], index_b, r)


@dataclass
class PublishedSimilarity(PublishedMetric):
    """Base: a similarity of the decoder rows of the kept pairs, beside pairings of them at random."""

    space: ClassVar[str] = "decoder"
    needs_decoders: ClassVar[bool] = True
    draws_permutations: ClassVar[bool] = True

    @property
    @abstractmethod
    def similarity(self) -> DecoderMetric[Any]:
        """What is computed of the rows."""

    def of_pairs(self, pair: LayerPair, pairs: PublishedPairs) -> Measurement:
        """The similarity of the rows in order, and with B's rows in the orders drawn."""
        return of_rows(self.similarity, pair, pairs.index_a, pairs.index_b, runs=self.runs)


def of_rows(
    metric: DecoderMetric[Any],
    pair: LayerPair,
    index_a: Int[np.ndarray, " pairs"],
    index_b: Int[np.ndarray, " pairs"],
    *,
    runs: int,
) -> Measurement:
    """The similarity of the decoder rows of pairs, beside `runs` pairings of them at random."""
    assert pair.a.decoder is not None and pair.b.decoder is not None
    n_pairs = len(index_b)
    if n_pairs < 2:
        return Measurement("both", None, "too_few_matches", n_matches=n_pairs)
    a, b = metric.prepare(pair.a.decoder[index_a]), metric.prepare(pair.b.decoder[index_b])
    found = metric.compare(a, b, permutation=None)
    if found.value is None:
        return Measurement("both", None, found.reason, n_matches=n_pairs)
    drawn = [
        metric.compare(a, b, permutation=order).value
        for order in permutations(n_pairs, draws=runs, seed=pair.draws.permutation_seed)
    ]
    closed = metric.closed_form(a, b)
    return Measurement(
        "both",
        found.value,
        nulls={PERMUTATION: np.array([each for each in drawn if each is not None])},
        empty={"ci": "needs_rematching"},
        moments={metric.closed_form_name: closed} if closed else {},
        n_matches=n_pairs,
        flags=found.flags,
    )


@dataclass
class PublishedSvcca(PublishedSimilarity):
    """What is published as SVCCA of the kept pairs: the correlation of their first components."""

    name: ClassVar[str] = "published_svcca"

    pc1: bool = True
    """As published, |r| of the first components; false: SVCCA of the components with 99 % of the variance."""

    @property
    def similarity(self) -> DecoderMetric[Any]:
        """`pc1_abs_corr` or `svcca`."""
        return Pc1AbsCorr() if self.pc1 else Svcca()


@dataclass
class PublishedRsa(PublishedSimilarity):
    """RSA of the kept pairs: Pearson's r over dimensions within a side, Spearman's between the sides."""

    name: ClassVar[str] = "published_rsa"

    @property
    def similarity(self) -> DecoderMetric[Any]:
        """`rsa_dimensions`."""
        return RsaDimensions()


@dataclass
class PublishedMeanCorrelation(PublishedMetric):
    """Mean over all latents of B of r with their best one of A, kept or not, constant ones as 0; no null."""

    name: ClassVar[str] = "published_mean_correlation"
    space: ClassVar[str] = "tokens"

    def of_pairs(self, pair: LayerPair, pairs: PublishedPairs) -> Measurement:
        """The mean; a pairing of the kept pairs at random would leave it as it is."""
        value, n_matches = float(pairs.correlations.mean()), len(pairs.index_b)
        return Measurement("both", value, empty=_WITHOUT_NULL, n_matches=n_matches)


@dataclass
class PublishedKeptCorrelation(PublishedMetric):
    """Mean r of the kept pairs alone: what was published beside the similarities of their rows; no null."""

    name: ClassVar[str] = "published_kept_correlation"
    space: ClassVar[str] = "tokens"

    def of_pairs(self, pair: LayerPair, pairs: PublishedPairs) -> Measurement:
        """The mean; undefined where no pair is kept."""
        kept = pairs.correlations[pairs.index_b]
        if not len(kept):
            return Measurement("both", None, "too_few_matches")
        return Measurement("both", float(kept.mean()), empty=_WITHOUT_NULL, n_matches=len(kept))


@cache
def _lists() -> dict[str, list[str]]:
    """The lists of non-concepts by name, as they are published."""
    return json.loads((Path(__file__).parent / "non_concepts.json").read_text("utf-8"))
