"""Mutual nearest neighbours of matched directions and of tokens, with their chance and their nulls."""

import numpy as np
import pytest
import scipy.stats

from saeuniv.alignments import Hungarian, MutualNn
from saeuniv.compare import summarise
from saeuniv.metrics.base import DOCUMENT_SHIFT, PERMUTATION, SELECTION_SHIFT
from saeuniv.metrics.mutual_knn import MutualKnn, MutualKnnPermuted
from saeuniv.metrics.token_geometry import MutualKnnTokens, sample_tokens
from tests.synthetic import matched_pair, streams

K = 5


def similarity(metric, x, y, order=None):
    return metric.compare(metric.prepare(x), metric.prepare(y), permutation=order)


@pytest.fixture(scope="module")
def data():
    return streams(seed=1, shared=30, token_latents=6, n_latents=60, n_documents=80)


def measure(data, metric, decoders=None, **changes):
    pair = matched_pair(data, Hungarian(), metric, decoders=decoders, **changes)
    (found,) = metric.measure(pair)
    return pair, found


def directions(data):
    rng = np.random.default_rng(3)
    a = rng.standard_normal((data.a.shape[1], 9))
    b = np.empty((data.b.shape[1], 6))
    b[data.permutation] = a @ rng.standard_normal((9, 6)) / 3
    return a, b + 0.5 * rng.standard_normal(b.shape)


def slow_value(x, y, k, documents=None):
    """Sorted lists of neighbours, row by row."""
    shared = 0
    for i in range(len(x)):
        sets = []
        for z in (x, y):
            lengths = np.linalg.norm(z, axis=1)
            cosines = np.round(z @ z[i] / np.where(lengths * lengths[i] > 0, lengths * lengths[i], 1.0), 7)
            far = [
                j for j in range(len(z)) if (j != i if documents is None else documents[j] != documents[i])
            ]
            sets.append(set(sorted(far, key=lambda j: (-cosines[j], j))[:k]))
        shared += len(sets[0] & sets[1])
    return shared / (k * len(x))


def test_the_value_is_the_share_of_common_nearest_directions_of_the_matches(data):
    pair, found = measure(data, MutualKnn(k=K), directions(data))
    matching = pair.matches["both"]
    x, y = pair.a.decoder[matching.index_a], pair.b.decoder[matching.index_b]
    assert found.value == pytest.approx(slow_value(x, y, K))
    order = np.random.default_rng([0, 4]).permutation(len(x))
    assert found.nulls[PERMUTATION][4] == pytest.approx(slow_value(x, y[order], K))
    again = pair.null_matches[SELECTION_SHIFT][4]["both"]
    rows = pair.a.decoder[again.index_a], pair.b.decoder[again.index_b]
    assert found.nulls[SELECTION_SHIFT][4] == pytest.approx(slow_value(*rows, K))


def test_a_model_compared_with_itself_scores_one_and_its_null_is_chance(data):
    a = directions(data)[0]
    _, found = measure(data._replace(b=data.a), MutualKnn(k=K), (a, a))
    null = found.nulls[PERMUTATION]
    assert found.value == 1.0
    assert abs(null.mean() - K / (found.n_matches - 1)) < 3 * null.std() / np.sqrt(len(null))
    assert summarise(MutualKnn(), found, Hungarian(), confidence=0.95).p_value == 0.05


def test_rotation_and_length_play_no_role_and_another_map_does(data):
    a, b = directions(data)
    rng = np.random.default_rng(1)
    turned = b @ np.linalg.qr(rng.standard_normal((6, 6)))[0] * rng.lognormal(size=(len(b), 1))
    stretched = b @ np.diag([30.0, 1, 1, 1, 1, 1])
    before, same, other = (measure(data, MutualKnn(), (a, each))[1].value for each in (b, turned, stretched))
    assert same == before != other


def test_at_most_k_plus_one_matches_are_too_few():
    x = np.random.default_rng(0).standard_normal((K + 1, 3))
    assert similarity(MutualKnn(k=K), x, x) == (None, "too_few_matches", ())
    assert similarity(MutualKnn(k=K - 1), x, x).value == 1.0


