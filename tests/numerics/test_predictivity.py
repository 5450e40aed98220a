import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import special_ortho_group

from saeuniv.numerics.predictivity import cross_fitted_r2, held_out_r2, ridge_folds
from saeuniv.numerics.token_grams import TokenGrams, TokenSides

PENALTY = 0.3


def gaussian(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def linear(n: int, d_a: int, d_b: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    x = gaussian(n, d_a, 0) + 2.0
    return x, x @ gaussian(d_a, d_b, 1) - 3.0 + noise * gaussian(n, d_b, 2)


def r2(x: np.ndarray, y: np.ndarray, *, folds: int = 5, relative_penalty: float = PENALTY) -> float | None:
    return held_out_r2(ridge_folds(x, folds=folds, relative_penalty=relative_penalty), y)


def r2_oracle(x: np.ndarray, y: np.ndarray, folds: int) -> float:
    """Ridge as least squares with one more row a column, fold by fold."""
    error = total = 0.0
    for fold in range(folds):
        held = np.arange(len(x)) % folds == fold
        mean_x, mean_y = x[~held].mean(axis=0), y[~held].mean(axis=0)
        penalty = PENALTY * np.linalg.eigvalsh((x[~held] - mean_x).T @ (x[~held] - mean_x)).mean()
        rows = np.vstack([x[~held] - mean_x, np.sqrt(penalty) * np.eye(x.shape[1])])
        targets = np.vstack([y[~held] - mean_y, np.zeros((x.shape[1], y.shape[1]))])
        weights = np.linalg.lstsq(rows, targets)[0]
        error += np.sum((y[held] - mean_y - (x[held] - mean_x) @ weights) ** 2)
        total += np.sum((y[held] - mean_y) ** 2)
    return 1 - error / total


@pytest.mark.parametrize("shape", [(83, 9, 4), (30, 50, 4)])
def test_it_is_ridge_by_least_squares_fold_by_fold(shape) -> None:
    x, y = linear(*shape, noise=1.0)
    assert r2(x, y) == pytest.approx(r2_oracle(x, y, 5), abs=1e-10)


def test_a_linear_image_is_predicted_and_an_unrelated_side_is_not() -> None:
    x, y = linear(200, 9, 4, noise=0.0)
    assert r2(x, y, relative_penalty=1e-10) == pytest.approx(1.0, abs=1e-9)
    unrelated = [r2(x, gaussian(200, 4, seed)) for seed in range(20)]
    assert max(unrelated) < 0.02 and -0.1 < np.mean(unrelated) < 0
    # Asymmetric: nine dimensions do not follow from four.
    assert r2(y, x, relative_penalty=1e-10) < 0.6


def test_it_ignores_rotation_scale_and_translation_but_not_a_stretched_axis() -> None:
    x, y = linear(120, 9, 4, noise=2.0)
    value = r2(x, y)
    turned = 7.0 * x @ special_ortho_group.rvs(9, random_state=0) - 5.0
    assert r2(turned, 0.1 * y @ special_ortho_group.rvs(4, random_state=1) + 2.0) == pytest.approx(
        value, abs=1e-10
    )
    assert abs((r2(x * np.geomspace(1, 30, 9), y) or 0) - (value or 0)) > 0.02


def test_another_pairing_brings_other_targets_to_the_same_regressions() -> None:
    x, y = linear(120, 9, 4, noise=1.0)
    order = np.random.default_rng(3).permutation(120)
    folds = ridge_folds(x, folds=4, relative_penalty=PENALTY)
    assert held_out_r2(folds, y[order]) == pytest.approx(r2(x, y[order], folds=4), abs=1e-12)
    assert (held_out_r2(folds, y[order]) or 0) < 0.05 < 0.8 < (held_out_r2(folds, y) or 0)


def test_predictors_that_do_not_vary_predict_the_mean_and_targets_that_do_not_vary_have_no_value() -> None:
    x, y = linear(40, 5, 3, noise=1.0)
    assert r2(np.ones((40, 5)), y) == 0
    assert r2(x, np.full((40, 3), 0.1)) is None


@pytest.mark.parametrize("folds", [1, 6])
def test_folds_outside_their_range_are_refused(folds: int) -> None:
    with pytest.raises(ValueError, match=rf"folds={folds}: expected 2..5 .* for 10 rows"):
        ridge_folds(gaussian(10, 2, 0), folds=folds, relative_penalty=1.0)


@pytest.mark.parametrize("penalty", [0.0, -1.0])
def test_a_penalty_that_is_not_positive_is_refused(penalty: float) -> None:
    message = rf"relative_penalty={penalty}: expected a positive number"
    with pytest.raises(ValueError, match=message):
        ridge_folds(gaussian(10, 2, 0), folds=2, relative_penalty=penalty)
    fit, evaluation = tokens(*linear(40, 5, 3, noise=1.0))
    with pytest.raises(ValueError, match=message):
        cross_fitted_r2(fit, evaluation, relative_penalty=penalty, about_fit_mean=True)


def groups(n: int) -> np.ndarray:
    return np.random.default_rng(4).integers(5, size=n)


def tokens(x: np.ndarray, y: np.ndarray, *, grouped: bool = False) -> tuple[TokenGrams, TokenGrams]:
    """The Grams of both halves of the rows."""
    ids = groups(len(x)) if grouped else np.zeros(len(x), np.int64)
    halves = np.array_split(np.arange(len(x)), 2)
    first, second = (
        TokenSides(sp.csc_array(x[rows]), sp.csc_array(y[rows]), ids[rows], n_groups=5).grams(0)
        for rows in halves
    )
    return first, second


def within(z: np.ndarray, ids: np.ndarray) -> np.ndarray:
    means = np.stack([z[ids == group].mean(axis=0) for group in range(5)])
    return z - means[ids]


@pytest.mark.parametrize("grouped", [False, True])
def test_cross_fitted_r2_is_that_of_predictions_row_by_row(grouped: bool) -> None:
    x, y = linear(301, 6, 4, noise=1.5)
    x[200:] += 0.3
    found = cross_fitted_r2(
        *tokens(x, y, grouped=grouped), relative_penalty=PENALTY, about_fit_mean=not grouped
    )
    fit, held = np.array_split(np.arange(301), 2)
    if grouped:
        sides = [[within(z[rows], groups(301)[rows]) for rows in (fit, held)] for z in (x, y)]
    else:
        sides = [[z[rows] - z[fit].mean(axis=0) for rows in (fit, held)] for z in (x, y)]
    (fit_x, held_x), (fit_y, held_y) = sides
    penalty = PENALTY * np.sum(fit_x**2) / 6
    weights = np.linalg.solve(fit_x.T @ fit_x + penalty * np.eye(6), fit_x.T @ fit_y)
    expected = 1 - np.sum((held_y - held_x @ weights) ** 2) / np.sum(held_y**2)
    assert found == pytest.approx(expected, abs=1e-10)
    assert 0.3 < expected < 0.95


def test_tokens_that_follow_linearly_are_predicted_and_unrelated_ones_are_not() -> None:
    x, y = linear(400, 6, 4, noise=0.0)
    for grouped in (False, True):
        options = {"relative_penalty": 1e-10, "about_fit_mean": not grouped}
        assert cross_fitted_r2(*tokens(x, y, grouped=grouped), **options) == pytest.approx(1.0, abs=1e-8)
        unrelated = tokens(x, gaussian(400, 4, 5), grouped=grouped)
        assert -0.1 < cross_fitted_r2(*unrelated, **options) < 0.01


def test_what_the_group_alone_tells_is_no_partial_r2() -> None:
    level = gaussian(5, 1, 6)[groups(600)] * 5
    x, y = gaussian(600, 3, 7) + level, gaussian(600, 2, 8) + level
    penalty = {"relative_penalty": PENALTY}
    assert cross_fitted_r2(*tokens(x, y), **penalty, about_fit_mean=True) > 0.5
    assert abs(cross_fitted_r2(*tokens(x, y, grouped=True), **penalty, about_fit_mean=False)) < 0.02


def test_halves_that_differ_in_mean_cost_the_fit_half_s_mean_as_predictor_nothing() -> None:
    """Predicting the fit half's mean is 0 exactly; about the mean of the rows judged it would be negative."""
    y = gaussian(100, 2, 9) + np.repeat([0.0, 3.0], 50)[:, None]
    fit, evaluation = tokens(np.zeros((100, 3)), y)
    assert cross_fitted_r2(fit, evaluation, relative_penalty=PENALTY, about_fit_mean=True) == 0


def test_halves_of_different_latents_and_targets_without_variance_are_told_apart() -> None:
    x, y = linear(40, 5, 3, noise=1.0)
    fit = tokens(x, y)[0]
    other = tokens(x[:, :4], y)[1]
    with pytest.raises(ValueError, match="expected the latents of fit, 5 and 3, got 4 and 3"):
        cross_fitted_r2(fit, other, relative_penalty=1.0, about_fit_mean=True)
    flat = tokens(x, np.zeros((40, 3)))
    assert cross_fitted_r2(*flat, relative_penalty=1.0, about_fit_mean=True) is None
