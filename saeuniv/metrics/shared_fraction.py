"""The share of latents that have a partner: held-out correlation above a bound."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.config import require_option
from saeuniv.metrics.base import Measurement
from saeuniv.metrics.cross_fitted_correlation import CrossFitted
from saeuniv.metrics.held_out import Summary, cross_fitted
from saeuniv.metrics.layer_pair import LayerPair


@dataclass
class SharedFraction(CrossFitted):
    """Share of eligible latents whose match has r_w > 0.5 on documents it was not chosen on, in [0, 1].

    A latent counts as shared or not, so that one threshold decides: read it beside partial_correlation,
    and beside shared_fraction_70. Unmatched latents count as not shared.
    """

    name: ClassVar[str] = "shared_fraction"
    condition: ClassVar[str] = "token"

    above: float = 0.5
    """The bound on r_w."""

    def __post_init__(self) -> None:
        """Refuse a bound that is no correlation."""
        holds = 0 <= self.above < 1
        require_option(f"metrics.{self.name}.above", self.above, holds, "a correlation in [0, 1)")

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The share in each direction and over both, with all document shifts as its null."""
        return cross_fitted(pair, self.condition, null=True, summary=Summary(above=self.above))


@dataclass
class SharedFraction70(SharedFraction):
    """The same with the stricter bound of 0.7, that of Paulo and Belrose 2025 for cosines."""

    name: ClassVar[str] = "shared_fraction_70"

    above: float = 0.7
    """The bound on r_w."""
