"""p of every metric is uniform where two models share nothing but what its null holds fixed.

Latents of both models fire by position in the sequence, in the same way, and by document, each in its own;
partners have related decoder directions. Nothing else is shared. A document shift keeps positions aligned, so
values are far from 0, and p is uniform all the same. A new metric is one entry of CALIBRATED.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jaxtyping
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from saeuniv.alignments import Hungarian
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.metrics import Cka, MatchedCorrelation, Measurement, MetricMethod, Svcca
from saeuniv.metrics.base import PERMUTATION
from saeuniv.metrics.mutual_knn import MutualKnn
from saeuniv.metrics.pc1 import Pc1AbsCorr
from saeuniv.metrics.procrustes import ProcrustesSimilarity
from saeuniv.metrics.rsa import Rsa
from saeuniv.metrics.shared_fraction import SharedFraction
from saeuniv.metrics.token_geometry import MutualKnnTokens, RsaTokens
from saeuniv.metrics.topk_overlap import TopkOverlap
from tests.synthetic import Streams, compared

pytestmark = pytest.mark.calibration

# The cross-fitted correlations are in tests/metrics/test_held_out.py: among few latents that positions pair,
# as here, both folds choose by what the other is judged on, which their null does not know.
CALIBRATED: tuple[MetricMethod, ...] = (
    # Above what positions give, so that some latents pass by chance.
    SharedFraction(above=0.1),
    MatchedCorrelation(),
    TopkOverlap(),
    RsaTokens(rows=102),
    MutualKnnTokens(rows=102, k=3),
    Cka(),
    Svcca(),
    Rsa(),
    MutualKnn(k=3),
    Pc1AbsCorr(),
    ProcrustesSimilarity(),
)
REPLICATES, DRAWS = 200, 19
# One sequence a document: every shift pairs whole documents, as the text does.
DOCUMENTS, POSITIONS, LATENTS, TOKENS = 204, 8, 16, 6
SETTINGS = CompareSettings(
    alignment=Hungarian(),
    metrics=CALIBRATED,
    eligibility=Eligibility(min_firings=3),
    nulls=Nulls(draws=DRAWS, shuffle_draws=1),
    bootstrap=Bootstrap(draws=1),
)


class Judged(NamedTuple):
    """One metric on one replicate."""

    p: float
    """as reported"""

    rank: float
    """p with ties broken at random: exactly uniform if the value is one of the draws"""

    permuted: float
    """the same against permutations of the pairs, which do not keep positions, where there are any"""


def name(metric):
    return metric.name


def by_position(rng: np.random.Generator) -> tuple[Streams, tuple[np.ndarray, np.ndarray]]:
    """Latents of two models that share how often each fires at each position, and decoder directions."""
    n_rows = DOCUMENTS * POSITIONS
    documents = np.repeat(np.arange(DOCUMENTS), POSITIONS)
    levels = 0.25 * np.exp(1.2 * rng.standard_normal((POSITIONS, LATENTS)))
    token = rng.integers(TOKENS, size=n_rows)

    def draw() -> sp.csr_array:
        own = np.exp(0.5 * rng.standard_normal((DOCUMENTS, LATENTS)))[documents]
        rate = np.minimum(levels[np.arange(n_rows) % POSITIONS] * own, 0.6)
        fires = rng.random(rate.shape) < rate
        return sp.csr_array(fires * rng.lognormal(sigma=0.5, size=rate.shape))

    directions = rng.standard_normal((LATENTS, 3))
    decoders = [directions + 0.3 * rng.standard_normal((LATENTS, 3)) for _ in range(2)]
    groups = {"token": token, "token_bigram": token, "token_trigram": token}
    streams = Streams(draw(), draw(), documents, groups, POSITIONS, np.arange(LATENTS))
    return streams, (decoders[0], decoders[1])


def randomised(value: float, null: np.ndarray, rng: np.random.Generator) -> float:
    """(draws above + u (1 + draws equal)) / (1 + draws), u uniform."""
    return ((null > value).sum() + rng.random() * (1 + (null == value).sum())) / (1 + len(null))


@pytest.fixture(scope="module")
def judged() -> Iterator[dict[str, list[Judged]]]:
    """Every metric on every replicate, through `compare_latents`; shapes are checked by all other tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            yield judge(patch)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def judge(patch: pytest.MonkeyPatch) -> dict[str, list[Judged]]:
    measured: dict[str, Measurement] = {}
    for metric in CALIBRATED:
        patch.setattr(metric, "measure", recorded(metric, measured))
    found: dict[str, list[Judged]] = {metric.name: [] for metric in CALIBRATED}
    for replicate in range(REPLICATES):
        rng = np.random.default_rng([replicate, 3])
        data, decoders = by_position(rng)
        results = compared(data, SETTINGS, decoders=decoders)
        for metric in CALIBRATED:
            row, each = results[metric.name, "both"], measured[metric.name]
            assert row.p_value is not None, (metric.name, row.reason)
            rank = randomised(each.value, each.nulls[metric.primary_null], rng)
            permuted = randomised(each.value, each.nulls.get(PERMUTATION, np.empty(0)), rng)
            found[metric.name].append(Judged(row.p_value, rank, permuted))
    return found


def recorded(metric: MetricMethod, into: dict[str, Measurement]):
    """`measure`, which also keeps the draws that results no longer have."""
    measure = metric.measure

    def record(pair):
        found = measure(pair)
        into[metric.name] = next(each for each in found if each.direction == "both")
        return found

    return record


def is_uniform(p) -> bool:
    return scipy.stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("metric", CALIBRATED, ids=name)
def test_p_is_uniform_through_the_whole_pipeline(metric, judged):
    p, rank, _ = np.array(judged[metric.name]).T
    assert is_uniform(rank)
    assert 0.02 <= (rank < 0.05).mean() <= 0.09
    assert (p <= 0.05).mean() <= 0.09


@pytest.mark.parametrize("metric", [each for each in CALIBRATED if each.needs_decoders], ids=name)
def test_permuted_pairs_are_no_null_of_matches_that_positions_make(metric, judged):
    """The negative control: the same values, judged by a null that breaks more than the text."""
    permuted = np.array(judged[metric.name])[:, 2]
    assert not is_uniform(permuted)
    assert (permuted < 0.05).mean() > 0.2