def test_neighbours_of_a_token_are_tokens_of_other_documents():
    metric = MutualKnnTokens(rows=320, k=K)
    apart = streams(seed=1, shared=30, n_latents=60, n_documents=80, persistence=2.0)
    pair, found = measure(apart, metric)
    half = pair.a.halves[1].half
    sample = sample_tokens(half, pair.draws, rows=320, seed=0)
    x, y = (side.halves[1].matrix.toarray()[sample.rows] for side in (pair.a, pair.b))
    documents = half.documents[sample.rows]
    assert found.value == pytest.approx(slow_value(x, y, K, documents))
    assert abs(found.value - slow_value(x, y, K)) > 0.005
    null = found.nulls[DOCUMENT_SHIFT]
    assert len(null) == 19 and found.value > null.max()
    row = summarise(metric, found, Hungarian(), confidence=0.95)
    assert (row.p_value, row.reason, row.space) == (0.05, "no_interval", "tokens")


def test_the_same_tokens_score_one_and_a_sample_of_one_document_none(data):
    _, found = measure(data._replace(b=data.a), MutualKnnTokens(rows=160, k=K))
    assert found.value == 1.0
    _, found = measure(data, MutualKnnTokens(rows=160, k=158))
    assert (found.value, found.reason) == (None, "undefined_similarity")


def test_unrelated_models_score_chance():
    _, found = measure(streams(seed=7, persistence=0.0, n_documents=80), MutualKnnTokens(rows=320, k=K))
    null = found.nulls[DOCUMENT_SHIFT]
    assert abs(null.mean() - K / 316) < 0.01 and abs(found.value - null.mean()) < 4 * null.std()


def test_calibrated_by_permutations_is_the_published_score_and_the_value_and_its_null_stay(data):
    rows = directions(data)
    _, matched = measure(data, MutualKnn(k=K), rows)
    _, found = measure(data, MutualKnnPermuted(k=K), rows)
    assert found.value == matched.value and list(found.nulls) == [PERMUTATION]
    np.testing.assert_array_equal(found.nulls[PERMUTATION], matched.nulls[PERMUTATION])
    row = summarise(MutualKnnPermuted(k=K), found, Hungarian(), confidence=0.95)
    q = np.sort([*found.nulls[PERMUTATION], found.value])[18]  # the 19th of 20: ceil(.95 x 20)
    assert row.calibrated == pytest.approx(max(0, (found.value - q) / (1 - q)))
    assert (row.null, row.p_value, row.reason) == (PERMUTATION, 0.05, "needs_rematching")


def test_permutations_calibrate_a_copy_to_one_and_need_no_matching_of_a_fixed_size(data):
    a = directions(data)[0]
    pair = matched_pair(data._replace(b=data.a), MutualNn(), MutualKnnPermuted(k=K), decoders=(a, a))
    (found,) = MutualKnnPermuted(k=K).measure(pair)
    row = summarise(MutualKnnPermuted(k=K), found, MutualNn(), confidence=0.95)
    assert (row.value, row.calibrated, row.p_value) == (1.0, 1.0, 0.05)


def test_p_by_permutation_is_uniform_for_directions_that_the_pairing_does_not_know():
    metric, ranks = MutualKnnPermuted(k=2), []
    for replicate in range(200):
        rng = np.random.default_rng([replicate, 6])
        x, y = (metric.prepare(rng.standard_normal((12, 4))) for _ in range(2))
        value = metric.compare(x, y, permutation=None).value
        null = np.array([metric.compare(x, y, permutation=rng.permutation(12)).value for _ in range(19)])
        above, equal = (null > value + 1e-9).sum(), (abs(null - value) <= 1e-9).sum()
        ranks.append((above + rng.random() * (1 + equal)) / (1 + len(null)))
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 0.01
    assert 0.01 <= (np.array(ranks) < 0.05).mean() <= 0.1
