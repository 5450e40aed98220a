"""Mutual nearest neighbours of matched decoder directions."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.config import require_option
from saeuniv.metrics.base import PERMUTATION, Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, Permutation
from saeuniv.numerics.neighbours import Neighbours, mutual_knn, neighbours


@dataclass
class MutualKnn(DecoderMetric[Neighbours]):
    """Share of the k nearest directions a match has in both models; by chance k / (n - 1): read excess."""

    name: ClassVar[str] = "mutual_knn"

    k: int = 10
    """Neighbours of each direction, by cosine."""

    def __post_init__(self) -> None:
        """Refuse a number of neighbours below one."""
        require_option(f"metrics.{self.name}.k", self.k, self.k >= 1, "at least 1")

    def prepare(self, rows: Directions) -> Neighbours:
        """The nearest directions of each."""
        return neighbours(rows, k=self.k, labels=None)

    def compare(self, a: Neighbours, b: Neighbours, *, permutation: Permutation | None) -> Found:
        """The mean share; undefined for at most k + 1 matches, where every direction is a neighbour."""
        return Found(mutual_knn(a, b, permutation=permutation), "too_few_matches")


@dataclass
class MutualKnnPermuted(MutualKnn):
    """The same, calibrated by permutations of the pairing, as Groeger et al. 2026 do; nothing is re-matched.

    Exact where pairing and directions are unrelated. Matches made by tokens are related to directions through
    positions and tokens: `mutual_knn`, whose null matches again, is the stricter one.
    """

    name: ClassVar[str] = "mutual_knn_permuted"
    primary_null: ClassVar[str] = PERMUTATION
    needs_nulls: ClassVar[tuple[str, ...]] = ()
    rematched: ClassVar[bool] = False
