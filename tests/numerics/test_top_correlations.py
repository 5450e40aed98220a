from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.group_sums import group_sums
from saeuniv.numerics.top_correlations import (
    binarised,
    top_correlations,
    top_jaccard,
    top_partial_correlations,
)
from saeuniv.numerics.top_kernels import fill_row
from tests.synthetic import dense_partial


class Case(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    ids: np.ndarray


def case(seed, *, rows=None, latents=None, density=None, types=None, levels=None) -> Case:
    """Random latents; `levels` draws values from so few numbers that ties are many."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 50) if rows is None else rows
    n_a, n_b = rng.integers(1, 40, 2) if latents is None else (latents, latents + 3)
    density = rng.random() * 0.6 if density is None else density

    def side(n):
        values = (
            rng.lognormal(size=(rows, n)) if levels is None else 2.0 ** rng.integers(levels, size=(rows, n))
        )
        return values * (rng.random((rows, n)) < density)

    return Case(side(n_a), side(n_b), rng.integers(types or rng.integers(1, 12), size=rows))


def pearson(a, b):
    """The definition by dense float64 columns; -inf where a latent has no variance."""
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((x**2).sum(0))[:, None] * np.sqrt((y**2).sum(0))
    live = (np.ptp(a, axis=0) > 0)[:, None] & (np.ptp(b, axis=0) > 0)
    return np.where(live, x.T @ y / np.where(live, scale, 1.0), -np.inf)


def jaccard(a, b):
    both = (a > 0).T.astype(float) @ (b > 0)
    either = (a > 0).sum(0)[:, None] + (b > 0).sum(0) - both
    return np.where(both > 0, both / np.maximum(either, 1), -np.inf)


def partial(data, matrix_b=None):
    b = data.b if matrix_b is None else matrix_b
    r = dense_partial(data.a, b, data.ids)
    live = [norms_of(side, data.ids) > 0 for side in (data.a, b)]
    return np.where((r > 1e-12) & live[0][:, None] & live[1], r, -np.inf)


def counts_of(ids):
    return np.bincount(ids).astype(np.float64)


def norms_of(side, ids):
    return group_sums(sp.csc_array(side), ids, counts_of(ids)).norms


def found_partial(data, *, top_m, shift=0, threads=1) -> Candidates:
    counts = counts_of(data.ids)
    return top_partial_correlations(
        sp.csc_array(data.a),
        sp.csr_array(data.b),
        ids=data.ids,
        counts=counts,
        sums_a=group_sums(sp.csc_array(data.a), data.ids, counts),
        sums_b=group_sums(sp.csc_array(data.b), np.roll(data.ids, shift), counts),
        top_m=top_m,
        shift=shift,
        threads=threads,
    )


def found(data, **options) -> Candidates:
    return top_correlations(sp.csc_array(data.a), sp.csr_array(data.b), **options)


def assert_candidates(got: Candidates, expected: np.ndarray, *, top_m: int, atol: float) -> None:
    """`got` lists the largest of `expected` (-inf: nobody's partner), each partner once."""
    for index, similarity, matrix in (
        (got.index_a, got.similarity_a, expected),
        (got.index_b, got.similarity_b, expected.T),
    ):
        assert index.dtype == np.int32
        assert index.shape == similarity.shape == (len(matrix), top_m)
        best = -np.sort(-matrix, axis=1)[:, :top_m]
        best = np.pad(best, ((0, 0), (0, top_m - best.shape[1])), constant_values=-np.inf)
        # What rounding makes positive of an exact zero is not looked at.
        similarity = np.where(np.abs(similarity) < 1e-12, np.where(np.isfinite(best), 0, -np.inf), similarity)
        listed = np.isfinite(similarity)
        assert np.array_equal(listed, np.isfinite(best))
        np.testing.assert_allclose(similarity[listed], best[listed], atol=atol)
        partners = np.take_along_axis(matrix, np.maximum(index, 0), axis=1)
        np.testing.assert_allclose(partners[listed], best[listed], atol=atol)
        assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in index)


def assert_order(got: Candidates) -> None:
    """Larger first; equal ones by index."""
    for index, similarity in ((got.index_a, got.similarity_a), (got.index_b, got.similarity_b)):
        later, earlier = similarity[:, 1:], similarity[:, :-1]
        equal = (later == earlier) & (index[:, 1:] >= 0)
        assert (later <= earlier).all()
        assert (index[:, 1:] > index[:, :-1])[equal].all()


def assert_beginning(short: Candidates, long: Candidates) -> None:
    """The shorter lists are the beginning of the longer ones, bit by bit, however ties fall at their end."""
    for one, other in zip(short, long, strict=True):
        assert np.array_equal(one, other[:, : one.shape[1]])


def assert_identical(first: Candidates, second: Candidates) -> None:
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)


