"""What every similarity of matched decoder directions is: its value, and its re-matched nulls.

Tokens enter only through the matching, which is made on the match half. The null that counts shifts B
by documents and matches again (selection_shift): permuting the pairing alone is mildly
anti-conservative exactly where the latents are unrelated (docs/statistics.md C).
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int

from saeuniv.metrics.base import (
    PERMUTATION,
    SELECTION_SHIFT,
    WITHIN_TOKEN_SHUFFLE,
    Found,
    Measurement,
    MetricMethod,
    undefined,
)
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.kernels import Moments
from saeuniv.numerics.latents import PreparedLayer
from saeuniv.numerics.nulls import permutations

Directions = Float[np.ndarray, "pairs d"]
Permutation = Int[np.ndarray, " pairs"]
Repaired = Callable[[Permutation], float | None]
Prepared = TypeVar("Prepared")


class PairedRows:
    """Rows of one side, and what they give with those of the other in any order, prepared once.

    For similarities of which most is prepared for two sides together.
    """

    def __init__(self, rows: Directions, repair: Callable[[Directions, Directions], Repaired]) -> None:
        """Keep the rows, and `repair`: two sides' similarity as a function of the order of the second."""
        self.rows = rows
        self._repair = repair
        self._made: tuple[PairedRows, Repaired] | None = None

    def repaired(self, other: "PairedRows") -> Repaired:
        """The similarity with the rows of `other` in another order; made anew for another side only."""
        if self._made is None or self._made[0] is not other:
            self._made = other, self._repair(self.rows, other.rows)
        return self._made[1]


@dataclass(frozen=True)
class _Sides(Generic[Prepared]):
    """The observed pairs and both their sides, prepared."""

    matching: Matching
    a: Prepared
    b: Prepared


