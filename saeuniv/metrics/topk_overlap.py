"""Overlap of the most active matched latents of two models, beyond what their rates give."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from saeuniv.config import require_option
from saeuniv.metrics.base import DOCUMENT_SHIFT, Measurement, MetricMethod, undefined
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.nulls import draw_shifts
from saeuniv.numerics.overlap import TopSets, corrected_overlaps, top_sets

_EVALUATION = 1


@dataclass
class TopkOverlap(MetricMethod):
    """Share of the k most active matched latents that both models name on a token of D2; 0 by chance."""

    name: ClassVar[str] = "topk_overlap"
    space: ClassVar[str] = "tokens"
    primary_null: ClassVar[str] = DOCUMENT_SHIFT
    aligned: ClassVar[bool] = True
    draws_shifts: ClassVar[bool] = True

    k: int = 5
    """Latents a token may name; fewer where fewer matched latents are active."""

    def __post_init__(self) -> None:
        """Refuse sets without latents."""
        require_option(f"metrics.{self.name}.k", self.k, self.k >= 1, "at least 1")

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The overlap of the alignment's pairs, by direction and averaged; at the shifts drawn, too."""
        if reason := pair.why_unmatched:
            return undefined(reason, ("both",))
        shifts = draw_shifts(
            pair.draws.shifts, draws=pair.draws.n_permutations, seed=pair.draws.permutation_seed
        )
        found = [self._directed(pair, direction, shifts) for direction in pair.matches]
        if "both" not in pair.matches:
            found.append(_average(found))
        return tuple(each._replace(flags=pair.match_flags) for each in found)

    def _directed(self, pair: LayerPair, direction: str, shifts: np.ndarray) -> Measurement:
        matching = pair.matches[direction]
        n_matches = len(matching.index_a)
        if not n_matches:
            return Measurement(direction, None, "too_few_matches")
        a, b = self._named(pair, matching, by_b=direction != "b_to_a")
        value = corrected_overlaps(a, b, np.zeros(1, np.int64))
        if value is None:
            return Measurement(direction, None, "undefined_similarity", n_matches=n_matches)
        positions = pair.a.halves[_EVALUATION].half.positions
        rows = pair.draws.n_sequences * positions
        null = corrected_overlaps(a.first_rows(rows), b.first_rows(rows), shifts * positions)
        empty = {"ci": "no_interval"}
        if null is None or len(null) < pair.draws.n_permutations:
            empty["p_value"] = empty["calibrated"] = "few_shifts"
        return Measurement(
            direction,
            float(value[0]),
            nulls={DOCUMENT_SHIFT: np.empty(0) if null is None else null},
            empty=empty,
            n_matches=n_matches,
        )

    def _named(self, pair: LayerPair, matching: Matching, *, by_b: bool) -> tuple[TopSets, TopSets]:
        """The k most active latents of each token, by the names of the side that may have fewer of them."""
        sides: list[TopSets] = []
        names = np.unique(matching.index_b if by_b else matching.index_a, return_inverse=True)[1]
        for side, index in ((pair.a, matching.index_a), (pair.b, matching.index_b)):
            columns, first = np.unique(index, return_index=True)
            sides.append(top_sets(side.halves[_EVALUATION].matrix, columns, names[first], k=self.k))
        return sides[0], sides[1]


def _average(found: list[Measurement]) -> Measurement:
    """The mean over directions: draw s of the mean is the mean of the draws s."""
    n_matches = round(float(np.mean([each.n_matches for each in found])))
    values = [each.value for each in found if each.value is not None]
    if len(values) < len(found):
        reason = next(each.reason for each in found if each.value is None)
        return Measurement("both", None, reason, n_matches=n_matches)
    drawn = [each.nulls[DOCUMENT_SHIFT] for each in found]
    alike = len({len(each) for each in drawn}) == 1
    return Measurement(
        "both",
        float(np.mean(values)),
        nulls={DOCUMENT_SHIFT: np.mean(drawn, axis=0) if alike else np.empty(0)},
        empty=found[0].empty if alike else {**found[0].empty, "p_value": "no_null", "calibrated": "no_null"},
        n_matches=n_matches,
    )
