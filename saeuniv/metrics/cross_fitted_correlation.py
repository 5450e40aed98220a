"""The headline and its relatives: how well a latent's best match predicts it on other documents."""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.metrics.base import DOCUMENT_SHIFT, Measurement, MetricMethod
from saeuniv.metrics.held_out import cross_fitted
from saeuniv.metrics.layer_pair import LayerPair


@dataclass
class CrossFitted(MetricMethod):
    """Base: cross-fitted over document halves, both directions, every eligible latent counting once."""

    space: ClassVar[str] = "tokens"
    primary_null: ClassVar[str] = DOCUMENT_SHIFT
    aligned: ClassVar[bool] = False
    condition: ClassVar[str]

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The held-out correlation given `condition`, with all document shifts as its null."""
        return cross_fitted(pair, self.condition, null=True)


@dataclass
class PartialCorrelation(CrossFitted):
    """Given the current token: the headline. The noise correlation of neuroscience."""

    name: ClassVar[str] = "partial_correlation"
    condition: ClassVar[str] = "token"


@dataclass
class RawCorrelation(CrossFitted):
    """Pearson's r: the cautionary number. Mostly token identity; untrained networks score higher."""

    name: ClassVar[str] = "raw_correlation"
    condition: ClassVar[str] = "none"


@dataclass
class FinerCondition(CrossFitted):
    """Base of the finer conditions, whose null is optional: the headline's serves."""

    null: bool = False
    """Also evaluate all document shifts, for p and calibrated."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The held-out correlation given `condition`."""
        return cross_fitted(pair, self.condition, null=self.null)


@dataclass
class PartialCorrelationBigram(FinerCondition):
    """Given the previous and the current token."""

    name: ClassVar[str] = "partial_correlation_bigram"
    condition: ClassVar[str] = "token_bigram"


@dataclass
class PartialCorrelationTrigram(FinerCondition):
    """Given the last three tokens."""

    name: ClassVar[str] = "partial_correlation_trigram"
    condition: ClassVar[str] = "token_trigram"
