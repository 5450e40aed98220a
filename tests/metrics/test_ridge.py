"""Ridge predictivity of decoder directions and of latents on tokens."""

import numpy as np
import pytest

from saeuniv.alignments import Hungarian, MaxCorr
from saeuniv.config import Condition
from saeuniv.metrics.base import DOCUMENT_SHIFT, PERMUTATION, SELECTION_SHIFT
from saeuniv.metrics.ridge import RidgeDecoder, RidgePredictivity
from saeuniv.numerics.predictivity import held_out_r2, ridge_folds
from tests.synthetic import matched_pair, streams

N, D_A, D_B = 60, 7, 4


def gaussian(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d))


def similarity(metric, x, y, order=None):
    return metric.compare(metric.prepare(x), metric.prepare(y), permutation=order)


@pytest.fixture(scope="module")
def data():
    return streams(seed=1, shared=N, n_latents=N, n_documents=80)


def measured(data, a, b, alignment=None, **options):
    placed = np.empty_like(b)
    placed[data.permutation] = b
    metric = RidgeDecoder(**options)
    pair = matched_pair(data, alignment or Hungarian(), metric, decoders=(a, placed))
    return pair, {each.direction: each for each in metric.measure(pair)}


def r2(x, y, penalty=1.0):
    return held_out_r2(ridge_folds(x, folds=5, relative_penalty=penalty), y)


def test_copies_are_predicted_both_ways_and_wider_ones_from_narrower_are_not(data):
    a = gaussian(N, D_A, 0)
    same = measured(data, a, a, relative_penalty=1e-9)[1]
    assert [each.value for each in same.values()] == pytest.approx([1.0, 1.0, 1.0])
    narrower = measured(data, a, a[:, :D_B], relative_penalty=1e-3)[1]
    assert narrower["a_to_b"].value > narrower["b_to_a"].value + 0.2
    assert narrower["both"].value == pytest.approx((narrower["a_to_b"].value + narrower["b_to_a"].value) / 2)


def test_values_and_nulls_of_both_directions_are_those_of_the_pairs(data):
    a = gaussian(N, D_A, 1)
    b = a @ gaussian(D_A, D_B, 2) + gaussian(N, D_B, 3)
    pair, found = measured(data, a, b)
    x, y = pair.a.decoder[pair.matches["both"].index_a], pair.b.decoder[pair.matches["both"].index_b]
    assert found["a_to_b"].value == pytest.approx(r2(x, y), abs=1e-9)
    assert found["b_to_a"].value == pytest.approx(r2(y, x), abs=1e-9)
    order = np.random.default_rng([0, 4]).permutation(N)
    assert found["a_to_b"].nulls[PERMUTATION][4] == pytest.approx(r2(x, y[order]), abs=1e-9)
    moved = np.empty_like(x)
    moved[order] = x
    assert found["b_to_a"].nulls[PERMUTATION][4] == pytest.approx(r2(y, moved), abs=1e-9)
    again = pair.null_matches[SELECTION_SHIFT][4]["both"]
    x, y = pair.a.decoder[again.index_a], pair.b.decoder[again.index_b]
    assert found["a_to_b"].nulls[SELECTION_SHIFT][4] == pytest.approx(r2(x, y), abs=1e-9)
    assert found["b_to_a"].nulls[SELECTION_SHIFT][4] == pytest.approx(r2(y, x), abs=1e-9)
    for name in (PERMUTATION, SELECTION_SHIFT):
        draws = [found[direction].nulls[name] for direction in ("a_to_b", "b_to_a", "both")]
        np.testing.assert_allclose(draws[2], (draws[0] + draws[1]) / 2)
        assert draws[2].max() < found["both"].value


def test_unrelated_directions_are_not_predicted(data):
    found = measured(data, gaussian(N, D_A, 4), gaussian(N, D_B, 5))[1]
    assert -0.3 < found["both"].value < 0.05


def test_rotations_and_lengths_change_nothing_and_stretching_does(data):
    a = gaussian(N, D_A, 6)
    b = a @ gaussian(D_A, D_B, 7) + gaussian(N, D_B, 8)
    value = measured(data, a, b)[1]["both"].value
    rotation = np.linalg.qr(gaussian(D_A, D_A, 9))[0]
    lengths = np.random.default_rng(10).lognormal(size=(N, 1))
    assert measured(data, lengths * a @ rotation, b)[1]["both"].value == pytest.approx(value, abs=1e-6)
    stretched = a * np.geomspace(1, 100, D_A)
    assert abs(measured(data, stretched, b)[1]["both"].value - value) > 0.01


