import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, kstest

from saeuniv.numerics.grid import draws_needed
from saeuniv.numerics.statistics import (
    Interval,
    benjamini_hochberg,
    benjamini_yekutieli,
    calibrated,
    document_weights,
    effective_documents,
    excess,
    p_value,
    percentile_interval,
    published_p_value,
    seed_ceiling_scaled,
    z_score,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


def test_p_value_counts_the_draws_at_least_as_large_plus_one() -> None:
    draws = np.array([0.1, 0.2, 0.3, 0.4])
    assert p_value(0.25, draws) == 3 / 5
    assert p_value(0.3, draws) == 3 / 5
    assert p_value(9.0, draws) == 1 / 5
    assert p_value(-9.0, draws) == 1.0


@pytest.mark.parametrize(("value", "published"), [(9.0, 0.0), (0.25, 0.5), (0.3, 0.5), (-9.0, 1.0)])
def test_the_published_p_is_the_share_of_draws_and_may_be_zero(value: float, published: float) -> None:
    p = p_value(value, np.array([0.1, 0.2, 0.3, 0.4]))
    assert published_p_value(p, draws=4) == published and p > 0


def test_a_p_of_another_number_of_draws_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p=0\.01: expected a multiple of 1 / 20 in \(0, 1\], got 0\.01"):
        published_p_value(0.01, draws=19)
    with pytest.raises(ValueError, match="draws=0: expected at least 1"):
        published_p_value(0.5, draws=0)


def test_p_values_of_a_true_null_are_uniform() -> None:
    draws = np.random.default_rng(0).normal(size=(600, 200))
    p = np.array([p_value(float(row[0]), row[1:]) for row in draws])
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.02 <= (p <= 0.05).mean() <= 0.09


def test_excess_and_z_are_the_distance_from_the_null_signed() -> None:
    draws = np.array([0.1, 0.2, 0.3])
    assert excess(0.5, draws) == pytest.approx(0.3)
    assert excess(0.1, draws) == pytest.approx(-0.1)
    assert z_score(0.5, draws) == pytest.approx(3.0)
    scaled = z_score(7 * 0.5 - 2, 7 * draws - 2)
    assert scaled == pytest.approx(3.0)


def test_draws_that_do_not_vary_have_no_z() -> None:
    assert z_score(0.5, np.full(7, 0.1)) is None
    with pytest.raises(ValueError, match="expected at least 2, got 1; the spread of one"):
        z_score(0.5, np.zeros(1))


def test_excess_of_true_nulls_averages_zero_where_calibrated_does_not() -> None:
    draws = np.random.default_rng(5).uniform(size=(2000, 100))
    mean = np.mean([excess(float(row[0]), row[1:]) for row in draws])
    assert abs(mean) < 3 * 0.29 / np.sqrt(2000)
    assert np.mean([calibrated(float(row[0]), row[1:], level=0.05) for row in draws]) > 0.01


def test_the_share_of_the_seed_ceiling_is_zero_at_the_null_and_one_at_the_ceiling() -> None:
    draws = np.array([0.1, 0.3])
    for value, share in ((0.2, 0.0), (0.7, 1.0), (0.45, 0.5), (0.95, 1.5), (0.1, -0.2)):
        assert seed_ceiling_scaled(value, draws, ceiling=0.7) == pytest.approx(share)
    assert seed_ceiling_scaled(0.5, draws, ceiling=0.2) is None
    assert seed_ceiling_scaled(0.5, draws, ceiling=0.1) is None


def test_calibrated_uses_the_quantile_that_includes_the_value() -> None:
    draws = np.arange(19) / 100
    # 19 draws: the 19th smallest of 20 numbers is the largest draw when the value lies above.
    assert calibrated(0.59, draws, level=0.05) == pytest.approx((0.59 - 0.18) / (1 - 0.18))
    assert calibrated(0.18, draws, level=0.05) == 0.0
    assert calibrated(0.05, draws, level=0.05) == 0.0


def test_calibrated_takes_the_95th_of_99_draws_and_the_value() -> None:
    draws = np.arange(99) / 1000
    assert calibrated(0.5, draws, level=0.05) == pytest.approx((0.5 - 0.094) / (1 - 0.094))


def test_calibrated_is_above_zero_in_at_most_the_level_of_true_nulls() -> None:
    draws = np.random.default_rng(1).uniform(size=(2000, 100))
    share = np.mean([calibrated(float(row[0]), row[1:], level=0.05) > 0 for row in draws])
    assert share == pytest.approx(0.05, abs=0.015)


def test_calibrated_is_one_at_the_maximum_and_zero_where_the_null_reaches_it() -> None:
    assert calibrated(1.0, np.zeros(19), level=0.05) == 1.0
    assert calibrated(1.0, np.ones(19), level=0.05) == 0.0


def test_calibrated_refuses_draws_too_few_to_define_the_quantile() -> None:
    with pytest.raises(ValueError, match=r"expected at least 19, got 18; .*level 0\.05"):
        calibrated(0.5, np.zeros(18), level=0.05)
    with pytest.raises(ValueError, match="expected at least 99, got 98"):
        calibrated(0.5, np.zeros(98), level=0.01)


@pytest.mark.parametrize(("ours", "method"), [(benjamini_hochberg, "bh"), (benjamini_yekutieli, "by")])
@settings(max_examples=80, deadline=None)
@given(p=p_lists)
def test_q_values_equal_scipys(ours, method: str, p: np.ndarray) -> None:
    assert np.allclose(ours(p), false_discovery_control(p, method=method), atol=1e-12)


@pytest.mark.parametrize("ours", [benjamini_hochberg, benjamini_yekutieli])
@settings(max_examples=50, deadline=None)
@given(p=p_lists)
def test_q_values_are_monotone_in_p_and_never_below_it(ours, p: np.ndarray) -> None:
    q = ours(p)
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= 0).all()
    assert (q >= p - 1e-15).all()
    assert (q <= 1).all()


