import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import special_ortho_group

from saeuniv.numerics import subspace
from saeuniv.numerics.subspace import (
    Svcca,
    centred,
    first_component,
    nuclear_norm,
    pc1_abs_corr,
    principal_scores,
    repaired_nuclear_norm,
    repaired_svcca,
    svcca,
    svcca_basis,
)


def compare(x: np.ndarray, y: np.ndarray, variance_kept: float = 0.99) -> Svcca:
    return svcca(svcca_basis(x, variance_kept=variance_kept), svcca_basis(y, variance_kept=variance_kept))


def gaussian(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def rotation(d: int) -> np.ndarray:
    return special_ortho_group.rvs(d, random_state=0)


def spread(n: int, d: int, seed: int) -> np.ndarray:
    """Columns whose variances fall off, so that 99 % of the variance is fewer than d dimensions."""
    return gaussian(n, d, seed) * np.linspace(1.0, 0.02, d) ** 2


def test_svcca_of_a_rotated_shifted_and_scaled_copy_is_one() -> None:
    x = spread(300, 40, 0)
    result = compare(x, 3.0 * x @ rotation(40) + 5.0)
    assert result.similarity == pytest.approx(1.0, abs=1e-10)
    assert result.mean_squared == pytest.approx(1.0, abs=1e-10)
    assert result.k_a == result.k_b < 40


def test_svcca_of_an_invertible_linear_copy_is_not_one_where_components_are_dropped() -> None:
    x = spread(300, 40, 0)
    stretched = x * np.linspace(0.02, 5.0, 40) ** 2
    assert compare(x, stretched).similarity < 0.9
    assert compare(x, stretched, variance_kept=1.0).similarity == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(("n", "expected"), [(1000, 0.775), (3000, 0.459)])
def test_svcca_of_independent_gaussians_has_the_tabled_mean(n: int, expected: float) -> None:
    # The table is that of all 512 and 768 dimensions: 0.99 keeps nearly as many.
    result = compare(gaussian(n, 512, 1), gaussian(n, 768, 2))
    assert result.similarity == pytest.approx(expected, abs=0.02)


def test_mean_squared_correlation_of_independent_rows_is_its_closed_form() -> None:
    basis_a, basis_b = (svcca_basis(gaussian(400, d, d), variance_kept=1.0) for d in (30, 50))
    rng = np.random.default_rng(3)
    draws = [svcca(basis_a, basis_b[rng.permutation(400)]) for _ in range(200)]
    assert (draws[0].k_a, draws[0].k_b) == (30, 50)
    assert draws[0].null_mean_squared == 50 / 399
    assert np.mean([draw.mean_squared for draw in draws]) == pytest.approx(50 / 399, rel=0.05)


def test_more_dimensions_than_rows_force_correlations_of_one_and_say_so() -> None:
    result = compare(gaussian(60, 40, 4), gaussian(60, 40, 5), variance_kept=1.0)
    assert result.n == 60 <= result.k_a + result.k_b
    assert not result.is_defined
    assert result.similarity > 0.6


@pytest.mark.parametrize(
    ("n", "k", "defined", "limited"), [(8, 4, False, True), (9, 4, True, True), (24, 4, True, False)]
)
def test_the_bounds_on_rank_are_those_of_the_definition(n: int, k: int, defined: bool, limited: bool) -> None:
    result = Svcca(0.5, 0.25, 0.1, n=n, k_a=k, k_b=k)
    assert (result.is_defined, result.is_rank_limited) == (defined, limited)


def test_svcca_is_symmetric_and_within_bounds() -> None:
    x, y = spread(100, 20, 6), spread(100, 30, 7)
    forward, backward = compare(x, y), compare(y, x)
    assert forward.similarity == pytest.approx(backward.similarity, abs=1e-12)
    assert (forward.k_a, forward.k_b) == (backward.k_b, backward.k_a)
    assert 0 <= forward.mean_squared <= forward.similarity <= 1


def test_canonical_correlations_are_the_cosines_of_scipys_angles() -> None:
    x, y = gaussian(80, 6, 8), gaussian(80, 9, 9)
    angles = subspace_angles(x - x.mean(axis=0), y - y.mean(axis=0))
    assert compare(x, y, variance_kept=1.0).similarity == pytest.approx(np.cos(angles).mean(), abs=1e-9)


def test_repairing_the_basis_is_repairing_the_rows() -> None:
    x, y = spread(120, 20, 10), spread(120, 30, 11)
    order = np.random.default_rng(12).permutation(120)
    bases = svcca_basis(x, variance_kept=0.99), svcca_basis(y, variance_kept=0.99)
    assert svcca(bases[0], bases[1][order]).similarity == pytest.approx(
        compare(x, y[order]).similarity, abs=1e-12
    )


@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
@pytest.mark.parametrize("variance_kept", [0.5, 0.9, 0.99, 1 - 1e-9, 1.0])
def test_the_basis_is_that_of_a_singular_value_decomposition(shape, variance_kept: float) -> None:
    # Turned, because a decomposition is accurate beyond its means where columns are sorted by size.
    x = gaussian(*shape, 13) * np.geomspace(1.0, 1e-6, shape[1]) @ rotation(shape[1])
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    share = np.cumsum(singular**2) / (singular**2).sum()
    k = next(i + 1 for i, kept in enumerate(share) if kept >= min(variance_kept, share[-1]))
    basis = svcca_basis(x, variance_kept=variance_kept)
    assert basis.shape == (shape[0], k)
    assert np.allclose(basis @ basis.T, left[:, :k] @ left[:, :k].T, atol=1e-8)
    assert np.allclose(basis.T @ basis, np.eye(k), atol=1e-8)


def test_k_does_not_depend_on_scale() -> None:
    # The failure of earlier code: a threshold on the sum of squares keeps one component of any large input.
    x = spread(300, 40, 14)
    sizes = {svcca_basis(scale * x, variance_kept=0.99).shape[1] for scale in (1e-6, 1.0, 1e6)}
    assert len(sizes) == 1
    assert sizes.pop() > 5


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_rows_that_do_not_differ_have_no_dimension(constant: float) -> None:
    flat = np.full((50, 8), constant)
    assert svcca_basis(flat, variance_kept=0.99).shape == (50, 0)
    result = compare(flat, gaussian(50, 8, 15))
    assert (result.similarity, result.k_a, result.is_defined) == (0.0, 0, False)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_have_no_dimension(n: int) -> None:
    assert svcca_basis(np.ones((n, 3)), variance_kept=0.99).shape == (n, 0)


def test_centring_keeps_small_variance_on_a_large_mean() -> None:
    x = np.array([[1e6 + 1e-6], [1e6 - 1e-6]])
    assert np.abs(centred(x)).max() == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("variance_kept", [0.0, 1.01, -1.0])
def test_a_fraction_outside_its_range_is_refused(variance_kept: float) -> None:
    with pytest.raises(ValueError, match=r"variance_kept=.*: expected a fraction in \(0, 1\]"):
        svcca_basis(np.eye(3), variance_kept=variance_kept)


@pytest.mark.parametrize("shape", [(90, 20, 30), (600, 170, 190), (500, 260, 120)])
def test_svcca_of_a_pairing_at_random_is_that_of_its_singular_values(shape) -> None:
    # The larger two are multiplied in single precision.
    n, d_a, d_b = shape
    assert (n * d_a * d_b >= subspace._SINGLE_FROM) == (n > 90)
    bases = [svcca_basis(spread(n, d, d) + 0.02, variance_kept=1.0) for d in (d_a, d_b)]
    repaired = repaired_svcca(*bases)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n)
        assert repaired(order) == pytest.approx(svcca(bases[0], bases[1][order]).similarity, abs=1e-7)
    same = repaired_svcca(bases[0], bases[0])(np.arange(n))
    assert same == pytest.approx(1.0, abs=1e-7)
    assert same <= 1