@dataclass
class DecoderMetric(MetricMethod, Generic[Prepared]):
    """Base: a similarity of paired rows, unit-norm decoder directions of the matches.

    A metric says what it needs of one side (`prepare`) and what two sides give (`compare`). Each side is
    prepared once; pairings of the same latents, drawn or matched again, only re-pair what is prepared.
    """

    space: ClassVar[str] = "decoder"
    primary_null: ClassVar[str] = SELECTION_SHIFT
    aligned: ClassVar[bool] = True
    needs_nulls: ClassVar[tuple[str, ...]] = (SELECTION_SHIFT,)
    needs_decoders: ClassVar[bool] = True
    closed_form_name: ClassVar[str] = "permutation_closed_form"
    """What `closed_form` is called in nulls.csv."""

    rematched: ClassVar[bool] = True
    """Judged by pairs matched again; otherwise by permutations of the pairing, whatever the alignment."""

    shuffled: ClassVar[bool] = False
    """Also evaluated on within-token-shuffled matches, as a decomposition."""

    def __init_subclass__(cls) -> None:
        """Hide from OmegaConf that the base is generic: it takes the argument for types of a dictionary."""
        super().__init_subclass__()
        cls.__orig_bases__ = ()  # pyright: ignore[reportAttributeAccessIssue]

    @abstractmethod
    def prepare(self, rows: Directions) -> Prepared:
        """All that the similarity needs of one side, whatever it is paired with."""

    @abstractmethod
    def compare(self, a: Prepared, b: Prepared, *, permutation: Permutation | None) -> Found:
        """The similarity of row i of A with row permutation[i] of B (row i without a permutation)."""

    def closed_form(self, a: Prepared, b: Prepared) -> Moments | None:
        """Mean and spread over all permutations of the pairing, where a formula gives them."""
        del a, b
        return None

    def reorders(self, n_pairs: int) -> bool:
        """Whether B's rows in another order are, to `compare`, B as it is and a permutation."""
        del n_pairs
        return True

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The similarity of the alignment's pairs, by direction and averaged."""
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
        matching = pair.matches[direction]
        a, b = self.prepare(_rows(pair.a, matching.index_a)), self.prepare(_rows(pair.b, matching.index_b))
        value, reason, flags = self.compare(a, b, permutation=None)
        if value is None:
            nulls, empty, closed = {}, {}, None
        else:
            nulls, empty = self._nulls(pair, direction, _Sides(matching, a, b))
            reason, closed = "", self.closed_form(a, b)
        return Measurement(
            direction,
            value,
            reason,
            nulls=nulls,
            moments={self.closed_form_name: closed} if closed else {},
            empty={**empty, "ci": "needs_rematching"},
            n_matches=len(matching.index_a),
            flags=(*flags, *pair.match_flags),
        )

    def _nulls(
        self, pair: LayerPair, direction: str, observed: _Sides[Prepared]
    ) -> tuple[dict[str, Float[np.ndarray, " draws"]], dict[str, str]]:
        nulls: dict[str, Float[np.ndarray, " draws"]] = {}
        empty: dict[str, str] = {}
        draws, n = pair.draws, len(observed.matching.index_a)
        nulls[PERMUTATION] = _defined(
            [
                self.compare(observed.a, observed.b, permutation=order)
                for order in permutations(n, draws=draws.n_permutations, seed=draws.permutation_seed)
            ]
        )
        if not self.rematched:
            defined = len(nulls[PERMUTATION]) == draws.n_permutations
            return nulls, {} if defined else dict.fromkeys(("p_value", "calibrated"), "undefined_similarity")
        for name in (SELECTION_SHIFT, *([WITHIN_TOKEN_SHUFFLE] if self.shuffled else [])):
            if name in pair.null_matches:
                matched = [matches[direction] for matches in pair.null_matches[name]]
                nulls[name] = _defined([self._rematched(pair, observed, each) for each in matched])
        if SELECTION_SHIFT not in nulls:
            empty["p_value"] = empty["calibrated"] = pair.null_reasons.get(SELECTION_SHIFT, "no_null")
        elif len(pair.null_matches[SELECTION_SHIFT]) < draws.n_permutations:
            empty["p_value"] = empty["calibrated"] = "few_shifts"
        elif len(nulls[SELECTION_SHIFT]) < draws.n_permutations:
            # Draws on which the similarity is undefined are no draws: those left are a selection.
            empty["p_value"] = empty["calibrated"] = "undefined_similarity"
        return nulls, empty

    def _rematched(self, pair: LayerPair, observed: _Sides[Prepared], drawn: Matching) -> Found:
        """The similarity of pairs matched again; sides whose latents are those observed are not made anew."""
        known, index_a, index_b = observed.matching, drawn.index_a, drawn.index_b
        same_a = np.array_equal(index_a, known.index_a)
        a = observed.a if same_a else self.prepare(_rows(pair.a, index_a))
        if np.array_equal(index_b, known.index_b):
            return self.compare(a, observed.b, permutation=None)
        order = _order(known.index_b, index_b) if self.reorders(len(index_b)) else None
        b = self.prepare(_rows(pair.b, index_b)) if order is None else observed.b
        return self.compare(a, b, permutation=order)


def _order(known: Int[np.ndarray, " known"], drawn: Int[np.ndarray, " drawn"]) -> Permutation | None:
    """Where each of `drawn` stands in `known`; None unless they are the same latents."""
    places, wanted = np.argsort(known, kind="stable"), np.argsort(drawn, kind="stable")
    if not np.array_equal(known[places], drawn[wanted]):
        return None
    order = np.empty_like(places)
    order[wanted] = places
    return order


def _rows(layer: PreparedLayer, index: Int[np.ndarray, " pairs"]) -> Directions:
    assert layer.decoder is not None
    return layer.decoder[index]


def _defined(found: list[Found]) -> Float[np.ndarray, " draws"]:
    """The draws whose statistic is defined."""
    return np.array([each.value for each in found if each.value is not None], dtype=np.float64)
