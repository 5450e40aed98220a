"""SVCCA of matched decoder directions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.config import require_option
from saeuniv.metrics.base import Found
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, Permutation
from saeuniv.numerics.kernels import Moments, permutation_moments
from saeuniv.numerics.subspace import repaired_svcca, svcca, svcca_basis

Basis = Float[np.ndarray, "pairs _"]


@dataclass
class Svcca(DecoderMetric[Basis]):
    """Mean canonical correlation after an SVD. Its null is far from 0 when n is near d: read excess.

    Flags say how many components were kept (`k=57/61`) and the mean squared canonical correlation
    (`mean_squared=0.4312`), which alone has a null in closed form.
    """

    name: ClassVar[str] = "svcca"
    closed_form_name: ClassVar[str] = "mean_squared_closed_form"
    """Of the mean squared correlation, not of the value: that of the mean is not known."""

    variance_kept: float = 0.99
    """Fraction of each side's variance kept by the SVD step."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside (0, 1]."""
        kept = self.variance_kept
        require_option("metrics.svcca.variance_kept", kept, 0 < kept <= 1, "a fraction in (0, 1]")

    def prepare(self, rows: Directions) -> Basis:
        """The basis of the components kept."""
        return svcca_basis(rows, variance_kept=self.variance_kept)

    def compare(self, a: Basis, b: Basis, *, permutation: Permutation | None) -> Found:
        """Mean canonical correlation; undefined where n <= k_a + k_b forces it towards 1.

        Of a permutation by eigenvalues instead of a decomposition, to within 1e-7, and without flags.
        """
        k_a, k_b = a.shape[1], b.shape[1]
        if min(k_a, k_b) == 0 or len(a) <= k_a + k_b:
            return Found(None, "too_few_matches")
        if permutation is not None:
            return Found(repaired_svcca(a, b)(permutation))
        result = svcca(a, b)
        limited = ("rank_limited",) if result.is_rank_limited else ()
        flags = (*limited, f"k={k_a}/{k_b}", f"mean_squared={result.mean_squared:.4f}")
        return Found(result.similarity, flags=flags)

    def closed_form(self, a: Basis, b: Basis) -> Moments | None:
        """Mean max(k_a, k_b) / (n - 1) and standard deviation of the mean squared canonical correlation."""
        k = min(a.shape[1], b.shape[1])
        if len(a) < 4 or k == 0:
            return None
        moments = permutation_moments(a, b)
        return Moments(moments.mean / k, moments.std / k)
