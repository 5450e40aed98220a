"""Metrics: one number for how similar two layers' features are, each with the null it is read against."""

from saeuniv.metrics.base import Measurement as Measurement
from saeuniv.metrics.base import MetricMethod as MetricMethod
from saeuniv.metrics.cka import Cka
from saeuniv.metrics.cross_fitted_correlation import (
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationPosition,
    PartialCorrelationTrigram,
    RawCorrelation,
)
from saeuniv.metrics.dictionary_metric import PwMcc, SharedDirections
from saeuniv.metrics.excess_correlation import ExcessCorrelation
from saeuniv.metrics.matched_correlation import MatchedCorrelation
from saeuniv.metrics.mutual_knn import MutualKnn, MutualKnnPermuted
from saeuniv.metrics.pc1 import Pc1AbsCorr
from saeuniv.metrics.procrustes import ProcrustesSimilarity
from saeuniv.metrics.published import (
    PublishedKeptCorrelation,
    PublishedMeanCorrelation,
    PublishedRsa,
    PublishedSvcca,
)
from saeuniv.metrics.ridge import RidgeDecoder, RidgePredictivity
from saeuniv.metrics.rsa import Rsa, RsaDimensions
from saeuniv.metrics.semantic import SemanticCorrelation, SemanticMetric, SemanticRsa, SemanticSvcca
from saeuniv.metrics.shared_fraction import SharedFraction, SharedFraction70
from saeuniv.metrics.svcca import Svcca
from saeuniv.metrics.token_geometry import MutualKnnTokens, RsaTokens
from saeuniv.metrics.token_grams import CkaTokens, ProcrustesTokens, SvccaTokens
from saeuniv.metrics.topk_overlap import TopkOverlap
from saeuniv.metrics.wmppc import Wmppc

METRICS: tuple[type[MetricMethod], ...] = (
    PartialCorrelation,
    PartialCorrelationBigram,
    PartialCorrelationTrigram,
    PartialCorrelationPosition,
    RawCorrelation,
    SharedFraction,
    SharedFraction70,
    Wmppc,
    MatchedCorrelation,
    TopkOverlap,
    Cka,
    Svcca,
    Rsa,
    RsaDimensions,
    MutualKnn,
    MutualKnnPermuted,
    Pc1AbsCorr,
    ProcrustesSimilarity,
    RidgeDecoder,
    PwMcc,
    SharedDirections,
    CkaTokens,
    SvccaTokens,
    ProcrustesTokens,
    RidgePredictivity,
    ExcessCorrelation,
    RsaTokens,
    MutualKnnTokens,
    PublishedSvcca,
    PublishedRsa,
    PublishedMeanCorrelation,
    PublishedKeptCorrelation,
    SemanticSvcca,
    SemanticRsa,
    SemanticCorrelation,
)

EVERYWHERE: tuple[str, ...] = tuple(each.name for each in METRICS if not issubclass(each, SemanticMetric))
"""Metrics that every W&B table has columns for; those of categories of words only where they are computed."""
