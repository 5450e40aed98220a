"""Procrustes similarity of matched decoder directions."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.metrics.base import Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, PairedRows, Permutation
from saeuniv.numerics.procrustes import procrustes_similarity, repaired_procrustes


@dataclass
class ProcrustesSimilarity(DecoderMetric[PairedRows]):
    """Scaled nuclear norm: how well a rotation maps one side onto the other, in sample. Read excess.

    The rotation is fitted on the pairs it is judged by, so that unrelated directions are far from 0 where
    matches are few for their width.
    """

    name: ClassVar[str] = "procrustes_similarity"

    def prepare(self, rows: Directions) -> PairedRows:
        """The rows: a fit needs both sides."""
        return PairedRows(rows, repaired_procrustes)

    def compare(self, a: PairedRows, b: PairedRows, *, permutation: Permutation | None) -> Found:
        """|X'Y|_* / (|X||Y|) of column-centred rows; flagged where n < 3 (d_a + d_b)."""
        if len(a.rows) < 4:
            return Found(None, "too_few_matches")
        if permutation is not None:
            return Found(a.repaired(b)(permutation))
        value = procrustes_similarity(a.rows, b.rows)
        limited = value is not None and len(a.rows) < 3 * (a.rows.shape[1] + b.rows.shape[1])
        return Found(value, flags=("rank_limited",) if limited else ())
