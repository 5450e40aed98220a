"""RSA and mutual nearest neighbours of tokens: rows are tokens of D2, dimensions are eligible latents.

No matching: which latent is which plays no role. The sample of tokens is closed under the document shifts
that are drawn (the same positions of every m-th sequence, shifts by multiples of m), so that a shift only
pairs its tokens anew, and each side is prepared once.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from saeuniv.config import require_option
from saeuniv.metrics.base import DOCUMENT_SHIFT, Measurement, MetricMethod, undefined
from saeuniv.metrics.layer_pair import Draws, LayerPair
from saeuniv.numerics.neighbours import mutual_knn, neighbours
from saeuniv.numerics.nulls import draw_shifts
from saeuniv.numerics.rank import rsa, rsa_basis
from saeuniv.numerics.rows import Half

_EVALUATION = 1

Paired = Callable[[np.ndarray | None], float | None]
"""The similarity of tokens as A sees them with tokens as B sees them, B's in another order."""


class TokenSample(NamedTuple):
    """Tokens that document shifts map to one another."""

    rows: Int[np.ndarray, " tokens"]
    """Rows of the half, ascending: `positions` rows of one sequence after another."""

    positions: int
    """Rows of the sample in each sequence."""

    shifts: Int[np.ndarray, " draws"]
    """The shifts drawn, in sequences of the sample."""

    def shifted(self, shift: int) -> Int[np.ndarray, " tokens"]:
        """Which member of the sample each one meets at this shift."""
        return np.roll(np.arange(len(self.rows)), -shift * self.positions)


@dataclass
class TokenMetric(MetricMethod):
    """Base: a similarity of two geometries of the same tokens."""

    space: ClassVar[str] = "tokens"
    primary_null: ClassVar[str] = DOCUMENT_SHIFT
    aligned: ClassVar[bool] = False
    draws_shifts: ClassVar[bool] = True

    rows: int = 2_000
    """Tokens sampled, the same for all layer pairs; time and memory grow with their square."""

    seed: int = 0
    """Of the sample."""

    @abstractmethod
    def paired(self, x: sp.csr_array, y: sp.csr_array, documents: Int[np.ndarray, " tokens"]) -> Paired:
        """The similarity of the rows of x and y in any pairing, all that does not change computed once."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The similarity of the sampled tokens of D2 and at the document shifts drawn; no direction."""
        if reason := pair.undefined("none"):
            return undefined(reason, ("both",))
        half = pair.a.halves[_EVALUATION].half
        sample = sample_tokens(half, pair.draws, rows=self.rows, seed=self.seed)
        x, y = (sp.csr_array(side.halves[_EVALUATION].matrix[sample.rows]) for side in (pair.a, pair.b))
        similarity = self.paired(x, y, half.documents[sample.rows])
        value = similarity(None)
        if value is None:
            return undefined("undefined_similarity", ("both",))
        drawn = [similarity(sample.shifted(int(shift))) for shift in sample.shifts]
        empty = {"ci": "no_interval"}
        if len(drawn) < pair.draws.n_permutations:
            empty["p_value"] = empty["calibrated"] = "few_shifts"
        null = np.array([each for each in drawn if each is not None], dtype=np.float64)
        return (Measurement("both", value, nulls={DOCUMENT_SHIFT: null}, empty=empty),)


@dataclass
class RsaTokens(TokenMetric):
    """Rank correlation of the cosines between tokens in A with those in B, over latents."""

    name: ClassVar[str] = "rsa_tokens"

    def __post_init__(self) -> None:
        """Refuse too small a sample."""
        _require_rows(self, 4)

    def paired(self, x: sp.csr_array, y: sp.csr_array, documents: Int[np.ndarray, " tokens"]) -> Paired:
        """The ranks of both sides once; pairs of tokens of one document count as all others."""
        del documents
        ranks_x, ranks_y = rsa_basis(x, inner="cosine"), rsa_basis(y, inner="cosine")
        return lambda order: rsa(ranks_x, ranks_y, permutation=order)


@dataclass
class MutualKnnTokens(TokenMetric):
    """Share of a token's k nearest tokens of other documents that are so in both models; chance k / n."""

    name: ClassVar[str] = "mutual_knn_tokens"

    k: int = 10
    """Neighbours of each token, by cosine over latents."""

    def __post_init__(self) -> None:
        """Refuse too few neighbours, or too small a sample for them."""
        require_option(f"metrics.{self.name}.k", self.k, self.k >= 1, "at least 1")
        _require_rows(self, self.k + 2)

    def paired(self, x: sp.csr_array, y: sp.csr_array, documents: Int[np.ndarray, " tokens"]) -> Paired:
        """The neighbours of both sides once."""
        near_x, near_y = (neighbours(each, k=self.k, labels=documents) for each in (x, y))
        return lambda order: mutual_knn(near_x, near_y, permutation=order)


def sample_tokens(half: Half, draws: Draws, *, rows: int, seed: int) -> TokenSample:
    """At most `rows` tokens of the half that document shifts map to one another, and the shifts drawn.

    Where there are more sequences than rows, every m-th sequence, and shifts that are multiples of m.
    It depends on the half and the seeds alone: all layer pairs and the control have the same.
    """
    step = -(-draws.n_sequences // rows)
    n_sequences = draws.n_sequences // step
    n_positions = min(half.positions, rows // n_sequences)
    positions = np.sort(np.random.default_rng([seed, 0]).choice(half.positions, n_positions, replace=False))
    starts = np.arange(n_sequences) * step * half.positions
    # The least admissible shift is the longest document: nearer sequences may be of the same one.
    near = draws.shifts[:1].sum()
    kept = (draws.shifts % step == 0) & (draws.shifts <= n_sequences * step - near)
    admissible = draws.shifts[kept] // step
    drawn = draw_shifts(admissible, draws=draws.n_permutations, seed=draws.permutation_seed)
    return TokenSample((starts[:, None] + positions).ravel(), n_positions, drawn)


def _require_rows(metric: TokenMetric, least: int) -> None:
    if metric.rows < least:
        raise ValueError(
            f"metrics.{metric.name}.rows={metric.rows}: expected at least {least}, got {metric.rows}."
        )
