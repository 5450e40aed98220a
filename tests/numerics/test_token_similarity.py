import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import special_ortho_group

from saeuniv.numerics.subspace import svcca_basis
from saeuniv.numerics.token_grams import TokenGrams, TokenSides
from saeuniv.numerics.token_similarity import (
    cross_fitted_cka,
    cross_fitted_procrustes,
    cross_fitted_svcca,
)

N = 300


def cca(fit: TokenGrams, evaluation: TokenGrams) -> float | None:
    found = cross_fitted_svcca(fit, evaluation, variance_kept=0.9)
    return None if found is None else found.similarity


STATISTICS = [cross_fitted_cka, cca, cross_fitted_procrustes]


def gaussian(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1.0, 0.3, d)


def related(n: int = 2 * N) -> tuple[np.ndarray, np.ndarray]:
    x = gaussian(n, 8, 0) + 2.0
    y = gaussian(n, 11, 1)
    y[:, :5] += 0.7 * x[:, :5]
    return x, y


def halves(x: np.ndarray, y: np.ndarray) -> tuple[TokenGrams, TokenGrams]:
    first, second = (
        TokenSides(sp.csc_array(x[rows]), sp.csc_array(y[rows]), np.zeros(len(rows), np.int64), n_groups=1)
        for rows in np.array_split(np.arange(len(x)), 2)
    )
    return first.grams(0), second.grams(0)


def centred_halves(z: np.ndarray) -> list[np.ndarray]:
    return [half - half.mean(axis=0) for half in np.array_split(z, 2)]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_rotated_and_scaled_copy_is_one_and_a_stretched_one_is_not(statistic) -> None:
    x, y = related()
    rotation = special_ortho_group.rvs(11, random_state=0)
    assert statistic(*halves(y, 3.0 * y @ rotation + 2.0)) == pytest.approx(1.0, abs=1e-9)
    assert statistic(*halves(y, y * np.geomspace(1, 50, 11) @ rotation)) < 0.9
    value = statistic(*halves(x, y))
    assert statistic(*halves(x, 3.0 * y @ rotation + 2.0)) == pytest.approx(value, abs=1e-9)
    assert statistic(*halves(y, x)) == pytest.approx(value, abs=1e-9)
    assert 0.1 < value < 0.95


@pytest.mark.parametrize("statistic", STATISTICS)
def test_unrelated_sides_score_zero_on_average(statistic) -> None:
    values = [
        statistic(*halves(gaussian(60, 8, 2 * seed), gaussian(60, 11, 2 * seed + 1))) for seed in range(200)
    ]
    assert abs(np.mean(values)) < 3.5 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_cka_is_that_of_kernels_between_the_rows_of_both_halves() -> None:
    x, y = related()
    (x1, x2), (y1, y2) = centred_halves(x), centred_halves(y)
    between = [
        np.vdot(u, v) for u, v in ((x1.T @ y1, x2.T @ y2), (x1.T @ x1, x2.T @ x2), (y1.T @ y1, y2.T @ y2))
    ]
    expected = between[0] / np.sqrt(between[1] * between[2])
    assert cross_fitted_cka(*halves(x, y)) == pytest.approx(expected, abs=1e-12)
    first, second = halves(x, y)
    assert cross_fitted_cka(second, first) == pytest.approx(expected, abs=1e-12)


def test_svcca_correlates_on_one_half_the_variates_of_the_other() -> None:
    x, y = related()
    (x1, x2), (y1, y2) = centred_halves(x), centred_halves(y)
    bases = [svcca_basis(z, variance_kept=0.9) for z in (x1, y1)]
    weights = [np.linalg.lstsq(z, basis)[0] for z, basis in zip((x1, y1), bases, strict=True)]
    left, _, right = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    # The basis of the leading components is a linear image of the rows; so are its variates.
    u, v = x2 @ weights[0] @ left, y2 @ weights[1] @ right.T
    expected = np.mean([np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(u.shape[1])])
    found = cross_fitted_svcca(*halves(x, y), variance_kept=0.9)
    assert found is not None
    assert (found.k_a, found.k_b) == (bases[0].shape[1], bases[1].shape[1])
    assert found.similarity == pytest.approx(expected, abs=1e-9)
    full = cross_fitted_svcca(*halves(x, y), variance_kept=1.0)
    assert full is not None and (full.k_a, full.k_b) == (8, 11)


def test_procrustes_judges_on_one_half_the_rotation_of_the_other() -> None:
    x, y = related()
    (x1, x2), (y1, y2) = centred_halves(x), centred_halves(y)
    left, _, right = np.linalg.svd(x1.T @ y1, full_matrices=False)
    expected = np.vdot(x2 @ left @ right, y2) / np.linalg.norm(x2) / np.linalg.norm(y2)
    assert cross_fitted_procrustes(*halves(x, y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_side_without_variance_has_no_value(statistic) -> None:
    x, flat = related()[0], np.full((2 * N, 3), 0.1)
    for sides in ((x, flat), (flat, x)):
        assert statistic(*halves(*sides)) is None


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"variance_kept={fraction}: expected a fraction in \(0, 1\]"):
        cross_fitted_svcca(*halves(*related()), variance_kept=fraction)