# Pearson's r


def test_known_correlations():
    a = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    b = np.array([[2.0, 0.0, 7.0], [0.0, 0.0, 7.0], [2.0, 1.0, 7.0], [0.0, 0.0, 7.0]])
    got = found(Case(a, b, np.zeros(4)), top_m=3)
    # Latent 2 of B is constant: nobody's partner.
    assert got.index_a.tolist() == [[0, 1, -1], [1, 0, -1]]
    np.testing.assert_allclose(got.similarity_a[:, :2], [[1, 3**-0.5], [-(3**-0.5), -1]], atol=1e-15)
    assert got.index_b.tolist() == [[0, 1, -1], [0, 1, -1], [-1, -1, -1]]
    assert (got.similarity_b[2] == -np.inf).all()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), top_m=st.integers(1, 9), turn=st.integers(-3, 60), tied=st.booleans())
def test_they_are_the_largest_of_the_dense_correlations(seed, top_m, turn, tied):
    data = case(seed, levels=2 if tied else None)
    got = found(data, top_m=top_m, shift=turn)
    assert_candidates(got, pearson(data.a, np.roll(data.b, -turn, axis=0)), top_m=top_m, atol=1e-12)
    assert_order(got)
    assert_beginning(got, found(data, top_m=45, shift=turn))


def test_they_are_numpys_correlations():
    data = case(3, rows=80, latents=7, density=0.4)
    got = found(data, top_m=1)
    r = np.corrcoef(data.a.T, data.b.T)[:7, 7:]
    assert np.array_equal(got.index_a[:, 0], r.argmax(axis=1))
    np.testing.assert_allclose(got.similarity_a[:, 0], r.max(axis=1), atol=1e-13)
    np.testing.assert_allclose(got.similarity_b[:, 0], r.max(axis=0), atol=1e-13)


def test_a_partner_that_never_fires_in_the_same_row_is_found_where_it_is_the_best():
    # Latent 0 of A fires in 8 rows of 20. Latent 0 of B fires in all rows but these and 4 more; latent 1
    # in a ninth row only. Both correlate negatively; the one that shares a row correlates more negatively.
    a, b = np.zeros((20, 1)), np.zeros((20, 40))
    a[:8] = 1.0
    b[7:, 0] = 1.0
    b[12, 33] = 1.0
    r = pearson(a, b)
    assert (a[:, 0] * b[:, 33]).sum() == 0 and (a[:, 0] * b[:, 0]).sum() > 0
    assert r[0, 0] < r[0, 33] < 0
    got = found(Case(a, b, np.zeros(20)), top_m=1)
    assert got.index_a.tolist() == [[33]]
    np.testing.assert_allclose(got.similarity_a, r[0, 33], atol=1e-15)
    # The same with A and B exchanged, where columns are filled instead of rows.
    exchanged = found(Case(b, a, np.zeros(20)), top_m=1)
    assert exchanged.index_b.tolist() == [[33]]
    np.testing.assert_allclose(exchanged.similarity_b, r[0, 33], atol=1e-15)


@pytest.mark.parametrize("threads", [2, 3, 50])
def test_threads_change_no_bit(threads):
    data = case(5, rows=200, latents=30, density=0.1, levels=2, types=9)
    for double in (True, False):
        assert_identical(
            found(data, top_m=4, double=double), found(data, top_m=4, double=double, threads=threads)
        )
    assert_identical(found_partial(data, top_m=4), found_partial(data, top_m=4, threads=threads))
    a, b = sp.csc_array(data.a), sp.csr_array(data.b)
    assert_identical(top_jaccard(a, b, top_m=4), top_jaccard(a, b, top_m=4, threads=threads))


def test_copies_of_a_latent_are_listed_by_index():
    data = case(6, rows=100, latents=20, density=0.2, types=5)
    copied = data._replace(b=np.tile(data.b[:, :1], (1, 40)), a=np.tile(data.b[:, :1], (1, 37)))
    for got in (found(copied, top_m=3), found(copied, top_m=3, double=False), found_partial(copied, top_m=3)):
        assert (got.index_a == [0, 1, 2]).all()
        assert (got.index_b == [0, 1, 2]).all()


