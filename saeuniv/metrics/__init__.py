"""Metrics: one number for how similar two layers' features are, each with the null it is read against."""

from saeuniv.metrics.base import Measurement as Measurement
from saeuniv.metrics.base import MetricMethod as MetricMethod
from saeuniv.metrics.cross_fitted_correlation import (
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationTrigram,
    RawCorrelation,
)
from saeuniv.metrics.decoder_similarity import Cka, Svcca
from saeuniv.metrics.matched_correlation import MatchedCorrelation

METRICS: tuple[type[MetricMethod], ...] = (
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationTrigram,
    RawCorrelation,
    MatchedCorrelation,
    Cka,
    Svcca,
)
