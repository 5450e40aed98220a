import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.group_sums import GroupSums, group_sums


def sparse(rng, rows, latents, density=0.3, dtype=np.float64):
    dense = rng.lognormal(size=(rows, latents)) * (rng.random((rows, latents)) < density)
    return sp.csc_array(dense.astype(dtype))


def counted(ids, n_groups):
    return np.bincount(ids, minlength=n_groups).astype(np.float64)


def dense_sums(found: GroupSums, n_groups: int) -> np.ndarray:
    sums = np.zeros((n_groups, found.n_latents))
    sums[found.groups, np.repeat(np.arange(found.n_latents), np.diff(found.indptr))] = found.sums
    return sums


def within(matrix, ids):
    residual = matrix.toarray().astype(np.float64)
    for group in np.unique(ids):
        residual[ids == group] -= residual[ids == group].mean(axis=0)
    return np.sqrt((residual**2).sum(axis=0))


def test_a_known_example():
    matrix = sp.csc_array(np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 5.0], [0.0, 0.0]]))
    found = group_sums(matrix, np.array([0, 1, 0, 1]), np.array([2.0, 2.0]))
    assert found.indptr.tolist() == [0, 2, 3]
    assert found.groups.tolist() == [0, 1, 0]
    assert found.sums.tolist() == [5.0, 2.0, 5.0]
    assert found.squares.tolist() == [21.0, 25.0]
    np.testing.assert_allclose(found.norms**2, [21 - 25 / 2 - 4 / 2, 25 - 25 / 2], rtol=1e-14)
    assert (found.indptr.dtype, found.groups.dtype, found.sums.dtype) == (np.int64, np.int32, np.float64)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_groups=st.integers(1, 400), single=st.booleans())
def test_they_are_the_dense_sums_and_norms(seed, n_groups, single):
    rng = np.random.default_rng(seed)
    matrix = sparse(rng, 60, 5, density=rng.random(), dtype=np.float32 if single else np.float64)
    ids = rng.integers(n_groups, size=60)
    found = group_sums(matrix, ids, counted(ids, n_groups))
    dense = np.zeros((n_groups, 5))
    np.add.at(dense, ids, matrix.toarray().astype(np.float64))
    np.testing.assert_allclose(dense_sums(found, n_groups), dense, rtol=1e-13)
    np.testing.assert_allclose(found.norms, within(matrix, ids), atol=1e-6)
    assert (found.sums > 0).all()
    for first, last in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        assert (np.diff(found.groups[first:last]) > 0).all()


def test_a_group_of_one_row_adds_exactly_nothing_to_the_norms():
    rng = np.random.default_rng(0)
    matrix, ids = sparse(rng, 50, 6), rng.integers(5, size=50)
    alone = sp.csc_array(np.array([[1e3, 0.1, 7.0, 0.0, 1e-3, 3.3]]))
    more = group_sums(
        sp.csc_array(sp.vstack([matrix, alone])), np.append(ids, 5), counted(np.append(ids, 5), 6)
    )
    assert np.array_equal(more.norms, group_sums(matrix, ids, counted(ids, 5)).norms)


def test_a_latent_that_its_group_determines_has_norm_exactly_zero():
    rng = np.random.default_rng(1)
    ids = rng.integers(7, size=3000)
    level = rng.lognormal(size=7)
    found = group_sums(sp.csc_array(level[ids][:, None]), ids, counted(ids, 7))
    assert found.norms.tolist() == [0.0]
    shaken = level[ids][:, None] * (1 + 1e-5 * rng.standard_normal((3000, 1)))
    assert group_sums(sp.csc_array(shaken), ids, counted(ids, 7)).norms[0] > 0


def test_stored_zeros_do_not_fire():
    matrix = sp.csc_array(np.array([[1.0], [2.0], [3.0]]))
    matrix.data[1] = 0.0
    found = group_sums(matrix, np.array([0, 1, 0]), np.array([2.0, 1.0]))
    assert found.groups.tolist() == [0]


def test_no_rows_and_no_latents_are_no_error():
    found = group_sums(sp.csc_array((0, 3)), np.zeros(0, np.int64), np.zeros(0))
    assert found.norms.tolist() == [0.0, 0.0, 0.0]
    assert group_sums(sp.csc_array((4, 0)), np.zeros(4, np.int64), np.array([4.0])).n_latents == 0


def broken(value=None, *, index=None):
    matrix = sp.csc_array(np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 4.0]]))
    if value is not None:
        matrix.data[2] = value
    if index is not None:
        matrix.indices[3] = index
    return matrix


@pytest.mark.parametrize(
    ("matrix", "ids", "counts", "message"),
    [
        (broken(), [0, 1], [1, 1], "ids: expected 3 groups, one a row, got 2"),
        (broken(), [0, 2, 1], [1, 1], r"ids: .* 0..1.* first 2 at row 1"),
        (broken(), [0, 0, -1], [1, 1], r"ids: .* first -1 at row 2"),
        (broken(), [0, 0, 1], [2, 2], "counts: .* 1 in group 1, got 2"),
        (broken(np.nan), [0, 0, 1], [2, 1], "matrix: .* non-negative latents, got nan at row 1, latent 1"),
        (broken(np.inf), [0, 0, 1], [2, 1], "matrix: .* got inf at row 1, latent 1"),
        (broken(-1.0), [0, 0, 1], [2, 1], "matrix: .* got -1.0 at row 1, latent 1"),
        (broken(index=1), [0, 0, 1], [2, 1], r"matrix: expected ascending .* row 1, latent 1 .*entry 3"),
        (broken(index=0), [0, 0, 1], [2, 1], r"matrix: expected ascending .* row 0, latent 1"),
        (broken(index=7), [0, 0, 1], [2, 1], r"matrix: expected indices within \(3, 2\), got row 7"),
    ],
)
def test_bad_input_is_named_with_its_first_place(matrix, ids, counts, message):
    with pytest.raises(ValueError, match=message):
        group_sums(matrix, np.array(ids), np.array(counts, np.float64))