def test_an_alignment_with_directions_gives_each_its_own_pairs(data):
    a = gaussian(N, D_A, 11)
    pair, found = measured(data, a, a[:, :D_B] + gaussian(N, D_B, 12), MaxCorr())
    forward, backward = pair.matches["a_to_b"], pair.matches["b_to_a"]
    x, y = pair.a.decoder, pair.b.decoder
    assert found["a_to_b"].value == pytest.approx(r2(x[forward.index_a], y[forward.index_b]), abs=1e-9)
    assert found["b_to_a"].value == pytest.approx(r2(y[backward.index_b], x[backward.index_a]), abs=1e-9)


def test_fewer_than_two_pairs_a_fold_have_no_value_and_say_why():
    metric = RidgeDecoder(folds=5)
    assert similarity(metric, gaussian(9, 2, 0), gaussian(9, 2, 1)) == (None, "too_few_matches", ())
    assert similarity(metric, gaussian(9, 2, 0), np.ones((9, 2)))[0] is None
    few = streams(seed=2, shared=6, n_latents=6)
    found = measured(few, gaussian(6, 2, 2), gaussian(6, 2, 3))[1]
    assert {(each.value, each.reason) for each in found.values()} == {(None, "too_few_matches")}


@pytest.mark.parametrize("metric", [RidgeDecoder, RidgePredictivity])
def test_choices_out_of_range_are_refused(metric):
    with pytest.raises(ValueError, match=rf"metrics.{metric.name}.relative_penalty=0.0: expected a positive"):
        metric(relative_penalty=0.0)
    with pytest.raises(ValueError, match=r"metrics\.ridge_decoder\.folds=1: expected at least 2"):
        RidgeDecoder(folds=1)


def tokens(data, **options):
    metric = RidgePredictivity(**options)
    pair = matched_pair(data, Hungarian(), metric)
    return pair, {each.direction: each for each in metric.measure(pair)}


@pytest.mark.parametrize("condition", [Condition.none, Condition.token])
def test_latents_are_predicted_on_the_other_half_as_row_by_row(data, condition):
    pair, found = tokens(data._replace(b=data.b[:, :40]), condition=condition)
    sides = []
    for side in (pair.a, pair.b):
        rows = [half.matrix.toarray() for half in side.halves]
        ids = [half.half.groups[condition.value].ids for half in side.halves]
        sides.append(list(zip(rows, ids, strict=True)))
    for direction, (source, target) in (("a_to_b", sides), ("b_to_a", sides[::-1])):
        folds = [row_by_row(source, target, fit, condition) for fit in (0, 1)]
        assert found[direction].value == pytest.approx(np.mean(folds), abs=1e-9)
    values = {direction: each.value for direction, each in found.items()}
    assert values["both"] == pytest.approx((values["a_to_b"] + values["b_to_a"]) / 2)
    assert values["a_to_b"] > values["b_to_a"] + 0.1 > 0.3
    assert found["both"].nulls[DOCUMENT_SHIFT].max() < 0.05


def row_by_row(source, target, fit, condition):
    def residual(half, means_of):
        z, ids = half
        if condition is Condition.none:
            return z - means_of[0].mean(axis=0)
        return z - np.stack([z[ids == g].mean(axis=0) for g in range(ids.max() + 1)])[ids]

    held = 1 - fit
    (x, y), (x_held, y_held) = (
        [residual(side[half], side[fit]) for side in (source, target)] for half in (fit, held)
    )
    penalty = 0.1 * np.sum(x**2) / x.shape[1]
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return 1 - np.sum((y_held - x_held @ weights) ** 2) / np.sum(y_held**2)


def test_a_copy_of_the_latents_is_predicted_and_unrelated_ones_are_not(data):
    same = tokens(data._replace(b=data.a), relative_penalty=1e-9)[1]
    assert [each.value for each in same.values()] == pytest.approx([1.0, 1.0, 1.0])
    unrelated = tokens(streams(seed=2, n_latents=20, n_documents=80))[1]
    assert -0.1 < unrelated["both"].value < 0.01
