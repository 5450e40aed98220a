"""Similarities of two layers' latents on tokens that need no matching: CKA, SVCCA and Procrustes.

They see all eligible latents at once, so that no choice of pairs enters, and compare spaces: latents that are
mixtures of the other side's count, too. All are cross-fitted over the halves of the documents, so that they
are 0 on average for unrelated latents; their null shifts B's residuals by documents on both halves.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from saeuniv.config import Condition, require_option
from saeuniv.metrics.base import DOCUMENT_SHIFT, Found, Measurement, MetricMethod, undefined
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.nulls import draw_shifts
from saeuniv.numerics.token_grams import TokenGrams, TokenSides
from saeuniv.numerics.token_similarity import (
    cross_fitted_cka,
    cross_fitted_procrustes,
    cross_fitted_svcca,
)

Halves = tuple[TokenGrams, TokenGrams]

_MOST_KEPT_BYTES = 1 << 28
"""Grams of all draws of one layer pair up to which they are kept: some 290 latents a side at 99 draws."""


@dataclass
class TokenMetric(MetricMethod):
    """Base: a function of the within-group covariances of all eligible latents on both halves."""

    space: ClassVar[str] = "tokens"
    primary_null: ClassVar[str] = DOCUMENT_SHIFT
    aligned: ClassVar[bool] = False
    draws_shifts: ClassVar[bool] = True
    directions: ClassVar[tuple[str, ...]] = ("both",)

    condition: Condition = Condition.token
    """Rows of a group share this: covariances are within groups; none for all rows as one group."""

    max_latents: int = 1024
    """Eligible latents a side above which it is not computed: it takes p^2 memory and p^3 time a draw."""

    @abstractmethod
    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """The statistic in each of `directions`."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The value on both halves, and the same statistic of B shifted by documents on each."""
        if reason := pair.undefined(self.condition.value):
            return undefined(reason, self.directions)
        if max(pair.a.n_eligible, pair.b.n_eligible) > self.max_latents:
            return undefined("too_many_latents", self.directions)
        found, *drawn = (self.statistic(halves) for halves in _halves(pair, self.condition.value))
        return tuple(
            self._measurement(pair, direction, found[direction], drawn) for direction in self.directions
        )

    def _measurement(
        self, pair: LayerPair, direction: str, found: Found, drawn: list[Mapping[str, Found]]
    ) -> Measurement:
        if found.value is None:
            return Measurement(direction, None, found.reason)
        null = _defined([each[direction].value for each in drawn])
        empty = {"ci": "no_interval"}
        if len(drawn) < pair.draws.n_permutations:
            empty["p_value"] = empty["calibrated"] = "few_shifts"
        elif len(null) < len(drawn):
            # Draws on which the similarity is undefined are no draws: those left are a selection.
            empty["p_value"] = empty["calibrated"] = "undefined_similarity"
        return Measurement(
            direction, found.value, nulls={DOCUMENT_SHIFT: null}, empty=empty, flags=found.flags
        )


@dataclass
class CkaTokens(TokenMetric):
    """Linear CKA of latents on tokens, its squares taken across halves: about 0 for unrelated latents."""

    name: ClassVar[str] = "cka_tokens"

    max_latents: int = 4096
    """Eligible latents a side above which it is not computed: it takes p^2 memory."""

    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """One number of both halves."""
        return {"both": Found(cross_fitted_cka(*halves))}


@dataclass
class SvccaTokens(TokenMetric):
    """SVCCA of latents on tokens: mean correlation on one half of variates fitted on the other."""

    name: ClassVar[str] = "svcca_tokens"

    variance_kept: float = 0.99
    """Fraction of each side's variance kept by the SVD step."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside (0, 1]."""
        kept = self.variance_kept
        require_option("metrics.svcca_tokens.variance_kept", kept, 0 < kept <= 1, "a fraction in (0, 1]")

    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """Mean over both ways, in [-1, 1]; flags say how many components each fit kept."""
        fits = [
            cross_fitted_svcca(fit, evaluation, variance_kept=self.variance_kept)
            for fit, evaluation in (halves, halves[::-1])
        ]
        kept = "k=" + ",".join(f"{each.k_a}/{each.k_b}" for each in fits if each is not None)
        value = _mean([None if each is None else each.similarity for each in fits])
        return {"both": Found(value, flags=(kept,))}


@dataclass
class ProcrustesTokens(TokenMetric):
    """Procrustes similarity of latents on tokens, of a rotation fitted on the other half."""

    name: ClassVar[str] = "procrustes_tokens"

    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """Mean over both ways, in [-1, 1]."""
        return {
            "both": Found(_mean([cross_fitted_procrustes(*halves), cross_fitted_procrustes(*halves[::-1])]))
        }


def _halves(pair: LayerPair, condition: str) -> Iterable[Halves]:
    """The Grams as observed and at each drawn shift; kept for the metrics to come where they are small."""
    if condition in pair.token_grams:
        return pair.token_grams[condition]
    made = _made(pair, condition)
    latents = pair.b.n_eligible * (pair.a.n_eligible + pair.b.n_eligible)
    if 16 * (pair.draws.n_permutations + 1) * latents > _MOST_KEPT_BYTES:
        return made
    return pair.token_grams.setdefault(condition, tuple(made))


def _made(pair: LayerPair, condition: str) -> Iterator[Halves]:
    draws, positions = pair.draws, pair.a.halves[0].half.positions
    first, second = (_sides(pair, half, condition, None) for half in (0, 1))
    yield first.grams(0), second.grams(0)
    # Both halves are cut to the sequences of the shorter one, so that a shift is one of both.
    first, second = (_sides(pair, half, condition, draws.n_sequences) for half in (0, 1))
    for shift in draw_shifts(draws.shifts, draws=draws.n_permutations, seed=draws.permutation_seed):
        yield first.grams(int(shift) * positions), second.grams(int(shift) * positions)


def _sides(pair: LayerPair, half: int, condition: str, n_sequences: int | None) -> TokenSides:
    a, b = pair.a.halves[half], pair.b.halves[half]
    groups = a.half.groups[condition]
    rows = None if n_sequences is None else n_sequences * a.half.positions
    return TokenSides(
        sp.csc_array(a.matrix[:rows]),
        sp.csc_array(b.matrix[:rows]),
        groups.ids[:rows],
        n_groups=len(groups.counts),
    )


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _defined(values: list[float | None]) -> Float[np.ndarray, " draws"]:
    return np.array([value for value in values if value is not None], dtype=np.float64)