def test_equal_negative_correlations_are_listed_by_index_whatever_was_computed():
    # Latents that fire once, in rows of their own: every pair has the same r. Those that lie beside a pair
    # that fires together are computed, the others are filled in.
    once = np.eye(90)
    a, b = once[:, :50], once[:, 40:]
    got = found(Case(a, b, np.zeros(90)), top_m=4)
    assert got.index_a[0].tolist() == [0, 1, 2, 3]
    assert got.index_a[45].tolist() == [5, 0, 1, 2]
    assert got.index_b[5].tolist() == [45, 0, 1, 2]
    assert got.index_b[49].tolist() == [0, 1, 2, 3]


def test_levels_whose_products_round_to_the_same_number_are_tied():
    low = 0.75
    high = np.nextafter(low, 1)
    level_a = next(float(x) for x in 0.7 + np.arange(100) * 2.0**-53 if x * low == x * high)
    level_b = np.array([low, low, high])
    values, indices = np.full(1, -np.inf), np.full(1, -1, np.int32)
    fill_row(
        level_a, -np.inf, np.zeros(1, np.uint8), level_b, np.arange(3), np.array([2, 2, 3]),
        np.array([7, 8, 4]), values, indices,
    )  # fmt: skip
    assert (values.tolist(), indices.tolist()) == ([-level_a * low], [4])


def test_scale_changes_nothing_and_a_shift_of_values_does_not_enter():
    data = case(7, rows=60, latents=9, density=0.5)
    scaled = data._replace(a=data.a * 2.0 ** np.arange(9), b=data.b * 0.25)
    assert_identical(found(data, top_m=3), found(scaled, top_m=3))
    # Negative control: a square is no change of scale.
    assert not np.array_equal(
        found(data, top_m=3).similarity_a, found(data._replace(a=data.a**2), top_m=3).similarity_a
    )


def test_sides_exchanged_give_the_exchanged_candidates():
    data = case(8, rows=150, latents=25, density=0.1, types=6)
    for search in (found, found_partial):
        one, other = search(data, top_m=3), search(data._replace(a=data.b, b=data.a), top_m=3).exchanged()
        for first, second in zip(one, other, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-14)


def test_float32_sums_are_off_by_less_than_five_millionths():
    data = case(9, rows=3000, latents=40, density=0.3)
    exact, single = found(data, top_m=2), found(data, top_m=2, double=False)
    np.testing.assert_allclose(single.similarity_a, exact.similarity_a, atol=5e-6)
    a, b = sp.csc_array(data.a.astype(np.float32)), sp.csr_array(data.b.astype(np.float32))
    np.testing.assert_allclose(
        top_correlations(a, b, top_m=2, double=False).similarity_b, exact.similarity_b, atol=5e-6
    )
    np.testing.assert_allclose(top_correlations(a, b, top_m=2).similarity_b, exact.similarity_b, atol=1e-6)


def test_a_nearly_constant_latent_keeps_its_digits():
    rng = np.random.default_rng(0)
    a = 1000.0 + rng.random((500, 3))
    b = 1000.0 + rng.random((500, 4))
    assert_candidates(found(Case(a, b, np.zeros(500)), top_m=4), pearson(a, b), top_m=4, atol=1e-7)


def test_it_agrees_with_scipy_at_a_size_where_threads_and_blocks_matter():
    rng = np.random.default_rng(1)
    a, b = (sp.csr_array(sp.random(4000, 600, 0.02, random_state=rng)) for _ in range(2))
    b = sp.csr_array(b + sp.csr_array(a[:, rng.permutation(600)]).multiply(0.3))
    b.sort_indices()
    cross = (a.T @ b).toarray() / 4000
    mean_a, mean_b = (np.asarray(side.mean(axis=0)).ravel() for side in (a, b))
    sd_a, sd_b = (np.sqrt(side.multiply(side).mean(axis=0) - side.mean(axis=0) ** 2) for side in (a, b))
    expected = (cross - np.outer(mean_a, mean_b)) / np.outer(sd_a, sd_b)
    got = top_correlations(a.tocsc(), b, top_m=20, threads=2)
    assert_candidates(got, expected, top_m=20, atol=1e-12)


# phi and Jaccard


