"""RSA: known answers, what it ignores and what not, and scipy's rank correlation as the oracle."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import ortho_group, spearmanr

from saeuniv.numerics.rank import rsa, rsa_basis
from saeuniv.numerics.row_similarity import similarity_blocks

INNERS = ("cosine", "pearson")


def gaussian(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


def related(n, d_a, d_b, seed, *, noise=3.0):
    x = gaussian(n, d_a, seed)
    return x, x @ gaussian(d_a, d_b, seed + 1) / np.sqrt(d_a) + noise * gaussian(n, d_b, seed + 2)


def similarities(x, inner):
    """Those above the diagonal, in double precision."""
    x = x - x.mean(axis=1, keepdims=True) if inner == "pearson" else x
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(x), 1)]


def oracle(x, y, inner):
    return float(spearmanr(similarities(x, inner), similarities(y, inner)).statistic)


def score(x, y, inner="cosine", **how):
    return rsa(rsa_basis(x, inner=inner), rsa_basis(y, inner=inner), **how)


@pytest.mark.parametrize("inner", INNERS)
def test_a_copy_scores_one(inner):
    x = gaussian(40, 7, 0)
    assert score(x, x, inner) == pytest.approx(1.0, abs=1e-12)


def test_a_rotated_copy_whose_rows_are_scaled_scores_one_by_cosine():
    x = gaussian(60, 8, 1)
    lengths = np.random.default_rng(2).lognormal(sigma=2, size=(60, 1))
    turned = x @ ortho_group.rvs(8, random_state=0)
    assert score(x, turned * lengths) == pytest.approx(1.0, abs=1e-6)


def test_a_rotated_copy_does_not_score_one_by_pearson_over_dimensions():
    """The negative control: the published similarity depends on the basis."""
    x = gaussian(60, 8, 1)
    assert score(x, x @ ortho_group.rvs(8, random_state=0), "pearson") < 0.97
    shifted_and_scaled = 3.0 * x + gaussian(60, 1, 3)
    assert score(x, shifted_and_scaled, "pearson") == pytest.approx(1.0, abs=1e-6)


def test_a_map_that_is_no_rotation_changes_the_score():
    x = gaussian(60, 8, 1)
    assert score(x, x * np.geomspace(1, 30, 8)) < 0.8


def test_opposite_orders_score_minus_one():
    angles = np.array([0.0, 0.1, 0.3, 0.7])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    gram = x @ x.T
    y = np.linalg.cholesky(2.0 * np.eye(4) - gram + 0.5)
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    expected = oracle(x, y, "cosine")
    assert expected == pytest.approx(-1.0) and score(x, y) == pytest.approx(-1.0)


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("n", [4, 7, 300])
def test_it_is_spearmans_correlation_of_the_similarities_above_the_diagonal(inner, n):
    x, y = related(n, 20, 30, 4)
    assert score(x, y, inner) == pytest.approx(oracle(x, y, inner), abs=2e-5 if n < 10 else 1e-6)


def test_similarities_crowded_near_zero_and_a_duplicate_far_off_are_still_told_apart():
    x, y = related(1000, 512, 768, 5, noise=0.3)
    x[1], y[1] = x[0], y[0]
    assert score(x, y) == pytest.approx(oracle(x, y, "cosine"), abs=1e-7)


def test_ties_have_their_mean_rank():
    rng = np.random.default_rng(6)
    x, y = (np.hstack([rng.integers(0, 2, size=(50, 6)), np.ones((50, 1))]).astype(float) for _ in range(2))
    y[:, :3] = x[:, :3]
    # Rounding must not break the ties of the oracle either.
    exact = [np.round(similarities(z, "cosine"), 12) for z in (x, y)]
    assert len(np.unique(exact[0])) < len(exact[0]) / 4
    assert score(x, y) == pytest.approx(spearmanr(*exact).statistic, abs=1e-4)


def test_a_permutation_pairs_row_i_of_a_with_that_row_of_b():
    x, y = related(80, 10, 12, 7)
    order = np.random.default_rng(8).permutation(80)
    a, b = rsa_basis(x, inner="cosine"), rsa_basis(y, inner="cosine")
    assert rsa(a, b, permutation=order) == rsa(a, rsa_basis(y[order], inner="cosine"))
    assert rsa(a, b, permutation=order) == pytest.approx(oracle(x, y[order], "cosine"), abs=1e-6)
    assert rsa(a, b) == rsa(b, a) == rsa(a, b, permutation=np.arange(80))


def test_rows_paired_at_random_score_zero_on_average():
    x, y = related(50, 10, 10, 9, noise=0.1)
    a, b = rsa_basis(x, inner="cosine"), rsa_basis(y, inner="cosine")
    rng = np.random.default_rng(10)
    drawn = [rsa(a, b, permutation=rng.permutation(50)) for _ in range(400)]
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / np.sqrt(400) and rsa(a, b) > 0.3


def test_sparse_rows_score_as_the_same_rows_written_out():
    rng = np.random.default_rng(11)
    x, y = (z * (rng.random(z.shape) < 0.2) for z in related(90, 30, 30, 12))
    x[3] = 0.0
    sparse = [rsa_basis(sp.csr_array(z), inner="cosine") for z in (x, y)]
    assert rsa(*sparse) == pytest.approx(score(x, y), abs=1e-6)


def test_blocks_are_the_similarities_whatever_their_height(monkeypatch):
    x = gaussian(37, 5, 13)
    whole = rsa_basis(x, inner="cosine")
    monkeypatch.setattr("saeuniv.numerics.row_similarity._BLOCK_BYTES", 4 * 37 * 5)
    blocks = list(similarity_blocks(x, inner="cosine", upper=True))
    assert [block.entries.shape for block in blocks[:2]] == [(5, 37), (5, 32)]
    assert np.abs(rsa_basis(x, inner="cosine").ranks.astype(int) - whole.ranks).max() <= 1


@pytest.mark.parametrize("inner", INNERS)
def test_the_ranks_of_few_rows_are_those_of_many(inner, monkeypatch):
    x = np.random.default_rng(4).integers(3, size=(30, 4)) + np.eye(30, 4)
    few = rsa_basis(x, inner=inner)
    monkeypatch.setattr("saeuniv.numerics.rank._FEW", 0)
    many = rsa_basis(x, inner=inner)
    assert np.array_equal(few.ranks, many.ranks) and few[1:] == many[1:] and few.variation > 0


@pytest.mark.parametrize(
    "x", [gaussian(3, 5, 0), np.eye(6), np.zeros((6, 4)), np.ones((5, 3)), np.zeros((0, 3))]
)
def test_fewer_than_four_rows_or_similarities_all_alike_are_undefined(x):
    y = gaussian(len(x), 5, 1)
    assert score(x, y) is None and score(y, x) is None


def test_constant_rows_have_no_similarity_over_dimensions():
    constant = np.repeat(gaussian(30, 1, 2), 13, axis=1)
    assert (constant - constant.mean(axis=1, keepdims=True)).any()
    assert score(constant, gaussian(30, 5, 1), "pearson") is None


def test_orthonormal_rows_in_another_basis_are_undefined_in_spite_of_rounding():
    assert score(ortho_group.rvs(30, random_state=1), gaussian(30, 5, 1)) is None


def test_bad_input_is_named_with_its_position():
    x = gaussian(6, 4, 14)
    basis = rsa_basis(x, inner="cosine")
    broken = x.copy()
    broken[2, 1] = np.nan
    for given in (broken, sp.csr_array(broken)):
        with pytest.raises(ValueError, match=r"x: expected finite numbers, got 1 .* first nan at \[2, 1\]"):
            rsa_basis(given, inner="cosine")
    with pytest.raises(ValueError, match="inner=pearson: expected cosine for sparse rows"):
        rsa_basis(sp.csr_array(x), inner="pearson")
    with pytest.raises(ValueError, match="b: expected 6 rows as in a, got 5"):
        rsa(basis, rsa_basis(x[:5], inner="cosine"))
    for order, message in (
        ([0, 1, 2, 3, 4, 6], r"rows 0..5, got 6 at \[5\]"),
        ([0, 0, 1, 2, 3, 4], "without row 5"),
    ):
        with pytest.raises(ValueError, match=message):
            rsa(basis, basis, permutation=np.array(order))
    with pytest.raises(ValueError, match="each of the 6 rows once, got 7 entries"):
        rsa(basis, basis, permutation=np.array([0, 1, 2, 3, 4, 5, 5]))
