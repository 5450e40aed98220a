"""Similarity of matched decoder directions: debiased CKA and SVCCA, each with re-matched nulls.

Tokens enter only through the matching, which is made on the match half. The null that counts shifts B
by documents and matches again (selection_shift): permuting the pairing alone is mildly
anti-conservative exactly where the latents are unrelated (docs/statistics.md C).
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.metrics.base import (
    PERMUTATION,
    SELECTION_SHIFT,
    WITHIN_TOKEN_SHUFFLE,
    Measurement,
    MetricMethod,
    undefined,
)
from saeuniv.metrics.layer_pair import LayerPair, Matches
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.kernels import debiased_cka, debiased_cka_of_grams, gram
from saeuniv.numerics.nulls import permutations
from saeuniv.numerics.subspace import svcca, svcca_basis

DirectionsA = Float[np.ndarray, "pairs d_a"]
DirectionsB = Float[np.ndarray, "pairs d_b"]


@dataclass
class DecoderMetric(MetricMethod):
    """Base: a similarity of paired rows, unit-norm decoder directions of the matches."""

    space: ClassVar[str] = "decoder"
    primary_null: ClassVar[str] = SELECTION_SHIFT
    aligned: ClassVar[bool] = True
    needs_nulls: ClassVar[tuple[str, ...]] = (SELECTION_SHIFT,)
    needs_decoders: ClassVar[bool] = True
    shuffled: ClassVar[bool] = False
    """Also evaluated on within-token-shuffled matches, as a decomposition."""

    @abstractmethod
    def similarity(self, x: DirectionsA, y: DirectionsB) -> tuple[float | None, str, tuple[str, ...]]:
        """The value, or None and the reason, and the flags."""

    @abstractmethod
    def permuted(self, x: DirectionsA, y: DirectionsB) -> Callable[[np.ndarray], float | None]:
        """The similarity of x with rows of y permuted, all that does not change computed once."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The similarity of the alignment's pairs, by direction and averaged."""
        assert pair.a.decoder is not None and pair.b.decoder is not None
        if reason := pair.why_unmatched:
            return undefined(reason, ("both",))
        measured = [self._measure_direction(pair, direction) for direction in pair.matches]
        if len(measured) == 1:
            return (measured[0]._replace(direction="both"),)
        defined = [each.value for each in measured if each.value is not None]
        reason = next((each.reason for each in measured if each.value is None), "")
        both = Measurement(
            "both",
            float(np.mean(defined)) if len(defined) == len(measured) else None,
            reason,
            empty=measured[0].empty,
            n_matches=round(float(np.mean([each.n_matches for each in measured]))),
            flags=tuple(dict.fromkeys(flag for each in measured for flag in each.flags)),
        )
        return (*measured, both)

    def _measure_direction(self, pair: LayerPair, direction: str) -> Measurement:
        x, y = _rows(pair, pair.matches[direction])
        value, reason, flags = self.similarity(x, y)
        nulls, empty = self._nulls(pair, direction) if value is not None else ({}, {})
        return Measurement(
            direction,
            value,
            reason,
            nulls=nulls,
            empty={**empty, "ci": "needs_rematching"},
            n_matches=len(x),
            flags=flags,
        )

    def _nulls(
        self, pair: LayerPair, direction: str
    ) -> tuple[dict[str, Float[np.ndarray, " draws"]], dict[str, str]]:
        nulls: dict[str, Float[np.ndarray, " draws"]] = {}
        empty: dict[str, str] = {}
        x, y = _rows(pair, pair.matches[direction])
        repaired = self.permuted(x, y)
        draws = pair.draws
        nulls[PERMUTATION] = _defined(
            [
                repaired(order)
                for order in permutations(len(x), draws=draws.n_permutations, seed=draws.permutation_seed)
            ]
        )
        for name in (SELECTION_SHIFT, *([WITHIN_TOKEN_SHUFFLE] if self.shuffled else [])):
            if name in pair.null_matches:
                nulls[name] = self._rematched(pair, direction, pair.null_matches[name])
        if SELECTION_SHIFT not in nulls:
            empty["p_value"] = empty["calibrated"] = pair.null_reasons.get(SELECTION_SHIFT, "no_null")
        elif len(pair.null_matches[SELECTION_SHIFT]) < draws.n_permutations:
            empty["p_value"] = empty["calibrated"] = "few_shifts"
        elif len(nulls[SELECTION_SHIFT]) < draws.n_permutations:
            # Draws on which the similarity is undefined are no draws: those left are a selection.
            empty["p_value"] = empty["calibrated"] = "undefined_similarity"
        return nulls, empty

    def _rematched(
        self, pair: LayerPair, direction: str, draws: tuple[Matches, ...]
    ) -> Float[np.ndarray, " draws"]:
        return _defined([self.similarity(*_rows(pair, matches[direction]))[0] for matches in draws])