def test_phi_is_pearsons_r_of_binarised_latents():
    data = case(10, rows=70, latents=8, density=0.4)
    fires = [side > 0 for side in (data.a, data.b)]
    got = top_correlations(binarised(sp.csc_array(data.a)), binarised(sp.csr_array(data.b)), top_m=1)
    for i, j in enumerate(got.index_a[:, 0]):
        x, y = fires[0][:, i], fires[1][:, j]
        n11, n10, n01, n00 = (x & y).sum(), (x & ~y).sum(), (~x & y).sum(), (~x & ~y).sum()
        phi = (n11 * n00 - n10 * n01) / np.sqrt(float(x.sum() * (~x).sum()) * float(y.sum() * (~y).sum()))
        assert got.similarity_a[i, 0] == pytest.approx(phi, abs=1e-14)


def test_stored_zeros_are_not_active_when_binarised():
    matrix = sp.csr_array(np.array([[1.0, 2.0]]))
    matrix.data[0] = 0.0
    assert binarised(matrix).toarray().tolist() == [[0.0, 1.0]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), top_m=st.integers(1, 9), turn=st.integers(0, 60))
def test_jaccard_is_the_share_of_rows_where_both_fire(seed, top_m, turn):
    data = case(seed)
    got = top_jaccard(sp.csc_array(data.a), sp.csr_array(data.b), top_m=top_m, shift=turn)
    assert_candidates(got, jaccard(data.a, np.roll(data.b, -turn, axis=0)), top_m=top_m, atol=0)
    assert_order(got)


# token-partialled


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), top_m=st.integers(1, 9), turn=st.integers(0, 60), tied=st.booleans())
def test_partial_candidates_are_the_largest_positive_ones_of_the_definition(seed, top_m, turn, tied):
    data = case(seed, levels=2 if tied else None)
    shift = turn % len(data.a)
    got = found_partial(data, top_m=top_m, shift=shift)
    expected = partial(data, np.roll(data.b, -shift, axis=0))
    assert_candidates(got, expected, top_m=top_m, atol=1e-9)
    assert_order(got)
    assert_beginning(got, found_partial(data, top_m=45, shift=shift))
    assert got.similarity_a.max(initial=0) <= 1


def test_pruning_loses_nothing_where_latents_depend_on_the_token():
    rng = np.random.default_rng(2)
    ids = np.searchsorted(np.cumsum(1 / np.arange(1, 301)), rng.random(3000) * np.sum(1 / np.arange(1, 301)))
    ids = np.unique(ids, return_inverse=True)[1]
    likes = rng.random((ids.max() + 1, 60)) ** 8
    context = rng.random((3000, 60)) < 0.03
    a, b = (((rng.random((3000, 60)) < likes[ids]) | context) * rng.lognormal(size=(3000, 60)) for _ in "ab")
    data = Case(a, b, ids)
    for top_m in (1, 5):
        assert_candidates(found_partial(data, top_m=top_m), partial(data), top_m=top_m, atol=1e-9)


def test_one_group_gives_pearsons_r_where_it_is_positive():
    data = case(11, rows=90, latents=12, density=0.3)._replace(ids=np.zeros(90, np.int64))
    expected = pearson(data.a, data.b)
    expected[expected < 1e-12] = -np.inf
    assert_candidates(found_partial(data, top_m=3), expected, top_m=3, atol=1e-12)


def test_a_token_seen_once_changes_nothing():
    data = case(12, rows=90, latents=12, density=0.3, types=7)
    more = Case(
        np.vstack([data.a, np.full(12, 50.0)]), np.vstack([data.b, np.full(15, 9.0)]), np.append(data.ids, 7)
    )
    one, other = found_partial(data, top_m=3), found_partial(more, top_m=3)
    assert np.array_equal(one.index_a, other.index_a)
    np.testing.assert_allclose(one.similarity_a, other.similarity_a, atol=1e-12)
    # Negative control: it changes r without a condition.
    assert abs(found(data, top_m=3).similarity_a - found(more, top_m=3).similarity_a).max() > 0.1


def test_a_latent_that_its_token_determines_has_no_partners_given_the_token():
    data = case(13, rows=90, latents=12, density=0.3, types=7)
    data.a[:, 4] = 1.0 + data.ids
    got = found_partial(data, top_m=3)
    assert (got.index_a[4] == -1).all()
    assert not (got.index_b == 4).any()


# edges


@pytest.mark.parametrize(("rows", "n_a", "n_b"), [(0, 2, 3), (1, 2, 3), (5, 0, 3), (5, 3, 0), (5, 0, 0)])
def test_nothing_to_find_is_no_error(rows, n_a, n_b):
    data = Case(np.ones((rows, n_a)), np.ones((rows, n_b)), np.zeros(rows, np.int64))
    a, b = sp.csc_array(data.a), sp.csr_array(data.b)
    searches = [found(data, top_m=2), found(data, top_m=2, threads=2), found_partial(data, top_m=2)]
    for got in searches:
        assert got.index_a.shape == (n_a, 2) and got.index_b.shape == (n_b, 2)
        assert (got.index_a == -1).all() and (got.similarity_b == -np.inf).all()
    assert top_jaccard(a, b, top_m=2).index_a.shape == (n_a, 2)


