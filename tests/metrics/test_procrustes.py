"""Procrustes similarity of matched decoders."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from saeuniv.alignments import Hungarian
from saeuniv.metrics.base import PERMUTATION, SELECTION_SHIFT
from saeuniv.metrics.procrustes import ProcrustesSimilarity
from tests.synthetic import matched_pair, streams


def gaussian(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d))


def similarity(metric, x, y, order=None):
    return metric.compare(metric.prepare(x), metric.prepare(y), permutation=order)


def measured(a, b):
    n = len(a)
    data = streams(seed=1, shared=n, n_latents=n, n_documents=80)
    placed = np.empty_like(b)
    placed[data.permutation] = b
    metric = ProcrustesSimilarity()
    pair = matched_pair(data, Hungarian(), metric, decoders=(a, placed))
    (found,) = metric.measure(pair)
    return pair, found


def by_singular_values(x, y):
    x, y = (z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.svd(x.T @ y)[1].sum() / np.linalg.norm(x) / np.linalg.norm(y)


def test_rotated_directions_of_any_length_score_one_and_stretched_ones_do_not():
    a = gaussian(40, 5, 0)
    lengths = np.random.default_rng(1).lognormal(size=(40, 1))
    assert measured(a, lengths * a @ special_ortho_group.rvs(5, random_state=0))[1].value == pytest.approx(
        1, abs=1e-6
    )
    assert measured(a, a * np.geomspace(1, 30, 5))[1].value < 0.9


def test_value_and_nulls_are_those_of_singular_values():
    a = gaussian(40, 5, 2)
    b = a @ gaussian(5, 8, 3) + gaussian(40, 8, 4)
    pair, found = measured(a, b)
    assert found.value == pytest.approx(by_singular_values(a, b), abs=1e-6)
    x, y = pair.a.decoder, pair.b.decoder
    matching = pair.matches["both"]
    order = np.random.default_rng([0, 2]).permutation(40)
    expected = by_singular_values(x[matching.index_a], y[matching.index_b][order])
    assert found.nulls[PERMUTATION][2] == pytest.approx(expected, abs=1e-6)
    again = pair.null_matches[SELECTION_SHIFT][2]["both"]
    expected = by_singular_values(x[again.index_a], y[again.index_b])
    assert found.nulls[SELECTION_SHIFT][2] == pytest.approx(expected, abs=1e-6)
    assert max(found.nulls[PERMUTATION].max(), found.nulls[SELECTION_SHIFT].max()) < found.value


@pytest.mark.parametrize(("n", "flags"), [(38, ("rank_limited",)), (39, ())])
def test_few_pairs_for_the_width_are_flagged(n, flags):
    assert measured(gaussian(n, 5, 5), gaussian(n, 8, 6))[1].flags == flags


def test_few_pairs_and_directions_alike_have_no_value_and_say_why():
    metric = ProcrustesSimilarity()
    assert similarity(metric, gaussian(3, 2, 0), gaussian(3, 2, 1)) == (None, "too_few_matches", ())
    assert similarity(metric, np.ones((5, 2)), gaussian(5, 2, 1)) == (None, "undefined_similarity", ())