@dataclass
class Cka(DecoderMetric):
    """Debiased linear CKA: about 0 for unrelated directions at any n, 1 for rotated copies."""

    name: ClassVar[str] = "cka"
    needs_nulls: ClassVar[tuple[str, ...]] = (SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE)
    shuffled: ClassVar[bool] = True

    def similarity(self, x: DirectionsA, y: DirectionsB) -> tuple[float | None, str, tuple[str, ...]]:
        """Debiased CKA of column-centred rows; undefined below four matches."""
        if len(x) < 4:
            return None, "too_few_matches", ()
        value = debiased_cka(x, y)
        return value, "" if value is not None else "undefined_similarity", ()

    def permuted(self, x: DirectionsA, y: DirectionsB) -> Callable[[np.ndarray], float | None]:
        """Both Gram matrices once; a permutation reads one of them in another order."""
        gram_x, gram_y = gram(x), gram(y)
        return lambda order: debiased_cka_of_grams(gram_x, gram_y, permutation=order)


@dataclass
class Svcca(DecoderMetric):
    """Mean canonical correlation after an SVD. Its null is far from 0 when n is near d: read excess."""

    name: ClassVar[str] = "svcca"

    variance_kept: float = 0.99
    """Fraction of each side's variance kept by the SVD step."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside (0, 1]."""
        if not 0 < self.variance_kept <= 1:
            raise ValueError(
                f"metrics.svcca.variance_kept={self.variance_kept}: expected a fraction in (0, 1], "
                f"got {self.variance_kept}."
            )

    def similarity(self, x: DirectionsA, y: DirectionsB) -> tuple[float | None, str, tuple[str, ...]]:
        """Mean canonical correlation; undefined where n <= k_a + k_b forces it towards 1."""
        result = svcca(
            svcca_basis(x, variance_kept=self.variance_kept),
            svcca_basis(y, variance_kept=self.variance_kept),
        )
        if not result.is_defined:
            return None, "too_few_matches", ()
        return result.similarity, "", ("rank_limited",) if result.is_rank_limited else ()

    def permuted(self, x: DirectionsA, y: DirectionsB) -> Callable[[np.ndarray], float | None]:
        """Both bases once; a permutation re-pairs their rows."""
        basis_x = svcca_basis(x, variance_kept=self.variance_kept)
        basis_y = svcca_basis(y, variance_kept=self.variance_kept)
        return lambda order: svcca(basis_x, basis_y[order]).similarity


def _rows(pair: LayerPair, matching: Matching) -> tuple[DirectionsA, DirectionsB]:
    assert pair.a.decoder is not None and pair.b.decoder is not None
    return pair.a.decoder[matching.index_a], pair.b.decoder[matching.index_b]


def _defined(values: list[float | None]) -> Float[np.ndarray, " draws"]:
    """The draws whose statistic is defined."""
    return np.array([value for value in values if value is not None], dtype=np.float64)
