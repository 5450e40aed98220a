from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saeuniv.numerics.assignment import Matching, hungarian, max_similarity, mutual_nearest

METHODS = [hungarian, max_similarity, mutual_nearest]

small = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-8, 8).map(lambda n: n / 4))
)


def best_total(similarity: np.ndarray) -> float:
    rows, columns = similarity.shape
    if rows > columns:
        return best_total(similarity.T)
    return max(similarity[range(rows), order].sum() for order in permutations(range(columns), rows))


def planted(n: int, shared: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of 2,000 rows; latent i < shared of A is latent order[i] of B with noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2000, n)), rng.normal(size=(2000, n))
    order = rng.permutation(n)
    y[:, order[:shared]] = x[:, :shared] + 0.5 * rng.normal(size=(2000, shared))
    return np.corrcoef(x.T, y.T)[:n, n:], order[:shared]


@settings(max_examples=60, deadline=None)
@given(small)
def test_hungarian_total_equals_brute_force(similarity: np.ndarray) -> None:
    matching = hungarian(similarity)
    assert len(matching.index_a) == min(similarity.shape)
    assert matching.similarity.sum() == pytest.approx(best_total(similarity))


def test_hungarian_equals_brute_force_at_seven_latents() -> None:
    for seed in range(5):
        similarity = np.random.default_rng(seed).normal(size=(7, 7))
        assert hungarian(similarity).similarity.sum() == pytest.approx(best_total(similarity))


def test_hungarian_keeps_non_positive_pairs_so_that_their_number_is_fixed() -> None:
    matching = hungarian(-np.eye(3) - 1.0)
    assert len(matching.index_a) == 3
    assert (matching.similarity < 0).all()


def test_hungarian_does_not_let_rounding_choose_among_equal_matchings() -> None:
    """Latents that share no token correlate exactly 0: many matchings have the largest total."""
    rng = np.random.default_rng(0)
    similarity = rng.integers(-3, 4, size=(20, 25)) / 8
    matching = hungarian(similarity)
    for _ in range(20):
        rounded = similarity + 1e-15 * rng.normal(size=similarity.shape)
        assert (hungarian(rounded).index_b == matching.index_b).all()
    assert (matching.similarity == similarity[matching.index_a, matching.index_b]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_permutation_is_recovered(method) -> None:
    similarity, order = planted(40, 40, seed=0)
    matching = method(similarity)
    assert matching.index_a.tolist() == list(range(40))
    assert matching.index_b.tolist() == order.tolist()


def test_mutual_nearest_finds_the_shared_sixty_percent_without_false_pairs() -> None:
    # Latents of pure noise are one another's nearest by chance; a floor above noise leaves the planted ones.
    similarity, order = planted(100, 60, seed=1)
    matching = mutual_nearest(np.where(similarity > 0.2, similarity, 0.0))
    assert matching.index_a.tolist() == list(range(60))
    assert matching.index_b.tolist() == order.tolist()
    assert len(matching.index_a) / 100 == 0.6


def test_max_similarity_takes_the_best_column_of_every_row_and_may_share_it() -> None:
    matching = max_similarity(np.array([[0.1, 0.9], [0.2, 0.8], [0.5, 0.4]]))
    assert matching.index_a.tolist() == [0, 1, 2]
    assert matching.index_b.tolist() == [1, 1, 0]
    assert matching.similarity.tolist() == [0.9, 0.8, 0.5]


def test_max_similarity_drops_rows_whose_best_is_not_positive() -> None:
    matching = max_similarity(np.array([[-0.1, 0.0], [-0.3, 0.2]]))
    assert (matching.index_a.tolist(), matching.index_b.tolist()) == ([1], [1])


def test_max_similarity_of_independent_columns_is_the_gaussian_maximum_in_sample() -> None:
    n, latents = 4000, 300
    x, y = np.random.default_rng(2).normal(size=(2, n, latents))
    best = max_similarity(np.corrcoef(x.T, y.T)[:latents, latents:]).similarity.mean()
    assert best == pytest.approx(np.sqrt(2 * np.log(latents) / n), rel=0.15)


@pytest.mark.parametrize("method", [max_similarity, mutual_nearest])
def test_ties_go_to_the_lowest_index(method) -> None:
    matching = method(np.ones((3, 4)))
    assert matching.index_b[0] == 0
    assert set(matching.index_b) == {0}


@pytest.mark.parametrize("method", METHODS)
def test_equal_input_gives_equal_output_also_under_ties(method) -> None:
    similarity = np.random.default_rng(3).integers(0, 3, size=(30, 40)) / 2
    first, second = method(similarity), method(similarity.copy())
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_rectangular_matchings_are_sorted_by_a_and_read_off_the_matrix(method, shape) -> None:
    similarity = np.random.default_rng(4).normal(size=shape)
    matching = method(similarity)
    assert (np.diff(matching.index_a) > 0).all()
    assert np.array_equal(matching.similarity, similarity[matching.index_a, matching.index_b])
    assert matching.index_a.dtype == matching.index_b.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(small)
def test_mutual_nearest_is_symmetric_up_to_its_rule_for_ties(similarity: np.ndarray) -> None:
    # Distinct entries: without ties the roles of A and B can be exchanged.
    similarity = similarity + np.arange(similarity.size).reshape(similarity.shape) * 1e-6
    forward, backward = mutual_nearest(similarity), mutual_nearest(similarity.T)
    pairs = set(zip(backward.index_b.tolist(), backward.index_a.tolist(), strict=True))
    assert pairs == set(zip(forward.index_a.tolist(), forward.index_b.tolist(), strict=True))


def test_mutual_nearest_is_empty_where_nothing_is_positive() -> None:
    matching = mutual_nearest(-np.ones((3, 4)))
    assert [len(field) for field in matching] == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_latents_give_no_pairs(method, shape) -> None:
    matching = method(np.zeros(shape))
    assert isinstance(matching, Matching)
    assert len(matching.index_a) == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite_are_refused_by_position(method, broken) -> None:
    similarity = np.ones((2, 3))
    similarity[1, 2] = broken
    with pytest.raises(ValueError, match=r"expected finite numbers, got 1 of 6 .* at \[1, 2\]"):
        method(similarity)
