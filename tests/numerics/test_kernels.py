from itertools import permutations

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from saeuniv.numerics import kernels
from saeuniv.numerics.kernels import debiased_cka, debiased_cka_of_grams, gram


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