def test_svcca_of_a_side_without_variance_is_zero_however_paired() -> None:
    assert (
        repaired_svcca(np.zeros((9, 0)), svcca_basis(gaussian(9, 3, 0), variance_kept=1.0))(np.arange(9)) == 0
    )


def test_the_nuclear_norm_is_the_sum_of_singular_values() -> None:
    for shape in ((30, 50), (50, 30), (1, 4)):
        x = gaussian(*shape, 17)
        assert nuclear_norm(x) == pytest.approx(np.linalg.svd(x)[1].sum(), rel=1e-12)
    # Of rank 3: the other 97 add nothing, although each is a rounding error whose root is 1e-8.
    low = gaussian(100, 3, 18) @ gaussian(3, 100, 19)
    assert nuclear_norm(low) == pytest.approx(np.linalg.svd(low)[1].sum(), rel=1e-9)
    assert nuclear_norm(np.zeros((3, 2))) == 0


def test_the_nuclear_norm_of_more_columns_than_rows_is_that_of_their_principal_scores() -> None:
    x, y = gaussian(150, 400, 20), gaussian(150, 500, 21)
    order = np.random.default_rng(0).permutation(150)
    scores = [principal_scores(z) for z in (x, y)]
    assert [each.shape for each in scores] == [(150, 149), (150, 149)]
    expected = np.linalg.svd(centred(x).T @ centred(y)[order], compute_uv=False).sum()
    assert repaired_nuclear_norm(*scores)(order) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(60, 10), (10, 60)])
