"""Debiased CKA of matched decoder directions."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.metrics.base import SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE, Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, PairedRows, Permutation
from saeuniv.numerics.kernels import Moments, debiased_cka, debiased_cka_moments, repaired_debiased_cka


@dataclass
class Cka(DecoderMetric[PairedRows]):
    """Debiased linear CKA: about 0 for unrelated directions at any n, 1 for rotated copies."""

    name: ClassVar[str] = "cka"
    needs_nulls: ClassVar[tuple[str, ...]] = (SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE)
    shuffled: ClassVar[bool] = True

    def prepare(self, rows: Directions) -> PairedRows:
        """The rows: whether Gram matrices or products of directions are cheaper depends on both widths."""
        return PairedRows(rows, repaired_debiased_cka)

    def compare(self, a: PairedRows, b: PairedRows, *, permutation: Permutation | None) -> Found:
        """Debiased CKA of column-centred rows; undefined below four matches."""
        if len(a.rows) < 4:
            return Found(None, "too_few_matches")
        return Found(debiased_cka(a.rows, b.rows) if permutation is None else a.repaired(b)(permutation))

    def closed_form(self, a: PairedRows, b: PairedRows) -> Moments | None:
        """Mean 0 and standard deviation sqrt(2 / (n (n - 3))) over pairings, whatever the directions."""
        return debiased_cka_moments(len(a.rows)) if len(a.rows) >= 4 else None