@pytest.mark.parametrize("ours", [benjamini_hochberg, benjamini_yekutieli])
def test_tests_that_are_no_members_are_not_counted(ours) -> None:
    p = np.array([0.01, np.nan, 0.04, 0.5, np.nan])
    q = ours(p)
    assert np.array_equal(np.isnan(q), np.isnan(p))
    assert np.array_equal(q[[0, 2, 3]], ours(p[[0, 2, 3]]))
    assert np.isnan(ours(np.full(3, np.nan))).all()
    assert len(ours(np.zeros(0))) == 0


def test_yekutieli_multiplies_sixteen_tests_by_three_point_three_eight() -> None:
    p = np.full(16, 1e-3)
    ratio = benjamini_yekutieli(p) / benjamini_hochberg(p)
    assert ratio == pytest.approx(np.full(16, 3.3807), abs=1e-4)


@pytest.mark.parametrize("broken", [-0.1, 1.1])
def test_p_values_outside_their_range_are_refused(broken: float) -> None:
    with pytest.raises(ValueError, match=rf"expected values in \[0, 1\] or NaN, got {broken} at \[1\]"):
        benjamini_hochberg(np.array([0.5, broken]))


def test_false_discovery_rate_is_kept_with_eighty_percent_true_nulls() -> None:
    rng = np.random.default_rng(2)
    rates: list[float] = []
    for _ in range(400):
        p = rng.uniform(size=50)
        p[:10] = rng.uniform(size=10) * 1e-3
        rejected = benjamini_hochberg(p) <= 0.05
        rates.append(rejected[10:].sum() / max(rejected.sum(), 1))
    assert np.mean(rates) == pytest.approx(0.05 * 0.8, abs=0.02)
    assert np.mean(rates) <= 0.05


@pytest.mark.parametrize(("ours", "draws"), [(benjamini_hochberg, 319), (benjamini_yekutieli, 1081)])
def test_false_discovery_rate_is_kept_on_grids_whose_cells_share_layers_and_shifts(ours, draws: int) -> None:
    """As few draws as one rejection needs, noise of layers shared by rows and columns, 80 % true nulls."""
    assert draws == draws_needed(16, 0.05, dependence="any" if ours is benjamini_yekutieli else "positive")
    rng = np.random.default_rng(6)
    aligned = np.zeros((4, 4), bool)
    aligned[[0, 1, 2], [0, 1, 2]] = True
    rates, found = [], []
    for _ in range(300):
        shapes = ((1 + draws, 4, 4), (1 + draws, 4, 1), (1 + draws, 1, 4))
        noise = sum(rng.standard_normal(shape) for shape in shapes)
        values, null = (noise[0] + 8 * aligned).ravel(), noise[1:].reshape(draws, 16)
        p = np.array([p_value(float(value), null[:, cell]) for cell, value in enumerate(values)])
        rejected = ours(p) <= 0.05
        rates.append((rejected & ~aligned.ravel()).sum() / max(rejected.sum(), 1))
        found.append(rejected[aligned.ravel()].mean())
    assert np.mean(rates) <= 0.05
    assert np.mean(found) > 0.5
    if ours is benjamini_hochberg:
        assert np.mean(rates) == pytest.approx(0.05 * 13 / 16, abs=0.02)


