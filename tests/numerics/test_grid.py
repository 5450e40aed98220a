"""Statements over a grid of layer pairs keep their errors whatever cells share; none is overstated."""

import itertools

import numpy as np
import pytest
import scipy.stats

from saeuniv.numerics.grid import argmax_stability, draws_needed, mantel_diagonality, max_statistic


def null_grid(rng, *, draws, cells, shared=0.5, spread=None):
    """A value and its draws, exchangeable, correlated over cells, each cell on a scale of its own."""
    common, own = rng.standard_normal((draws + 1, 1)), rng.standard_normal((draws + 1, cells))
    all_draws = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    all_draws *= np.geomspace(0.1, 10, cells) if spread is None else spread
    return all_draws[0], all_draws[1:]


def family_wise_error(test, *, replicates=1200, aligned=0, **changes):
    """How often a test that returns p rejects a cell where nothing is, at .05."""
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(replicates):
        values, draws = null_grid(rng, **{"draws": 39, "cells": 16, **changes})
        values[:aligned] += 50 * draws[:, :aligned].std(axis=0)
        false += bool((test(values, draws)[aligned:] <= 0.05).any())
    return false / replicates


def adjusted(values, draws):
    return max_statistic(values, draws, level=0.05).p


def test_one_cell_has_the_p_value_of_its_rank():
    draws = np.array([[0.1], [0.2], [0.3], [0.4]])
    for value, p in ((0.25, 3 / 5), (0.3, 3 / 5), (9.0, 1 / 5), (-9.0, 1.0)):
        found = max_statistic(np.array([value]), draws, level=0.05)
        assert found.p[0] == found.p_any == p and found.members == 1


def test_adjusted_p_is_the_definition_over_all_draws():
    rng = np.random.default_rng(1)
    values, draws = null_grid(rng, draws=30, cells=5)
    values[2] += 20
    found = max_statistic(values, draws, level=0.05)
    for cell in range(5):
        z = [(column - column.mean()) / column.std() for column in np.vstack([draws, values]).T]
        larger = sum(max(each[draw] for each in z) >= z[cell][-1] for draw in range(30))
        assert found.p[cell] == pytest.approx((1 + larger) / 31)
        assert found.z[cell] == pytest.approx(z[cell][-1])
    assert found.p_any == found.p.min() == found.p[2] == 1 / 31


def test_family_wise_error_is_kept_on_correlated_cells_and_beside_aligned_ones():
    assert family_wise_error(adjusted) == pytest.approx(0.05, abs=0.02)
    assert family_wise_error(adjusted, shared=0.95) == pytest.approx(0.05, abs=0.02)
    assert family_wise_error(adjusted, aligned=4) <= 0.07
    assert family_wise_error(adjusted, draws=99, replicates=600) == pytest.approx(0.05, abs=0.02)


def test_values_studentised_by_their_draws_alone_are_rejected_too_often():
    """The negative control of putting the value among the draws."""

    def without_the_value(values, draws):
        mean, spread = draws.mean(axis=0), draws.std(axis=0, ddof=1)
        largest = ((draws - mean) / spread).max(axis=1)
        return (1 + (largest[:, None] >= (values - mean) / spread).sum(axis=0)) / (1 + len(draws))

    assert family_wise_error(without_the_value, draws=19, shared=0.0) > 0.08
    assert family_wise_error(adjusted, draws=19, shared=0.0) == pytest.approx(0.05, abs=0.02)


def test_cells_one_by_one_are_rejected_too_often():
    def each_alone(values, draws):
        return (1 + (draws >= values).sum(axis=0)) / (1 + len(draws))

    assert family_wise_error(each_alone, shared=0.2, replicates=500) > 0.25


def test_an_unstudentised_maximum_would_test_the_noisiest_cell():
    """The negative control of studentising: a clear effect in a quiet cell is lost."""
    rng = np.random.default_rng(3)
    spread = np.array([0.001, 1.0, 1.0, 1.0])
    values, draws = null_grid(rng, draws=199, cells=4, spread=spread)
    values[0] = 0.01
    plain = (1 + (draws.max(axis=1) >= values[0]).sum()) / 200
    assert plain > 0.3
    assert max_statistic(values, draws, level=0.05).p[0] == 1 / 200


