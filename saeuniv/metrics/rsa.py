"""RSA of matched decoder directions."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from saeuniv.config import require_option
from saeuniv.metrics.base import Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, Permutation
from saeuniv.numerics.rank import RankedGram, rsa, rsa_basis
from saeuniv.numerics.row_similarity import Inner


class RankedRows(NamedTuple):
    """The ranked similarities of the directions of one side."""

    n: int
    """Directions."""

    draws: tuple[RankedGram, ...]
    """Of all directions, once; or of those of each draw."""


@dataclass
class Rsa(DecoderMetric[RankedRows]):
    """Rank correlation of the cosines within A with those within B: about 0 for unrelated directions."""

    name: ClassVar[str] = "rsa"
    inner: ClassVar[Inner] = "cosine"

    max_pairs: int = 10_000
    """Matches up to which all are used: time and 2 bytes a side grow with their square."""

    rows: int = 2_000
    """Above that the mean over draws of this many matches (flag `subsampled`)."""

    draws: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers of which no RSA can be made."""
        for setting, least in (("max_pairs", 4), ("rows", 4), ("draws", 1)):
            given = getattr(self, setting)
            require_option(f"metrics.{self.name}.{setting}", given, given >= least, f"at least {least}")

    def prepare(self, rows: Directions) -> RankedRows:
        """The ranks of all similarities of the rows, or of those of each draw."""
        chosen = self._chosen(len(rows))
        return RankedRows(len(rows), tuple(rsa_basis(rows[each], inner=self.inner) for each in chosen))

    def compare(self, a: RankedRows, b: RankedRows, *, permutation: Permutation | None) -> Found:
        """RSA of the rows; undefined below four matches, or where all similarities of a side are alike.

        Of a subsample the order of its own members is permuted, as a permutation of all permutes it.
        """
        if a.n < 4:
            return Found(None, "too_few_matches")
        orders = [
            None if permutation is None else np.argsort(np.argsort(permutation[rows]))
            for rows in self._chosen(a.n)
        ]
        values = [rsa(x, y, permutation=order) for x, y, order in zip(a.draws, b.draws, orders, strict=True)]
        return Found(_mean(values), flags=("subsampled",) if a.n > self.max_pairs else ())

    def reorders(self, n_pairs: int) -> bool:
        """Not where it draws among the pairs: in another order these are others."""
        return n_pairs <= self.max_pairs

    def _chosen(self, n: int) -> list[np.ndarray]:
        """The rows of each draw: all of them, once, where they are few enough."""
        if n <= self.max_pairs:
            return [np.arange(n)]
        return [
            np.sort(np.random.default_rng([self.seed, draw]).choice(n, min(self.rows, n), replace=False))
            for draw in range(self.draws)
        ]


@dataclass
class RsaDimensions(Rsa):
    """RSA by Pearson's r over dimensions, as the published analysis computes it: it depends on the basis."""

    name: ClassVar[str] = "rsa_dimensions"
    inner: ClassVar[Inner] = "pearson"


def _mean(values: list[float | None]) -> float | None:
    """The mean over draws; None where one of them is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None
