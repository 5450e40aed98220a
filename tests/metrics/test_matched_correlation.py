"""Pearson's r of the alignment's pairs on the other half: known answers, its null, its decomposition."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from saeuniv.alignments import Hungarian, MaxCorr, MutualNn
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Condition, Eligibility, Nulls
from saeuniv.metrics import MatchedCorrelation
from saeuniv.metrics.base import DOCUMENT_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.numerics.latents import Floors
from tests.synthetic import Streams, best_assignment, compared, dense_partial, matched_pair, streams


def measure(data, alignment=None, **changes):
    metric = MatchedCorrelation()
    pair = matched_pair(data, alignment or Hungarian(), metric, **changes)
    return pair, {each.direction: each for each in metric.measure(pair)}


def dense_halves(pair):
    """Latents of A and B on D1 and on D2."""
    return [[side.halves[half].matrix.toarray() for side in (pair.a, pair.b)] for half in (0, 1)]


def swapped(data: Streams, b: np.ndarray) -> Streams:
    return data._replace(b=sp.csr_array(b))


def test_the_value_is_the_mean_of_pearsons_r_on_d2_over_pairs_chosen_on_d1_given_the_token():
    pair, found = measure(streams(seed=1, shared=10, token_latents=6, n_latents=24))
    (x1, y1), (x2, y2) = dense_halves(pair)
    chosen = dense_partial(x1, y1, pair.a.halves[0].half.groups["token"].ids)
    index_a, index_b = best_assignment(pair.matches["both"], chosen)
    expected = [np.corrcoef(x2[:, i], y2[:, j])[0, 1] for i, j in zip(index_a, index_b, strict=True)]
    assert found["both"].value == pytest.approx(np.mean(expected), abs=1e-10)
    assert set(found) == {"both"} and found["both"].n_matches == len(expected)


def test_a_model_compared_with_itself_scores_one():
    data = streams(seed=2, n_latents=20)
    for alignment in (Hungarian(), MutualNn(), MaxCorr()):
        _, found = measure(data._replace(b=data.a), alignment)
        assert [each.value for each in found.values()] == pytest.approx([1.0] * len(found))


def test_the_value_is_unchanged_by_scale_and_order_of_latents():
    data = streams(seed=3, shared=10, n_latents=20)
    rng = np.random.default_rng(0)
    order = rng.permutation(20)
    same = swapped(data, data.b.toarray()[:, order] * rng.lognormal(sigma=3, size=20))
    before, after = (measure(each)[1]["both"] for each in (data, same))
    assert after.value == pytest.approx(before.value, abs=1e-10)
    np.testing.assert_allclose(after.bootstrap, before.bootstrap, atol=1e-9)
    np.testing.assert_allclose(after.nulls[DOCUMENT_SHIFT], before.nulls[DOCUMENT_SHIFT], atol=1e-6)


def test_pairs_that_agree_on_the_match_half_only_score_nothing():
    """The negative control: what is not on other documents does not count."""
    data = streams(seed=4, shared=20, n_latents=20, n_documents=120)
    pair, found = measure(data)
    assert found["both"].value > 0.8
    broken = data.b.toarray()
    rows = pair.a.halves[1].half.rows
    broken[rows] = np.roll(broken[rows], 7 * data.positions, axis=0)
    again, lost = measure(swapped(data, broken))
    assert (again.matches["both"].index_b == pair.matches["both"].index_b).all()
    assert abs(lost["both"].value) < 0.05


def test_the_null_moves_b_by_whole_sequences_on_d2_with_the_matches_fixed():
    pair, found = measure(streams(seed=5, shared=6, n_latents=14, n_documents=60))
    _, (x, y) = dense_halves(pair)
    n, positions = pair.draws.n_sequences, pair.a.halves[1].half.positions
    matching, null = pair.matches["both"], found["both"].nulls[DOCUMENT_SHIFT]
    x, y = ((z - z.mean(axis=0)) / (z.std(axis=0) * np.sqrt(len(z))) for z in (x, y))
    x, y = x[: n * positions, matching.index_a], y[: n * positions, matching.index_b]
    assert len(null) == len(pair.draws.shifts)
    for draw in (0, 3, len(null) - 1):
        moved = np.roll(y, -pair.draws.shifts[draw] * positions, axis=0)
        # One group of all rows leaves all but one degree of freedom.
        assert null[draw] == pytest.approx((x * moved).sum(axis=0).mean(), abs=1e-6, rel=1e-3)


def test_each_bootstrap_draw_is_the_mean_correlation_of_the_documents_drawn():
    pair, found = measure(streams(seed=6, shared=6, n_latents=14, n_documents=60))
    _, (x, y) = dense_halves(pair)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    matching, half = pair.matches["both"], pair.a.halves[1].half
    for draw in (0, 11):
        weights = pair.draws.weights[1][draw][half.documents][:, None]
        u, v = x[:, matching.index_a], y[:, matching.index_b]
        scale = np.sqrt((weights * u * u).sum(axis=0) * (weights * v * v).sum(axis=0))
        expected = ((weights * u * v).sum(axis=0) / scale).mean()
        assert found["both"].bootstrap[draw] == pytest.approx(expected, abs=1e-10)


def test_both_directions_of_many_to_one_matches_are_averaged_draw_by_draw():
    _, found = measure(streams(seed=7, shared=6, n_latents=20, n_documents=60), MaxCorr())
    forward, backward, both = (found[direction] for direction in ("a_to_b", "b_to_a", "both"))
    assert forward.value != backward.value
    assert both.value == pytest.approx((forward.value + backward.value) / 2)
    np.testing.assert_allclose(both.bootstrap, (forward.bootstrap + backward.bootstrap) / 2)
    nulls = [each.nulls[DOCUMENT_SHIFT] for each in (forward, backward, both)]
    np.testing.assert_allclose(nulls[2], (nulls[0] + nulls[1]) / 2, atol=1e-12)


def test_the_within_token_shuffle_is_matched_and_scored_on_shuffled_rows():
    pair, found = measure(
        streams(seed=8, shared=6, token_latents=6, n_latents=14, n_documents=60),
        Hungarian(condition=Condition.none),
        floors=Floors(5, 0.5, 1e-6),
    )
    drawn = found["both"].nulls[WITHIN_TOKEN_SHUFFLE]
    (x1, y1), (x2, y2) = dense_halves(pair)
    assert len(drawn) == len(pair.draws.shuffles) == 3
    matched = pair.null_matches[WITHIN_TOKEN_SHUFFLE]
    for value, matches, (first, second) in zip(drawn, matched, pair.draws.shuffles, strict=True):
        chosen = dense_partial(x1, y1[first], np.zeros(len(x1), int))
        index = best_assignment(matches["both"], chosen)
        scored = dense_partial(x2, y2[second], np.zeros(len(x2), int))
        assert value == pytest.approx(scored[index].mean(), abs=1e-10)
    # Pairs alike given the token are lost, pairs alike through the token stay.
    assert 0.2 < drawn.mean() < found["both"].value - 0.2


def test_an_alignment_without_degrees_of_freedom_leaves_the_value_undefined_with_its_reason():
    """Raw correlation itself would be defined: without pairs there is nothing to take the mean of."""
    data = streams(seed=9, n_latents=10)
    rows = np.random.default_rng(0).permutation(len(data.documents))
    groups = {**data.groups, "token_trigram": rows // 2}
    for alignment in (
        Hungarian(condition=Condition.token_trigram),
        MaxCorr(condition=Condition.token_trigram),
    ):
        pair, found = measure(data._replace(groups=groups), alignment)
        assert pair.matches == {}
        assert (found["both"].value, found["both"].reason) == (None, "few_degrees_of_freedom")


def test_an_alignment_without_positive_pairs_leaves_the_value_undefined():
    """Latents that never fire together correlate below zero."""
    data = streams(seed=10, n_latents=6)
    apart = np.repeat(np.arange(len(data.documents) // data.positions) % 2, data.positions)[:, None]
    data = data._replace(
        a=sp.csr_array(data.a.toarray() * apart), b=sp.csr_array(data.b.toarray() * (1 - apart))
    )
    for alignment, directions in (
        (MutualNn(condition=Condition.none), ["both"]),
        (MaxCorr(condition=Condition.none), ["a_to_b", "b_to_a", "both"]),
    ):
        _, found = measure(data, alignment, floors=Floors(3, 0.9, 0.0))
        assert list(found) == directions
        assert {(each.value, each.reason) for each in found.values()} == {(None, "too_few_matches")}


@pytest.mark.calibration
def test_p_of_unrelated_latents_is_uniform_through_matching_and_shifting():
    settings = CompareSettings(
        metrics=(MatchedCorrelation(),),
        eligibility=Eligibility(min_firings=5),
        nulls=Nulls(shuffle_draws=1),
        bootstrap=Bootstrap(draws=1),
    )
    p = []
    for seed in range(200):
        data = streams(
            seed=5000 + seed, n_latents=10, n_documents=204, sequences_per_document=1, positions=10
        )
        p.append(compared(data, settings)["matched_correlation", "both"].p_value)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.02 <= (np.array(p) <= 0.05).mean() <= 0.09
