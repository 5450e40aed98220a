"""Mutual nearest neighbours: known answers, chance, ties, and a slow loop as the oracle."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import ortho_group

from saeuniv.numerics.neighbours import mutual_knn, neighbours


def gaussian(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


def related(n, d_a, d_b, seed, *, noise=0.5):
    x = gaussian(n, d_a, seed)
    return x, x @ gaussian(d_a, d_b, seed + 1) / np.sqrt(d_a) + noise * gaussian(n, d_b, seed + 2)


def score(x, y, k=5, labels=None, **how):
    return mutual_knn(neighbours(x, k=k, labels=labels), neighbours(y, k=k, labels=labels), **how)


def slow_neighbours(x, k, labels):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and (labels is None or labels[j] != labels[i])]
        found.append(sorted(others, key=lambda j: (-round(float(unit[i] @ unit[j]), 6), j))[:k])
    return found


def slow_score(x, y, k, labels):
    near = [slow_neighbours(z, k, labels) for z in (x, y)]
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)])


LABELS = np.arange(60) // 4


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_copy_scores_one_and_so_does_a_rotated_one_with_scaled_rows(labels):
    x = gaussian(60, 8, 0)
    turned = x @ ortho_group.rvs(8, random_state=0) * np.random.default_rng(1).lognormal(size=(60, 1))
    assert score(x, x, labels=labels) == score(x, turned, labels=labels) == 1.0


def test_only_the_order_of_cosines_counts():
    """Cosines of y are an increasing function of those of x: (c + c^2 / 4) / 1.25 has a feature map."""
    x = gaussian(60, 5, 2)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    squares = np.einsum("ni,nj->nij", unit, unit).reshape(60, -1)
    assert score(x, np.hstack([unit, squares / 2])) == 1.0


def test_a_map_that_is_no_rotation_changes_the_score():
    x = gaussian(60, 8, 3)
    assert score(x, x * np.geomspace(1, 30, 8)) < 0.8


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_it_is_the_share_of_common_neighbours_counted_one_by_one(k, labels):
    x, y = related(60, 6, 9, 4)
    assert score(x, y, k, labels) == pytest.approx(slow_score(x, y, k, labels), abs=1e-12)
    near = neighbours(x, k=k, labels=labels)
    assert near.nearest.tolist() == slow_neighbours(x, k, labels)


def test_ties_go_to_the_lowest_index_in_spite_of_rounding():
    x = np.repeat(gaussian(5, 7, 5), 8, axis=0) * np.random.default_rng(6).lognormal(size=(40, 1))
    near = neighbours(x, k=4, labels=None).nearest
    for i in range(40):
        twins = [j for j in range(8 * (i // 8), 8 * (i // 8) + 8) if j != i]
        assert near[i].tolist() == twins[:4]


@pytest.mark.parametrize("labels", [None, LABELS])
def test_unrelated_rows_score_chance(labels):
    drawn = [score(gaussian(60, 8, 2 * s), gaussian(60, 8, 2 * s + 1), labels=labels) for s in range(200)]
    chance = neighbours(gaussian(60, 8, 0), k=5, labels=labels).chance
    assert chance == pytest.approx(5 / 59 if labels is None else 5 / 56)
    assert abs(np.mean(drawn) - chance) < 3 * np.std(drawn) / np.sqrt(200)


def test_a_permutation_pairs_row_i_of_a_with_that_row_of_b():
    x, y = related(60, 6, 9, 7)
    order = np.random.default_rng(8).permutation(60)
    a, b = (neighbours(z, k=5, labels=None) for z in (x, y))
    repaired = mutual_knn(a, b, permutation=order)
    assert repaired == mutual_knn(a, neighbours(y[order], k=5, labels=None)) != mutual_knn(a, b)
    assert mutual_knn(a, b) == mutual_knn(b, a)


def test_sparse_rows_have_the_neighbours_of_the_same_rows_written_out():
    x = gaussian(60, 20, 9) * (np.random.default_rng(10).random((60, 20)) < 0.3)
    x[7] = 0.0
    sparse, dense = (neighbours(z, k=5, labels=LABELS) for z in (sp.csr_array(x), x))
    assert sparse.nearest.tolist() == dense.nearest.tolist()
    # All rows are equally far from the empty one.
    assert sparse.nearest[7].tolist() == [0, 1, 2, 3, 8]


def test_rows_whose_neighbours_are_all_the_others_leave_it_undefined():
    x = gaussian(7, 3, 11)
    assert score(x, x, k=6) is None and score(x, x, k=5) == 1.0
    labels = np.array([0, 0, 0, 0, 1, 2, 3])
    near = neighbours(x, k=3, labels=labels)
    assert near.chance is None and mutual_knn(near, near) is None
    assert near.nearest[0].tolist() == sorted(
        near.nearest[0], key=lambda j: -(x[0] @ x[j] / np.linalg.norm(x[j]))
    )
    assert (neighbours(x, k=4, labels=labels).nearest[0] >= 0).sum() == 3
    empty = neighbours(np.zeros((0, 3)), k=2, labels=None)
    assert empty.chance is None and mutual_knn(empty, empty) is None


def test_bad_input_is_named():
    x = gaussian(9, 3, 12)
    near = neighbours(x, k=2, labels=None)
    broken = x.copy()
    broken[4, 2] = np.inf
    with pytest.raises(ValueError, match=r"first inf at \[4, 2\]"):
        neighbours(broken, k=2, labels=None)
    with pytest.raises(ValueError, match="k=0: expected at least 1 neighbour"):
        neighbours(x, k=0, labels=None)
    with pytest.raises(ValueError, match="labels: expected 9, one a row, got 8"):
        neighbours(x, k=2, labels=np.arange(8))
    with pytest.raises(ValueError, match=r"b: expected \(rows, k\) = \(9, 2\) as in a, got \(9, 3\)"):
        mutual_knn(near, neighbours(x, k=3, labels=None))
    with pytest.raises(ValueError, match=r"permutation: expected rows 0..8, got -1 at \[0\]"):
        mutual_knn(near, near, permutation=np.arange(9) - 1)


@pytest.mark.parametrize("seed", range(4))
def test_a_row_is_distinct_where_its_last_neighbour_is_nearer_than_those_left_out(seed):
    x = np.random.default_rng(seed).integers(0, 3, size=(40, 3)).astype(float)
    k = 4
    near = neighbours(x, k=k, labels=None)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)
    cosine = np.round(unit @ unit.T, 6)
    np.fill_diagonal(cosine, -2)
    largest = -np.sort(-cosine, axis=1)
    assert near.distinct.tolist() == (largest[:, k - 1] > largest[:, k]).tolist()
    assert 0 < near.distinct.sum() < 40


def test_ties_that_are_cut_by_index_do_not_make_unrelated_sparse_rows_alike():
    """The negative control counts all rows: the lowest indices are everyone's neighbours on both sides."""
    values, all_rows = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = (rng.random((80, 60)) * (rng.random((80, 60)) < 0.03) for _ in range(2))
        near = [neighbours(z, k=5, labels=None) for z in (x, y)]
        values.append(mutual_knn(*near))
        everything = [each._replace(distinct=np.ones(80, bool)) for each in near]
        all_rows.append(mutual_knn(*everything))
    chance = 5 / 79
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - chance) < 3 * error
    assert np.mean(all_rows) > chance + 0.05


def test_rows_that_are_all_tied_have_no_value():
    near = neighbours(np.zeros((12, 3)), k=3, labels=None)
    assert not near.distinct.any() and mutual_knn(near, near) is None
