"""The correlation of first components, and why it is for comparison with published figures only."""

import numpy as np
import pytest

from saeuniv.alignments import Hungarian
from saeuniv.metrics.base import PERMUTATION
from saeuniv.metrics.pc1 import Pc1AbsCorr
from tests.synthetic import matched_pair, streams


def similarity(metric, x, y, order=None):
    return metric.compare(metric.prepare(x), metric.prepare(y), permutation=order)


def measured(a, b, n=40):
    data = streams(seed=1, shared=n, n_latents=n, n_documents=80)
    placed = np.empty_like(b)
    placed[data.permutation] = b
    metric = Pc1AbsCorr()
    pair = matched_pair(data, Hungarian(), metric, decoders=(a, placed), null_draws=99)
    (found,) = metric.measure(pair)
    return pair, found


def gaussian(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d))


def first_left(z):
    z = z.astype(np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return np.linalg.svd(z - z.mean(axis=0))[0][:, 0]


def test_it_is_the_correlation_of_the_first_left_singular_vectors_of_unit_directions():
    a = gaussian(40, 6, 0) * np.linspace(2, 1, 6)
    b = a @ gaussian(6, 9, 1) + gaussian(40, 9, 2)
    _, found = measured(a, b)
    expected = abs(np.corrcoef(first_left(a), first_left(b))[0, 1])
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert found.reason == "" and found.n_matches == 40


def test_one_shared_direction_brings_it_near_one_though_all_else_is_unrelated():
    sign = np.sign(gaussian(40, 1, 3)) * 3
    sides = [np.hstack([sign, gaussian(40, 7, seed)]) for seed in (4, 5)]
    assert measured(*sides)[1].value > 0.95


def test_pairings_at_random_have_the_mean_and_spread_of_the_closed_form():
    _, found = measured(gaussian(40, 6, 6), gaussian(40, 9, 7))
    moments, drawn = found.moments["permutation_closed_form"], found.nulls[PERMUTATION]
    assert moments.mean == pytest.approx(np.sqrt(2 / (np.pi * 39)))
    assert len(drawn) == 99 and abs(drawn.mean() - moments.mean) < 4 * moments.std / np.sqrt(99)
    assert drawn.std() == pytest.approx(moments.std, rel=0.25)


def test_a_permutation_pairs_the_rows_anew():
    pair, found = measured(gaussian(40, 6, 8), gaussian(40, 9, 9))
    matching = pair.matches["both"]
    order = np.random.default_rng([0, 5]).permutation(40)
    first, second = first_left(pair.a.decoder[matching.index_a]), first_left(pair.b.decoder[matching.index_b])
    expected = abs(np.corrcoef(first, second[order])[0, 1])
    assert found.nulls[PERMUTATION][5] == pytest.approx(expected, abs=1e-6)


def test_few_matches_and_equal_variances_have_no_value_and_say_why():
    metric = Pc1AbsCorr()
    assert similarity(metric, gaussian(3, 2, 0), gaussian(3, 2, 1))[:2] == (None, "too_few_matches")
    corners = np.eye(6)
    assert similarity(metric, corners, gaussian(6, 2, 2))[:2] == (None, "undefined_similarity")
    few = metric.prepare(corners[:3])
    assert metric.closed_form(few, few) is None
