"""The headline and its relatives: how well a latent's best match predicts it on other documents."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.metrics.base import DOCUMENT_SHIFT, TOKEN_IDENTITY, Measurement, MetricMethod
from saeuniv.metrics.held_out import cross_fitted
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.identity import token_identity_ceiling
from saeuniv.numerics.kernels import Moments
from saeuniv.numerics.latents import PreparedLayer


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

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """Pearson's r held out, and beside its null what the token alone could give."""
        measured = super().measure(pair)
        if measured[0].value is None:
            return measured
        a, b = _identity_ceiling(pair.a), _identity_ceiling(pair.b)
        ceilings = {"a_to_b": a, "b_to_a": b, "both": np.concatenate([a, b])}
        return tuple(
            each._replace(moments={TOKEN_IDENTITY: Moments(float(ceiling.mean()), float(ceiling.std()))})
            for each in measured
            for ceiling in [ceilings[each.direction]]
        )


def _identity_ceiling(layer: PreparedLayer) -> Float[np.ndarray, " latents"]:
    """R of each latent with the best function of the token, mean of both halves."""
    ceilings = [
        token_identity_ceiling(half.sums("token"), half.half.groups["token"].counts, adjusted=True)
        for half in layer.halves
        if half.half.groups["token"].df_share > 0
    ]
    return np.mean(ceilings, axis=0) if ceilings else np.ones(layer.n_eligible)


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


@dataclass
class PartialCorrelationPosition(FinerCondition):
    """Given the current token and the eighth of the sequence it stands in."""

    name: ClassVar[str] = "partial_correlation_position"
    condition: ClassVar[str] = "token_x_position"