def test_p_does_not_depend_on_the_unit_or_origin_of_each_cell():
    rng = np.random.default_rng(4)
    values, draws = null_grid(rng, draws=50, cells=6)
    scale, shift = rng.lognormal(sigma=2, size=6), rng.standard_normal(6)
    before, after = adjusted(values, draws), adjusted(values * scale + shift, draws * scale + shift)
    np.testing.assert_allclose(after, before)
    # Across cells there is no such freedom: another order of one cell's draws is another joint null.
    broken = draws.copy()
    broken[:, 0] = rng.permutation(broken[:, 0])
    assert not np.array_equal(adjusted(values, broken), before)


def test_cells_without_value_or_draws_are_left_out_and_counted():
    rng = np.random.default_rng(5)
    values, draws = null_grid(rng, draws=40, cells=6)
    kept = max_statistic(values[1:5], draws[:, 1:5], level=0.05)
    values[0], draws[:, 5] = np.nan, np.nan
    found = max_statistic(values, draws, level=0.05)
    assert (found.members, found.p_any, found.critical) == (4, kept.p_any, kept.critical)
    assert np.isnan(found.p[[0, 5]]).all() and np.isnan(found.z[[0, 5]]).all()
    np.testing.assert_array_equal(found.p[1:5], kept.p)


def test_a_cell_without_spread_is_nowhere_large():
    rng = np.random.default_rng(6)
    values, draws = null_grid(rng, draws=40, cells=3)
    values[1] = draws[:, 1] = 0.1
    found = max_statistic(values, draws, level=0.05)
    assert found.z[1] == 0.0 and found.p[1] > 0.5


@pytest.mark.parametrize(("draws", "defined"), [(18, False), (19, True), (20, True), (99, True)])
def test_the_critical_value_divides_rejected_cells_from_the_others(draws, defined):
    rng = np.random.default_rng(7)
    for _ in range(50):
        values, null = null_grid(rng, draws=draws, cells=8)
        values[:3] += 3 * null[:, :3].std(axis=0)
        found = max_statistic(values, null, level=0.05)
        assert (found.critical is not None) == defined
        if found.critical is not None:
            np.testing.assert_array_equal(found.z > found.critical, found.p <= 0.05)


def test_broken_grids_are_refused_with_the_position():
    values, draws = np.zeros(3), np.zeros((4, 3))
    with pytest.raises(ValueError, match="draws: expected at least 1, got 0"):
        max_statistic(values, draws[:0], level=0.05)
    with pytest.raises(ValueError, match=r"got none of 3"):
        max_statistic(np.full(3, np.nan), draws, level=0.05)
    draws[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"draws: expected finite.* the first nan at \[2, 1\]"):
        max_statistic(values, draws, level=0.05)
    with pytest.raises(ValueError, match=r"values: expected finite.* the first inf at \[1\]"):
        max_statistic(np.array([0, np.inf, 0]), np.zeros((4, 3)), level=0.05)


def test_a_diagonal_grid_correlates_one_with_nearness_and_its_reverse_minus_one():
    depth_a, depth_b = np.linspace(0, 1, 5), np.linspace(0, 1, 8)
    nearness = -np.abs(depth_a[:, None] - depth_b)
    found = mantel_diagonality(3 * nearness + 2, depth_a, depth_b, draws=199, seed=0)
    assert found is not None
    assert found.correlation == pytest.approx(1.0)
    assert found.p <= 2 / 200 and found.permutations == 199
    reverse = mantel_diagonality(-nearness, depth_a, depth_b, draws=199, seed=0)
    assert reverse is not None and reverse.correlation == pytest.approx(-1.0) and reverse.p > 0.9


