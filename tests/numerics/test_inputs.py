"""Dense arguments that are no numbers, or have no partner, are refused with their name and first position."""

import numpy as np
import pytest

from saeuniv.numerics import kernels, predictivity, procrustes, rank, rows, statistics, subspace

X = np.random.default_rng(0).standard_normal((40, 6))
BAD, SHORT = X.copy(), X[:-1]
BAD[7, 2] = np.nan
BAD[9, 0] = np.inf


def bases(x, y):
    return [subspace.svcca_basis(each, variance_kept=0.9) for each in (x, y)]


@pytest.mark.parametrize(
    "function",
    [
        kernels.debiased_cka,
        kernels.repaired_debiased_cka,
        kernels.permutation_moments,
        procrustes.procrustes_similarity,
        procrustes.repaired_procrustes,
    ],
)
def test_functions_of_pairs_name_the_side_and_the_position(function):
    message = r"expected finite numbers, got 2 of 240 that are not, the first nan at \[7, 2\]"
    with pytest.raises(ValueError, match=f"y: {message}"):
        function(X, BAD)
    with pytest.raises(ValueError, match=f"x: {message}"):
        function(BAD, X)
    with pytest.raises(ValueError, match=r"y: expected 40 rows, those of x, got 39; .* partner is row 39"):
        function(X, SHORT)


@pytest.mark.parametrize(
    "function",
    [
        kernels.gram,
        subspace.first_component,
        subspace.principal_scores,
        lambda x: subspace.svcca_basis(x, variance_kept=0.99),
        lambda x: rank.rsa_basis(x, inner="cosine"),
        lambda x: predictivity.ridge_folds(x, folds=5, relative_penalty=1.0),
    ],
)
def test_functions_of_one_space_name_the_position(function):
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got 2 .*the first nan at \[7, 2\]"):
        function(BAD)


def test_bases_of_other_rows_are_no_pairs():
    with pytest.raises(ValueError, match="y: expected 40 rows, those of x, got 39"):
        subspace.svcca(*bases(X, SHORT))


def test_a_value_that_is_not_a_number_has_no_p():
    with pytest.raises(ValueError, match="value: expected a finite number, got nan"):
        statistics.p_value(float("nan"), np.ones(3))


@pytest.mark.parametrize(
    ("documents", "place"),
    [([0, 0, 1, 1, 0, 0], "0 after 1 at row 4"), ([0, 0, 1, 2, 2, 2], "2 after 1 at row 3")],
)
def test_the_first_row_out_of_order_is_named(documents, place):
    with pytest.raises(ValueError, match=f"documents: .* the first {place}"):
        rows.make_halves(np.array(documents), {}, positions=2)