def test_empty_rows_and_never_active_latents_are_no_partners():
    data = case(14, rows=40, latents=10, density=0.3)
    data.a[5:20] = 0
    data.b[:, 3] = 0
    got = found(data, top_m=13)
    assert_candidates(got, pearson(data.a, data.b), top_m=13, atol=1e-12)
    assert (got.index_b[3] == -1).all()


def test_stored_zeros_change_nothing():
    data = case(15, rows=60, latents=10, density=0.3, types=5)
    a, b = sp.csc_array(data.a), sp.csr_array(data.b)
    full = (
        sp.csc_array(np.where(data.a == 0, -1.0, data.a)),
        sp.csr_array(np.where(data.b == 0, -1.0, data.b)),
    )
    for matrix in full:
        matrix.data[matrix.data == -1.0] = 0.0
    one, other = top_correlations(a, b, top_m=4), top_correlations(*full, top_m=4)
    assert np.array_equal(one.index_a, other.index_a)
    np.testing.assert_allclose(one.similarity_b, other.similarity_b, atol=1e-14)
    assert_identical(top_jaccard(a, b, top_m=4), top_jaccard(*full, top_m=4))


def with_entry(matrix, entry, *, value=None, index=None):
    if value is not None:
        matrix.data[entry] = value
    if index is not None:
        matrix.indices[entry] = index
    return matrix


def small_a():
    return sp.csc_array(np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 4.0]]))


def small_b():
    return sp.csr_array(np.array([[1.0, 2.0], [0.0, 3.0], [4.0, 0.0]]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (with_entry(small_a(), 2, value=np.nan), small_b(), "^a: .* got nan at row 1, latent 1"),
        (
            with_entry(small_a(), 3, value=-2.0),
            small_b(),
            "^a: .* non-negative .* got -2.0 at row 2, latent 1",
        ),
        (small_a(), with_entry(small_b(), 2, value=np.inf), "^b: .* got inf at row 1, latent 1"),
        (small_a(), with_entry(small_b(), 1, index=0), "^b: expected ascending .* row 0, latent 0"),
        (
            small_a(),
            with_entry(small_b(), 1, index=5),
            r"^b: expected indices within \(3, 2\), got row 0, latent 5",
        ),
        (small_a(), with_entry(small_b(), 1, index=-1), "^b: expected indices within .* latent -1"),
        (small_a(), sp.csr_array((4, 2)), "^b: expected 3 rows, those of a, got 4"),
        (small_a().astype(np.int32), small_b(), "^a: expected float32 or float64, got int32"),
    ],
)
def test_bad_input_is_named_with_its_first_place(a, b, message):
    with pytest.raises(ValueError, match=message):
        top_correlations(a, b, top_m=1)
    with pytest.raises(ValueError, match=message):
        top_jaccard(a, b, top_m=1)


def test_sums_of_other_latents_or_groups_are_refused():
    a, b, ids, counts = small_a(), small_b(), np.array([0, 1, 0]), np.array([2.0, 1.0])
    right = {"sums_a": group_sums(a, ids, counts), "sums_b": group_sums(sp.csc_array(b), ids, counts)}
    other = group_sums(sp.csc_array((3, 5)), ids, counts)
    finer = group_sums(sp.csc_array(b), np.arange(3), np.ones(3))
    options = {"ids": ids, "counts": counts, "top_m": 1}
    with pytest.raises(ValueError, match="sums_a: expected sums of 2 latents, got 5"):
        top_partial_correlations(a, b, **{**right, "sums_a": other}, **options)
    with pytest.raises(ValueError, match="sums_b: expected groups below 2, got 2 at entry"):
        top_partial_correlations(a, b, **{**right, "sums_b": finer}, **options)
    with pytest.raises(ValueError, match="ids: expected 3 groups, one a row, got 2"):
        top_partial_correlations(a, b, **right, **{**options, "ids": ids[:2]})


@pytest.mark.parametrize("option", ["top_m", "threads"])
def test_at_least_one_partner_and_one_thread_are_expected(option):
    with pytest.raises(ValueError, match=f"{option}=0: expected at least 1, got 0"):
        top_correlations(small_a(), small_b(), **{"top_m": 1, option: 0})