def test_weights_are_counts_that_sum_to_the_documents_of_each_half() -> None:
    first, second = document_weights((30, 50), draws=200, seed=0)
    assert first.shape == (200, 30)
    assert second.shape == (200, 50)
    assert (first.sum(axis=1) == 30).all()
    assert (second.sum(axis=1) == 50).all()
    # Multinomial: variance 1 - 1/n, and the halves are independent.
    assert second.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.2


def test_a_draw_does_not_depend_on_how_many_are_asked() -> None:
    few, many = (document_weights((20, 25), draws=draws, seed=7) for draws in (10, 100))
    assert all(np.array_equal(a, b[:10]) for a, b in zip(few, many, strict=True))
    other = document_weights((20, 25), draws=10, seed=8)
    assert not np.array_equal(few[0], other[0])
    assert not np.array_equal(few[0][0], few[0][1])


def test_a_draw_comes_from_the_generator_of_seed_and_index() -> None:
    first, second = document_weights((4, 6), draws=3, seed=5)
    generator = np.random.default_rng([5, 2])
    assert np.array_equal(first[2], np.bincount(generator.integers(4, size=4), minlength=4))
    assert np.array_equal(second[2], np.bincount(generator.integers(6, size=6), minlength=6))


def test_weights_of_an_empty_half_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 1 document in each half, got 0"):
        document_weights((0, 5), draws=2, seed=0)


def test_intervals_over_documents_cover_the_mean_of_clustered_data_and_intervals_over_rows_do_not() -> None:
    replicates, documents, rows = 2000, 120, 10
    rng = np.random.default_rng(3)
    effects = rng.normal(size=(replicates, documents, 1))
    values = effects + rng.normal(size=(replicates, documents, rows))
    weights, _ = document_weights((documents, 1), draws=1000, seed=4)
    means = values.mean(axis=2) @ weights.T / documents
    intervals = [percentile_interval(draws, confidence=0.95) for draws in means]
    assert 0.93 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.97
    naive = 1.96 * values.std(axis=(1, 2)) / np.sqrt(documents * rows)
    assert (np.abs(values.mean(axis=(1, 2))) <= naive).mean() < 0.8


def test_intervals_of_a_ratio_cover_it_with_documents_of_unequal_length() -> None:
    """A correlation is a ratio of sums over documents: weights times sums, as the metrics compute it."""
    replicates, documents = 500, 150
    rng = np.random.default_rng(7)
    weights, _ = document_weights((documents, 1), draws=400, seed=8)
    covered, naive = [], []
    for _ in range(replicates):
        rows = rng.integers(2, 15, size=documents)
        document = np.repeat(np.arange(documents), rows)
        x, y = rng.standard_normal((2, documents))[:, document] + rng.standard_normal((2, len(document)))
        y = 0.5 * x + y * np.sqrt(0.75)
        xy, xx, yy = (np.bincount(document, weights=each) for each in (x * y, x * x, y * y))
        draws = weights @ xy / np.sqrt((weights @ xx) * (weights @ yy))
        low, high = percentile_interval(draws, confidence=0.95)
        covered.append(low <= 0.5 <= high)
        error = 1.96 * 0.75 / np.sqrt(len(document))
        naive.append(abs(xy.sum() / np.sqrt(xx.sum() * yy.sum()) - 0.5) <= error)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(naive) < 0.8


def test_percentile_interval_cuts_equal_tails() -> None:
    interval = percentile_interval(np.arange(101.0), confidence=0.9)
    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))


@pytest.mark.parametrize("draws", [np.zeros(0), np.array([0.0, np.nan])])
def test_no_draws_or_broken_draws_are_refused(draws: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"draws: expected (at least 1|finite numbers), got"):
        p_value(0.0, draws)
    with pytest.raises(ValueError, match="draws: expected"):
        percentile_interval(draws, confidence=0.95)


def test_effective_documents_counts_equal_ones_and_discounts_a_large_one() -> None:
    assert effective_documents(np.full(20, 300)) == pytest.approx(20)
    assert effective_documents(np.array([1000, 1, 1])) == pytest.approx(1.004, abs=1e-3)
    assert effective_documents(np.zeros(4, dtype=np.int64)) == 0.0
