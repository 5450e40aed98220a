from itertools import permutations

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from saeuniv.numerics import kernels
from saeuniv.numerics.kernels import (
    debiased_cka,
    debiased_cka_moments,
    debiased_cka_of_grams,
    gram,
    pc1_moments,
    permutation_moments,
    repaired_debiased_cka,
)
from saeuniv.numerics.subspace import first_component, pc1_abs_corr, svcca_basis


def gaussian(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def related(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = gaussian(n, 6, seed)
    return x, x @ gaussian(6, 9, seed + 1) + gaussian(n, 9, seed + 2)


def hsic_over_quadruples(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """The population formula E[kl] + E[k]E[l] - 2E[k l'], averaged over all quadruples of different rows."""
    quadruples = list(permutations(range(len(k)), 4))
    terms = (k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in quadruples)
    return sum(terms) / len(quadruples)


def hsic_song(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012, eq. 5, as printed."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    sums = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + sums - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def biased_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / norms)


@pytest.mark.parametrize("oracle", [hsic_over_quadruples, hsic_song])
def test_cka_equals_the_slow_unbiased_estimator(oracle) -> None:
    x, y = related(7, 0)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = oracle(k, l) / np.sqrt(oracle(k, k) * oracle(l, l))
    assert debiased_cka_of_grams(gram(x), gram(y)) == pytest.approx(expected, abs=1e-12)
    assert debiased_cka(x, y) == pytest.approx(expected, abs=1e-12)
    assert gram(x).self_hsic == pytest.approx(oracle(k, k), rel=1e-12)


def test_both_routes_agree() -> None:
    for n, seed in ((6, 1), (500, 2)):
        x, y = related(n, seed)
        by_grams = debiased_cka_of_grams(gram(x), gram(y))
        assert debiased_cka(x, y) == pytest.approx(by_grams, abs=1e-12)


def test_many_rows_need_no_matrix_of_rows_by_rows(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "gram", lambda x: pytest.fail("made an n x n matrix of 20,000 rows"))
    x, y = related(20_000, 3)
    assert 0 < (debiased_cka(x, y) or 0) < 1


@pytest.mark.parametrize("shape", [(50, 80), (300, 10)])
def test_cka_of_a_rotated_shifted_and_scaled_copy_is_one(shape) -> None:
    x = gaussian(*shape, 4)
    turned = x @ special_ortho_group.rvs(shape[1], random_state=0)
    for copy in (x, turned, 1e3 * x, x + 7.0, 1e-3 * turned - 2.0):
        assert debiased_cka(x, copy) == pytest.approx(1.0, abs=1e-9)


def test_cka_changes_under_an_invertible_linear_map() -> None:
    x = gaussian(300, 10, 5)
    assert (debiased_cka(x, x * np.geomspace(1, 30, 10)) or 0) < 0.8


def test_the_estimator_is_invariant_to_translation_without_centring() -> None:
    x, y = related(7, 6)
    k, shifted, l = x @ x.T, (x + 3.0) @ (x + 3.0).T, y @ y.T  # noqa: E741
    assert hsic_song(shifted, l) == pytest.approx(hsic_song(k, l), rel=1e-9)


def test_cka_of_independent_rows_is_zero_on_average_and_the_biased_one_is_not() -> None:
    draws = [(gaussian(200, 512, 2 * i), gaussian(200, 512, 2 * i + 1)) for i in range(50)]
    values = np.array([debiased_cka(x, y) for x, y in draws])
    assert abs(values.mean()) < 0.01
    assert 0.003 < values.std() < 0.012
    assert values.min() < 0
    assert biased_cka(*draws[0]) == pytest.approx(512 / 712, abs=0.03)
    assert biased_cka(gaussian(100, 512, 0), gaussian(100, 512, 1)) == pytest.approx(0.834, abs=0.02)


def test_cka_is_symmetric_and_bounded() -> None:
    x, y = related(40, 7)
    value = debiased_cka(x, y)
    assert value == pytest.approx(debiased_cka(y, x), abs=1e-12)
    assert 0 < (value or 0) < 1


def test_a_permutation_of_the_gram_is_a_permutation_of_the_rows() -> None:
    x, y = related(60, 8)
    order = np.random.default_rng(9).permutation(60)
    permuted = debiased_cka_of_grams(gram(x), gram(y), permutation=order)
    assert permuted == pytest.approx(debiased_cka(x, y[order]), abs=1e-12)
    assert permuted != pytest.approx(debiased_cka(x, y), abs=1e-2)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_cka_of_fewer_than_four_rows_is_undefined(n: int) -> None:
    for d in (1, 5):
        x = gaussian(n, d, 10)
        assert debiased_cka(x, x) is None
        assert debiased_cka_of_grams(gram(x), gram(x)) is None


@pytest.mark.parametrize("shape", [(30, 100), (100, 5)])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_cka_of_rows_that_do_not_differ_is_undefined(shape, constant: float) -> None:
    x, flat = gaussian(*shape, 11), np.full(shape, constant)
    assert debiased_cka(x, flat) is None
    assert debiased_cka(flat, x) is None
    assert debiased_cka_of_grams(gram(flat), gram(x)) is None


@pytest.mark.parametrize("d", [1, 60])
def test_cka_of_rows_all_equally_far_apart_is_undefined(d: int) -> None:
    # The corners of a simplex, through both routes; the columns of the one with n > d are fewer than rows.
    x = special_ortho_group.rvs(20, random_state=1)
    flat = np.linalg.svd(x - x.mean(axis=0))[0][:, :19]
    for corners in (x, flat):
        assert debiased_cka(corners, gaussian(20, d, 12)) is None


@pytest.mark.parametrize(("n", "d_a", "d_b"), [(40, 6, 9), (60, 80, 90), (900, 100, 120)])
def test_cka_of_a_pairing_at_random_is_that_of_the_rows_in_this_order(n: int, d_a: int, d_b: int) -> None:
    # Through rows by rows, and through columns by columns in double and single precision.
    x = gaussian(n, d_a, 13) + 3.0
    y = x @ gaussian(d_a, d_b, 14) + gaussian(n, d_b, 15)
    repaired = repaired_debiased_cka(x, y)
    for order in (np.arange(n), *(np.random.default_rng(seed).permutation(n) for seed in range(3))):
        assert repaired(order) == pytest.approx(debiased_cka(x, y[order]), abs=1e-7 if n == 900 else 1e-9)


def test_many_rows_are_paired_at_random_without_a_matrix_of_rows_by_rows(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "gram", lambda x: pytest.fail("made an n x n matrix"))
    x, y = related(9000, 16)
    assert repaired_debiased_cka(x, y)(np.arange(9000)) == pytest.approx(debiased_cka(x, y), abs=1e-9)


def test_pairings_of_a_side_without_structure_have_no_cka() -> None:
    for d in (3, 90):
        assert repaired_debiased_cka(np.ones((20, d)), gaussian(20, d, 17))(np.arange(20)) is None


def simulated(statistic, n: int, draws: int) -> np.ndarray:
    rng = np.random.default_rng(18)
    return np.array([statistic(rng.permutation(n)) for _ in range(draws)])


def heavy(n: int, d: int, seed: int) -> np.ndarray:
    """Rows of very different lengths, as in sparse latents."""
    return gaussian(n, d, seed) * np.random.default_rng(seed).lognormal(sigma=1.0, size=(n, 1))


def test_moments_over_pairings_are_those_of_twenty_thousand_pairings() -> None:
    x, y = heavy(60, 5, 19), heavy(60, 4, 20)
    mean_free = [z - z.mean(axis=0) for z in (x, y)]
    draws = simulated(lambda order: np.linalg.norm(mean_free[0].T @ mean_free[1][order]) ** 2, 60, 20_000)
    moments = permutation_moments(x + 5.0, y - 1.0)
    assert moments.mean == pytest.approx(draws.mean(), abs=4 * draws.std() / np.sqrt(20_000))
    assert moments.std == pytest.approx(draws.std(), rel=0.05)


@pytest.mark.parametrize("n", [4, 5])
def test_moments_over_pairings_are_exact_over_all_of_them(n: int) -> None:
    x, y = heavy(n, 3, 21), heavy(n, 2, 22)
    mean_free = [z - z.mean(axis=0) for z in (x, y)]
    values = [np.linalg.norm(mean_free[0].T @ mean_free[1][list(p)]) ** 2 for p in permutations(range(n))]
    moments = permutation_moments(x, y)
    assert (moments.mean, moments.std) == pytest.approx((np.mean(values), np.std(values)), rel=1e-9)
    debiased = [debiased_cka(x, y[list(p)]) for p in permutations(range(n))]
    exact = debiased_cka_moments(n)
    assert (np.mean(debiased), np.std(debiased)) == pytest.approx((exact.mean, exact.std), abs=1e-9)


def test_debiased_cka_over_pairings_has_the_same_moments_whatever_the_rows() -> None:
    for x, y in ((heavy(60, 5, 23), heavy(60, 4, 24)), (gaussian(60, 90, 25), gaussian(60, 2, 26))):
        draws = simulated(repaired_debiased_cka(x, y), 60, 10_000)
        moments = debiased_cka_moments(60)
        assert draws.mean() == pytest.approx(moments.mean, abs=4 * moments.std / 100)
        assert draws.std() == pytest.approx(moments.std, rel=0.06)
    assert debiased_cka_moments(200).std == pytest.approx(0.0071, abs=1e-4)


def test_moments_of_orthonormal_bases_give_the_mean_squared_canonical_correlation() -> None:
    bases = [svcca_basis(gaussian(100, d, d), variance_kept=1.0) for d in (7, 12)]
    assert permutation_moments(*bases).mean / 7 == pytest.approx(12 / 99, rel=1e-12)


def test_the_first_components_of_pairings_at_random_correlate_as_the_folded_normal() -> None:
    x, y = first_component(gaussian(100, 8, 27)), first_component(gaussian(100, 9, 28))
    draws = simulated(lambda order: pc1_abs_corr(x, y._replace(direction=y.direction[order])), 100, 5_000)
    moments = pc1_moments(100)
    assert draws.mean() == pytest.approx(moments.mean, rel=0.1)
    assert draws.std() == pytest.approx(moments.std, rel=0.1)
    assert moments.mean == pytest.approx(np.sqrt(2 / (np.pi * 100)), rel=0.01)


def test_moments_of_fewer_than_four_pairs_are_refused() -> None:
    for moments in (debiased_cka_moments, pc1_moments):
        with pytest.raises(ValueError, match=r"rows: expected at least 4 pairs of rows, got 3"):
            moments(3)
    with pytest.raises(ValueError, match=r"rows: expected at least 4"):
        permutation_moments(gaussian(3, 2, 0), gaussian(3, 2, 1))
    with pytest.raises(ValueError, match=r"y: expected 5 rows, those of x, got 4"):
        permutation_moments(gaussian(5, 2, 0), gaussian(4, 2, 1))
