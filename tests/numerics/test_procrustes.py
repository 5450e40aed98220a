import numpy as np
import pytest
import scipy.linalg
from scipy.stats import special_ortho_group

from saeuniv.numerics.procrustes import procrustes_similarity, repaired_procrustes


def gaussian(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def related(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = gaussian(n, 6, seed)
    return x, x @ gaussian(6, 9, seed + 1) + gaussian(n, 9, seed + 2)


def test_a_rotated_shifted_and_scaled_copy_is_one() -> None:
    for shape in ((80, 7), (7, 20)):
        x = gaussian(*shape, 0)
        copy = 3.0 * x @ special_ortho_group.rvs(shape[1], random_state=0) + 5.0
        assert procrustes_similarity(x, copy) == pytest.approx(1.0, abs=1e-12)


def test_it_ignores_rotation_scale_and_translation_of_either_side_and_is_symmetric() -> None:
    x, y = related(60, 1)
    value = procrustes_similarity(x, y)
    moved = 1e-3 * y @ special_ortho_group.rvs(9, random_state=1) - 2.0
    assert procrustes_similarity(x, moved) == pytest.approx(value, abs=1e-12)
    assert procrustes_similarity(y, x) == pytest.approx(value, abs=1e-12)
    assert 0 < (value or 0) < 1


def test_a_stretched_copy_is_not_one() -> None:
    x = gaussian(60, 6, 2)
    assert (procrustes_similarity(x, x * np.geomspace(1, 30, 6)) or 1) < 0.8


def test_it_is_what_the_best_rotation_and_scale_leave_of_the_distance() -> None:
    x, y = related(60, 3)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    padded = np.pad(x, ((0, 0), (0, 3)))
    rotation, _ = scipy.linalg.orthogonal_procrustes(padded, y)
    fitted = padded @ rotation
    scale = np.vdot(fitted, y) / np.vdot(fitted, fitted)
    left = np.linalg.norm(scale * fitted - y) ** 2 / np.linalg.norm(y) ** 2
    assert procrustes_similarity(x, y) == pytest.approx(np.sqrt(1 - left), abs=1e-12)
    assert procrustes_similarity(padded, y) == pytest.approx(procrustes_similarity(x, y), abs=1e-12)


def test_unrelated_rows_that_are_few_for_their_width_fit_well_all_the_same() -> None:
    # Rows of independent sides have the tabled cosine of .755 after the fit at n = 500, d = 512.
    x, y = gaussian(500, 512, 4), gaussian(500, 512, 5)
    assert procrustes_similarity(x, y) == pytest.approx(0.755, abs=0.02)
    assert (procrustes_similarity(gaussian(5000, 8, 6), gaussian(5000, 8, 7)) or 1) < 0.1


@pytest.mark.parametrize("shape", [(60, 6, 9), (40, 90, 70), (700, 130, 140), (150, 400, 300)])
def test_pairings_at_random_have_the_value_of_the_rows_in_this_order(shape) -> None:
    n, d_a, d_b = shape
    x, y = gaussian(n, d_a, 8), gaussian(n, d_b, 9) + 2.0
    repaired = repaired_procrustes(x, y)
    for order in (np.arange(n), *(np.random.default_rng(seed).permutation(n) for seed in range(3))):
        assert repaired(order) == pytest.approx(procrustes_similarity(x, y[order]), abs=1e-7)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_a_side_without_variance_has_no_value(constant: float) -> None:
    flat, x = np.full((20, 4), constant), gaussian(20, 3, 10)
    assert procrustes_similarity(flat, x) is None
    assert procrustes_similarity(x, flat) is None
    assert repaired_procrustes(flat, x)(np.arange(20)) is None
