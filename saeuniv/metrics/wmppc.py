"""wMPPC: maximum pairwise Pearson correlation, weighted by activation mass (Cornet et al. 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.metrics.base import Measurement
from saeuniv.metrics.cross_fitted_correlation import CrossFitted
from saeuniv.metrics.held_out import Summary, cross_fitted
from saeuniv.metrics.layer_pair import LayerPair


@dataclass
class Wmppc(CrossFitted):
    """sum_i w_i r_i / sum_i w_i, r_i of the best match of latent i, w_i its activation mass; in [-1, 1].

    Cornet et al. 2025 (arXiv 2507.18512), with one departure: the match is chosen on other documents than
    those it is scored on, so that selection does not raise it. Frequent latents decide it, and raw
    correlation holds token identity: untrained networks score high.
    """

    name: ClassVar[str] = "wmppc"
    condition: ClassVar[str] = "none"

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The weighted mean in each direction and over both, with all document shifts as its null."""
        return cross_fitted(pair, self.condition, null=True, summary=Summary(by_mass=True))
