"""Correlation of the first principal components: what published code computes under the name of SVCCA."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.metrics.base import Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, Permutation
from saeuniv.numerics.kernels import Moments, pc1_moments
from saeuniv.numerics.subspace import FirstComponent, first_component, pc1_abs_corr


@dataclass
class Pc1AbsCorr(DecoderMetric[FirstComponent]):
    """|Pearson correlation of the first left singular vectors|; to compare with published figures only.

    Code that compares the cumulative share of variance with 0.99 times the total variance keeps one
    component where the total exceeds about 1. One direction that all rows share brings it near 1.
    """

    name: ClassVar[str] = "pc1_abs_corr"

    def prepare(self, rows: Directions) -> FirstComponent:
        """The scores of the rows on their first component."""
        return first_component(rows)

    def compare(self, a: FirstComponent, b: FirstComponent, *, permutation: Permutation | None) -> Found:
        """The value; undefined below four matches, or where two components have the same variance."""
        if len(a.direction) < 4:
            return Found(None, "too_few_matches")
        if not (a.is_defined and b.is_defined):
            return Found(None)
        moved = b if permutation is None else b._replace(direction=b.direction[permutation])
        return Found(pc1_abs_corr(a, moved))

    def closed_form(self, a: FirstComponent, b: FirstComponent) -> Moments | None:
        """Mean sqrt(2 / (pi (n - 1))) and standard deviation over pairings."""
        return pc1_moments(len(a.direction)) if len(a.direction) >= 4 else None