def test_principal_scores_are_a_rotation_of_the_centred_rows(shape) -> None:
    x = gaussian(*shape, 22)
    scores = principal_scores(x)
    np.testing.assert_allclose(scores @ scores.T, centred(x) @ centred(x).T, atol=1e-10)
    assert scores.shape[1] == 10 if shape[1] == 10 else 9
    assert principal_scores(np.ones(shape)).shape == (shape[0], 0)


def test_one_direction_with_a_fifth_of_the_variance_makes_the_first_components_alike() -> None:
    shared = gaussian(2000, 1, 23)
    sides = []
    for seed in (24, 25):
        x = gaussian(2000, 512, seed)
        x[:, :1] = shared * np.sqrt(0.2 / 0.8 * 511)
        sides.append(x @ rotation(512) if seed == 24 else x)
    assert np.var(sides[1][:, 0]) / np.var(sides[1], axis=0).sum() == pytest.approx(0.2, abs=0.02)
    assert pc1_abs_corr(*(first_component(x) for x in sides)) > 0.98
    # All components together hardly notice it.
    assert compare(sides[0], sides[1]).similarity < 0.75


@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
def test_the_first_component_is_the_first_left_singular_vector(shape) -> None:
    x, y = spread(*shape, 26), spread(*shape, 27)
    first = [np.linalg.svd(z - z.mean(axis=0))[0][:, 0] for z in (x, y)]
    found = pc1_abs_corr(first_component(x), first_component(y))
    assert found == pytest.approx(abs(np.corrcoef(*first)[0, 1]), abs=1e-9)
    singular = np.linalg.svd(x - x.mean(axis=0))[1]
    assert first_component(x).gap == pytest.approx(1 - (singular[1] / singular[0]) ** 2)


def test_the_first_component_ignores_rotation_scale_and_translation_but_not_a_stretched_axis() -> None:
    x, y = spread(300, 40, 28), spread(300, 40, 28) + 0.3 * gaussian(300, 40, 29)
    value = pc1_abs_corr(first_component(x), first_component(y))
    moved = -3.0 * y @ rotation(40) + 5.0
    assert pc1_abs_corr(first_component(x), first_component(moved)) == pytest.approx(value, abs=1e-9)
    assert pc1_abs_corr(first_component(x), first_component(x)) == pytest.approx(1.0, abs=1e-12)
    stretched = y * np.geomspace(1, 100, 40)
    assert pc1_abs_corr(first_component(x), first_component(stretched)) < value / 2


def test_no_component_is_the_first_where_two_have_the_same_variance() -> None:
    circle = np.stack([f(np.arange(12) * np.pi / 6) for f in (np.cos, np.sin)], axis=1)
    for degenerate in (circle, np.ones((5, 3)), np.zeros((0, 2))):
        assert not first_component(degenerate).is_defined
    assert first_component(circle * [1.0, 1.001]).is_defined
    assert first_component(gaussian(5, 1, 30)).gap == 1


def test_a_basis_of_matched_decoders_takes_little_more_than_its_decomposition() -> None:
    x = gaussian(170, 64, 16)

    def least(work: Callable[[], object]) -> float:
        seconds: list[float] = []
        for _ in range(20):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
        return min(seconds)

    # A ratio, which is the same on slow machines: 1.0 to 1.2 measured.
    bare = least(lambda: np.linalg.svd(x, full_matrices=False))
    assert least(lambda: svcca_basis(x, variance_kept=0.99)) < 2 * bare