def doubly_centred(matrix):
    return matrix - matrix.mean(axis=0) - matrix.mean(axis=1, keepdims=True) + matrix.mean()


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (4, 4)])
def test_few_layers_are_enumerated_by_the_definition(shape):
    rng = np.random.default_rng(8)
    values, depth_a, depth_b = rng.random(shape), rng.random(shape[0]), rng.random(shape[1])
    near = doubly_centred(-np.abs(depth_a[:, None] - depth_b)).ravel()
    found = mantel_diagonality(values, depth_a, depth_b, draws=99, seed=0)
    long = int(shape[1] >= shape[0])
    all_orders = itertools.permutations(range(4))
    moved = [np.take(doubly_centred(values), order, axis=long).ravel() for order in all_orders]
    correlations = np.array([scipy.stats.pearsonr(each, near)[0] for each in moved])
    assert found is not None and found.permutations == 24
    assert found.correlation == pytest.approx(correlations[0])
    assert found.p == pytest.approx((correlations >= correlations[0] - 1e-9).mean())


def test_drawn_permutations_come_near_the_enumerated_p_and_repeat():
    rng = np.random.default_rng(9)
    values, depth = rng.random((6, 6)), np.linspace(0, 1, 6)
    exact, drawn, again = (
        mantel_diagonality(values, depth, depth, draws=draws, seed=1) for draws in (720, 719 - 1, 719 - 1)
    )
    assert exact is not None and drawn is not None
    assert (exact.permutations, drawn.permutations) == (720, 718)
    assert drawn.p == pytest.approx(exact.p, abs=0.06) and drawn == again


def test_diagonality_ignores_layers_that_are_alike_with_everything():
    """Middle layers have the smallest mean depth difference: not centred, they look like a diagonal."""
    rng = np.random.default_rng(10)
    depth = np.linspace(0, 1, 9)
    hump = depth * (1 - depth)
    values = 0.01 * rng.standard_normal((9, 9))
    before = mantel_diagonality(values, depth, depth, draws=99, seed=0)
    after = mantel_diagonality(values + hump[:, None] + hump, depth, depth, draws=99, seed=0)
    assert before is not None and after is not None
    assert after.correlation == pytest.approx(before.correlation) and after.p == before.p
    plain = np.corrcoef((values + hump[:, None] + hump).ravel(), -np.abs(depth[:, None] - depth).ravel())
    assert plain[0, 1] > 0.3 > abs(after.correlation)


