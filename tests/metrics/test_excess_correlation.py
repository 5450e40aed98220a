"""Excess correlation over a rotated basis: known answers, an oracle, its null."""

import jaxtyping
import numpy as np
import pytest
import scipy.stats

from saeuniv.alignments import Hungarian
from saeuniv.metrics import ExcessCorrelation
from saeuniv.metrics.base import DOCUMENT_SHIFT
from saeuniv.numerics.dictionary_matching import random_rotation
from saeuniv.numerics.rotated_baseline import excess_correlations
from saeuniv.numerics.token_grams import TokenGrams
from tests.synthetic import matched_pair, streams

P, ROWS = 30, 4000


def grams(x, y):
    x, y = (side - side.mean(axis=0) for side in (x, y))
    return TokenGrams(x.T @ x, y.T @ y, x.T @ y, x.mean(axis=0), y.mean(axis=0), len(x))


def halves(x, y):
    return tuple(grams(x[rows], y[rows]) for rows in (slice(ROWS // 2), slice(ROWS // 2, None)))


def rotations(n, p=P):
    return tuple(random_rotation(p, np.random.default_rng([9, r])) for r in range(n))


def gaussian(seed):
    return np.random.default_rng(seed).standard_normal((ROWS, P))


def test_a_copy_has_one_less_the_baseline_and_a_rotated_copy_and_unrelated_ones_about_none():
    x, qs = gaussian(0), rotations(40)
    copy = excess_correlations(*halves(x, x[:, ::-1]), qs)
    largest = np.mean([q.max(axis=1).mean() for q in qs])
    assert copy.mean() == pytest.approx(1 - largest, abs=0.02)
    mixed = x @ random_rotation(P, np.random.default_rng(1))
    assert abs(excess_correlations(*halves(x, mixed), qs).mean()) < 0.06
    assert abs(excess_correlations(*halves(x, gaussian(2)), qs).mean()) < 0.01


def test_the_excess_is_that_of_dense_arrays_rotated_row_by_row():
    x = gaussian(3)
    y = x @ np.random.default_rng(4).standard_normal((P, P)) * 0.3 + gaussian(5)
    (q,) = rotations(1)

    def held_out(other):
        first, second = (np.corrcoef(x[rows].T, other[rows].T)[:P, P:] for rows in SLICES)
        best = first.argmax(axis=1)
        return np.where(first.max(axis=1) > 0, second[np.arange(P), best], 0.0)

    found = excess_correlations(*halves(x, y), (q,))
    np.testing.assert_allclose(found, held_out(y) - held_out(y @ q), atol=1e-10)


SLICES = (slice(ROWS // 2), slice(ROWS // 2, None))


def values(data, metric=None, **changes):
    metric = metric or ExcessCorrelation()
    pair = matched_pair(data, Hungarian(), metric, **changes)
    return {each.direction: each for each in metric.measure(pair)}


def test_shared_latents_exceed_a_rotated_basis_and_both_is_the_mean_of_the_directions():
    shared, none = (values(streams(seed=2, shared=n)) for n in (20, 0))
    assert shared["both"].value > 0.25 > abs(none["both"].value) * 5
    assert shared["both"].value == pytest.approx((shared["a_to_b"].value + shared["b_to_a"].value) / 2)
    null = shared["both"].nulls[DOCUMENT_SHIFT]
    assert len(null) == 19 and shared["both"].value > null.max()


def test_a_rotated_side_is_dense_so_that_wide_ones_are_refused_with_a_reason():
    found = values(streams(seed=2), ExcessCorrelation(max_latents=10))
    assert {(each.value, each.reason) for each in found.values()} == {(None, "too_many_latents")}
    with pytest.raises(ValueError, match=r"excess_correlation.rotations=0: expected at least 1"):
        ExcessCorrelation(rotations=0)


@pytest.fixture
def unchecked():
    """Shapes are checked by all other tests; here there are many calls."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.calibration
@pytest.mark.usefixtures("unchecked")
def test_p_is_uniform_for_unrelated_latents():
    ranks = []
    for replicate in range(80):
        data = streams(seed=replicate, n_latents=8, n_documents=40, sequences_per_document=1)
        both = values(data, null_draws=9)["both"]
        null = both.nulls[DOCUMENT_SHIFT]
        ranks.append((1 + (null >= both.value).sum()) / (1 + len(null)))
    ranks = np.array(ranks) - np.random.default_rng(0).random(len(ranks)) / 10
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 0.01
    assert 0.02 <= (ranks < 0.1).mean() <= 0.2