@pytest.mark.calibration
def test_diagonality_p_of_exchangeable_layers_is_uniform_and_of_smooth_ones_is_too_small():
    def p(smooth):
        rng = np.random.default_rng(11)
        weights = np.exp(-0.5 * (np.arange(6)[:, None] - np.arange(6)) ** 2) if smooth else np.eye(6)
        depth = np.linspace(0, 1, 6)
        grids = (weights @ rng.standard_normal((6, 6)) @ weights for _ in range(300))
        found = (mantel_diagonality(each, depth, depth, draws=99, seed=s) for s, each in enumerate(grids))
        return np.array([each.p for each in found if each])

    assert scipy.stats.kstest(p(smooth=False), "uniform").pvalue > 0.01
    assert (p(smooth=False) <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    # What docs/statistics.md H warns of.
    assert (p(smooth=True) <= 0.05).mean() > 0.1


def test_grids_without_interaction_have_no_diagonality():
    depth = np.linspace(0, 1, 4)
    for values in (np.full((4, 4), 0.3), np.add.outer(depth, depth) / 3):
        assert mantel_diagonality(values, depth, depth, draws=9, seed=0) is None
    assert mantel_diagonality(np.ones((1, 4)), depth[:1], depth, draws=9, seed=0) is None
    with pytest.raises(ValueError, match=r"values: .*the first nan at \[1, 2\]"):
        values = np.zeros((4, 4))
        values[1, 2] = np.nan
        mantel_diagonality(values, depth, depth, draws=9, seed=0)


def resampled(rng, *, cells, documents=60, lead=0.0):
    """Values and bootstrap draws of cells that share documents; the last leads."""
    scores = rng.standard_normal((documents, cells)) + rng.standard_normal((documents, 1))
    scores[:, -1] += lead
    weights = rng.multinomial(documents, np.full(documents, 1 / documents), size=300) / documents
    return scores.mean(axis=0), weights @ scores


def test_a_clear_winner_wins_every_draw():
    values, draws = resampled(np.random.default_rng(12), cells=5, lead=4.0)
    found = argmax_stability(values, draws, confidence=0.95)
    assert (found.best, found.shares[4], found.not_excluded.sum()) == (4, 1.0, 1)
    assert found.runner_up == values[:4].argmax()
    assert found.difference == pytest.approx(values[4] - values[:4].max())
    assert 0 < found.interval.low < found.difference < found.interval.high


def test_equal_cells_share_the_wins_and_none_is_excluded():
    draws = np.repeat(np.random.default_rng(13).random((50, 1)), 4, axis=1)
    found = argmax_stability(draws.mean(axis=0), draws, confidence=0.95)
    np.testing.assert_allclose(found.shares, 0.25)
    assert (found.best, found.runner_up, found.difference) == (0, 1, 0.0)
    assert found.interval == (0.0, 0.0) and found.not_excluded.all()


def test_adding_a_number_to_all_cells_changes_nothing_and_to_one_does():
    values, draws = resampled(np.random.default_rng(14), cells=4)
    before, after = (argmax_stability(values + by, draws + by, confidence=0.9) for by in (0.0, 5.0))
    np.testing.assert_allclose(after.shares, before.shares)
    np.testing.assert_array_equal(after.not_excluded, before.not_excluded)
    one = np.array([0.0, 0.0, 0.0, 5.0])
    assert argmax_stability(values + one, draws + one, confidence=0.9).shares[3] == 1.0


@pytest.mark.parametrize("lead", [0.0, 0.2])
def test_the_best_cell_is_excluded_in_at_most_five_percent_and_the_lead_is_not_overstated(lead):
    rng = np.random.default_rng(15)
    found = [argmax_stability(*resampled(rng, cells=12, lead=lead), confidence=0.95) for _ in range(300)]
    assert np.mean([each.not_excluded[-1] for each in found]) >= 0.93
    if not lead:
        assert np.mean([each.interval.low > 0 for each in found]) <= 0.05


def test_cells_that_may_be_the_best_are_those_of_the_definition():
    rng = np.random.default_rng(16)
    for _ in range(20):
        values = rng.random(6)
        # Skewed errors: the lead of another cell is not minus the lead over it.
        draws = values + 0.3 * (rng.exponential(size=(200, 6)) - 1)
        found = argmax_stability(values, draws, confidence=0.8)
        for cell in range(6):
            lead = [max(d[j] - values[j] - d[cell] + values[cell] for j in range(6)) for d in draws]
            may_be = max(values) - values[cell] <= np.quantile(lead, 0.8)
            assert found.not_excluded[cell] == may_be


def test_too_little_to_have_a_best_cell_is_refused():
    with pytest.raises(ValueError, match="expected at least 2 cells and 1 draw, got 1 cells and 5 draws"):
        argmax_stability(np.zeros(1), np.zeros((5, 1)), confidence=0.95)
    with pytest.raises(ValueError, match=r"draws: .*the first inf at \[1, 0\]"):
        argmax_stability(np.zeros(2), np.array([[0, 1], [np.inf, 0]]), confidence=0.95)


def test_draws_needed_are_those_of_the_definitions():
    assert draws_needed(16, 0.05, dependence="positive") == 319
    assert draws_needed(55, 0.05, dependence="positive") == 1099
    assert draws_needed(1, 0.05, dependence="any") == 19
    # 16 x 3.3807 / .05 - 1 = 1080.8
    assert draws_needed(16, 0.05, dependence="any") == 1081


@pytest.mark.parametrize("dependence", ["positive", "any"])
@pytest.mark.parametrize("cells", [1, 7, 16, 36])
def test_as_many_draws_allow_one_rejection_and_one_fewer_does_not(cells, dependence):
    draws = draws_needed(cells, 0.05, dependence=dependence)
    method = {"positive": "bh", "any": "by"}[dependence]
    for count, rejected in ((draws, True), (draws - 1, False)):
        p = np.append(1 / (1 + count), np.ones(cells - 1))
        q = scipy.stats.false_discovery_control(p, method=method)[0]
        assert (q <= 0.05 + 1e-12) == rejected


def test_no_cells_or_an_impossible_level_are_refused():
    for cells, level in ((0, 0.05), (5, 0.0), (5, 1.0)):
        with pytest.raises(ValueError, match=rf"cells={cells}, level={level}: expected at least 1 cell"):
            draws_needed(cells, level, dependence="positive")
