from itertools import permutations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from saeuniv.numerics.assignment import (
    Matching,
    assignment_gap,
    greedy,
    hungarian,
    max_similarity,
    max_similarity_backward,
    mutual_nearest,
)
from saeuniv.numerics.auction import largest_assignment
from saeuniv.numerics.candidate_edges import edges_of
from saeuniv.numerics.candidates import Candidates, candidates_of

METHODS = [hungarian, greedy, max_similarity, max_similarity_backward, mutual_nearest]
ONE_TO_ONE = [hungarian, greedy, mutual_nearest]

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
small = shapes.flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-8, 8).map(lambda n: n / 4))
)
"""Few values, so that ties, duplicates and matrices without a positive entry are common."""

any_real = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-1, 1, width=32)))


def all_pairs(similarity: np.ndarray) -> Candidates:
    return candidates_of(similarity, top_m=max(similarity.shape))


def positive_total(matching: Matching) -> float:
    return float(np.maximum(matching.similarity, 0).sum())


def best_total(similarity: np.ndarray) -> float:
    """The best of all matchings by trying them, any latent left out."""
    rows, columns = similarity.shape
    if rows > columns:
        return best_total(similarity.T)
    positive = np.maximum(similarity, 0)
    return max(positive[range(rows), order].sum() for order in permutations(range(columns), rows))


def best_of_candidates(candidates: Candidates) -> float:
    """The best assignment of the candidate graph by scipy; a private partner for whom stays unmatched."""
    edges = edges_of(candidates)
    matrix = sp.csr_array((edges.similarity, edges.partner, edges.start), shape=(edges.n_a, edges.n_b))
    # Shifted: the solver takes a stored 0 for no edge. Every row has one pair, so the shift adds n_a.
    alone = sp.diags_array(np.ones(edges.n_a))
    matrix.data += 1.0
    rows, columns = min_weight_full_bipartite_matching(sp.hstack([matrix, alone]).tocsr(), maximize=True)
    return float((sp.hstack([matrix, alone]).tocsr()[rows, columns] - 1.0).sum())


def sparse_streams(n: int, *, tokens: int, active: int, seed: int) -> np.ndarray:
    """Correlations of two streams of sparse latents with frequencies like 1 / rank, 60 % of them shared."""
    rng = np.random.default_rng(seed)
    chance = active / (np.arange(n) + 4.0) / (1 / (np.arange(n) + 4.0)).sum()
    x = (rng.random((tokens, n)) < chance) * rng.lognormal(0, 0.5, (tokens, n))
    y = (rng.random((tokens, n)) < chance) * rng.lognormal(0, 0.5, (tokens, n))
    shared, order = int(0.6 * n), rng.permutation(n)
    y[:, order[:shared]] = np.where(rng.random((tokens, shared)) < 0.75, x[:, :shared], y[:, order[:shared]])
    x[0], y[1] = 1.0, 1.0  # nobody is silent
    return np.corrcoef(x.T, y.T)[:n, n:]


def planted(n: int, shared: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of 2,000 rows; latent i < shared of A is latent order[i] of B with noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2000, n)), rng.normal(size=(2000, n))
    order = rng.permutation(n)
    y[:, order[:shared]] = x[:, :shared] + 0.5 * rng.normal(size=(2000, shared))
    return np.corrcoef(x.T, y.T)[:n, n:], order[:shared]


@pytest.mark.parametrize("top_m", [1, 5, 40])
@pytest.mark.parametrize("method", METHODS)
def test_a_planted_permutation_is_recovered(method, top_m) -> None:
    similarity, order = planted(40, 40, seed=0)
    matching = method(candidates_of(similarity, top_m=top_m))
    assert matching.index_a.tolist() == list(range(40))
    assert matching.index_b.tolist() == order.tolist()
    assert np.array_equal(matching.similarity, similarity[np.arange(40), order])


@pytest.mark.parametrize("method", METHODS)
def test_a_latent_set_matched_with_itself_is_the_identity(method) -> None:
    similarity = np.corrcoef(np.random.default_rng(1).normal(size=(30, 50)).T)
    matching = method(candidates_of(similarity, top_m=7))
    assert matching.index_b.tolist() == matching.index_a.tolist() == list(range(50))
    assert matching.similarity == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(small, st.integers(1, 3))
def test_pairs_that_either_side_lists_are_chosen_from_once(similarity: np.ndarray, top_m: int) -> None:
    candidates = candidates_of(similarity, top_m=top_m)
    listed = {(a, b) for a, row in enumerate(candidates.index_a) for b in row}
    listed |= {(a, b) for b, row in enumerate(candidates.index_b) for a in row}
    expected = sorted((a, b, similarity[a, b]) for a, b in listed if a >= 0 <= b and similarity[a, b] > 0)
    edges = edges_of(candidates)
    assert sorted(zip(edges.latent_a, edges.partner, edges.similarity, strict=True)) == expected
    backward = edges.exchanged()
    swapped = zip(backward.partner, backward.latent_a, backward.similarity, strict=True)
    assert sorted(swapped) == expected


def test_a_partner_that_only_the_other_side_lists_is_found() -> None:
    similarity = np.array([[0.9, 0.5, 0.0], [0.8, 0.0, 0.0], [0.7, 0.0, 0.0]])
    matching = hungarian(candidates_of(similarity, top_m=1))
    assert (0, 1, 0.5) in zip(*matching[:3], strict=True)
    assert positive_total(matching) == pytest.approx(0.5 + 0.8)


@settings(max_examples=80, deadline=None)
@given(st.one_of(small, any_real))
def test_hungarian_total_equals_brute_force_and_so_does_its_bound(similarity: np.ndarray) -> None:
    matching = hungarian(all_pairs(similarity))
    best = best_total(similarity)
    assert len(matching.index_a) == min(similarity.shape)
    assert positive_total(matching) == pytest.approx(best, abs=1e-8)
    assert matching.upper_bound == pytest.approx(best, abs=2e-8)
    gap = assignment_gap(matching)
    assert gap is not None and gap * best <= 2e-8


def test_hungarian_equals_brute_force_at_seven_latents() -> None:
    for seed in range(3):
        similarity = np.random.default_rng(seed).normal(size=(7, 7))
        assert positive_total(hungarian(all_pairs(similarity))) == pytest.approx(best_total(similarity))


@settings(max_examples=80, deadline=None)
@given(st.one_of(small, any_real), st.integers(1, 3))
def test_hungarian_on_few_candidates_keeps_to_its_claims(similarity: np.ndarray, top_m: int) -> None:
    candidates = candidates_of(similarity, top_m=top_m)
    matching, best = hungarian(candidates), best_total(similarity)
    assert len(matching.index_a) == min(similarity.shape)
    assert len(set(matching.index_a)) == len(set(matching.index_b)) == len(matching.index_a)
    assert matching.upper_bound is not None
    assert positive_total(matching) <= best + 1e-8 <= matching.upper_bound + 2e-8
    assert positive_total(matching) >= best_of_candidates(candidates) - 1e-8
    assert positive_total(matching) >= positive_total(greedy(candidates)) - 1e-8
    assert 0 <= (assignment_gap(matching) or 0.0) <= 1


@pytest.mark.parametrize("shape", [(300, 300), (200, 300), (300, 200)])
def test_hungarian_on_sparse_latents_agrees_with_scipy_on_matrix_and_candidates(shape) -> None:
    similarity = sparse_streams(300, tokens=1500, active=12, seed=2)[: shape[0], : shape[1]]
    dense = similarity[linear_sum_assignment(np.maximum(similarity, 0), maximize=True)]
    best = float(np.maximum(dense, 0).sum())
    assert positive_total(hungarian(all_pairs(similarity))) == pytest.approx(best, rel=1e-8)
    found = [hungarian(candidates_of(similarity, top_m=m)) for m in (3, 20)]
    for m, matching in zip((3, 20), found, strict=True):
        expected = best_of_candidates(candidates_of(similarity, top_m=m))
        # What leftover latents happen to add is not negative.
        assert positive_total(matching) == pytest.approx(expected, rel=1e-3)
        assert positive_total(matching) >= expected * (1 - 1e-8)
        gap, true_gap = assignment_gap(matching), 1 - positive_total(matching) / best
        assert gap is not None and -1e-9 <= true_gap <= gap + 1e-9
    assert assignment_gap(found[1]) < assignment_gap(found[0])
    assert positive_total(found[1]) > (1 - 5e-3) * best


@pytest.mark.parametrize("difference", [0.0, 1e-9, 1e-4])
def test_the_assignment_of_a_chain_of_rivals_is_the_best_one(difference) -> None:
    """Everybody prefers the place of the one before: a bidding war that passes through the whole chain."""
    n = 400
    index = np.stack([np.maximum(np.arange(n) - 1, 0), np.where(np.arange(n) == 0, -1, np.arange(n))], 1)
    index[-1, 1] = -1
    similarity = np.where(index < 0, -np.inf, np.array([0.5, 0.5 - difference]))
    none = (np.full((n, 2), -1, np.int32), np.full((n, 2), -np.inf))
    edges = edges_of(Candidates(index.astype(np.int32), similarity, *none))
    found = largest_assignment(edges, tolerance=1e-9)
    assert found.total == pytest.approx((n - 1) * 0.5, rel=1e-9)
    assert found.total <= found.optimum_at_most <= found.total * (1 + 1e-9)


def test_prices_and_profits_prove_the_total() -> None:
    """Weak duality: whoever checks the claim needs no trust in the algorithm."""
    edges = edges_of(candidates_of(sparse_streams(120, tokens=800, active=8, seed=3), top_m=6))
    found = largest_assignment(edges, tolerance=1e-9)
    covered = found.profit[edges.latent_a] + found.price[edges.partner]
    assert (covered >= edges.similarity - 1e-12).all()
    assert (found.price >= 0).all() and (found.profit >= 0).all()
    matched = found.partner[edges.latent_a] == edges.partner
    assert edges.similarity[matched].sum() == pytest.approx(found.total)
    assert found.optimum_at_most - found.total <= 1e-9 * found.optimum_at_most


def test_a_bound_that_ignores_unlisted_pairs_would_be_wrong() -> None:
    """The negative control of the bound: the candidates' own optimum is below the total of all pairs."""
    similarity = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
    candidates = candidates_of(similarity, top_m=1)
    edges = edges_of(candidates)
    assert largest_assignment(edges, tolerance=1e-9).optimum_at_most < 2.4
    bound = hungarian(candidates).upper_bound
    assert bound is not None and bound >= best_total(similarity) == pytest.approx(2.4)


def test_hungarian_keeps_non_positive_pairs_so_that_their_number_is_fixed() -> None:
    matching = hungarian(all_pairs(-np.eye(3) - 1.0))
    assert len(matching.index_a) == 3
    assert (matching.similarity < 0).all()
    assert matching.upper_bound == 0.0 and assignment_gap(matching) == 0.0


def test_leftover_latents_are_not_paired_by_ascending_order() -> None:
    """Latents planted in index order and found by nobody must not be put together all the same."""
    n = 200
    nothing = Candidates(*(np.full((n, 1), fill) for fill in (np.int32(-1), -np.inf) * 2))
    matching = hungarian(nothing)
    assert sorted(matching.index_b) == matching.index_a.tolist() == list(range(n))
    assert (matching.similarity == 0).all()
    assert (matching.index_a == matching.index_b).mean() < 0.05
    assert abs(np.corrcoef(matching.index_a, matching.index_b)[0, 1]) < 0.2


@pytest.mark.parametrize("method", ONE_TO_ONE)
def test_rounding_does_not_choose_among_equal_matchings(method) -> None:
    """Latents that share no token correlate exactly 0, and duplicates alike: many totals are equal."""
    rng = np.random.default_rng(0)
    similarity = rng.integers(-3, 4, size=(20, 25)) / 8
    if method is mutual_nearest:  # looks at the first candidate alone: nothing here for it to choose among
        similarity += np.arange(similarity.size).reshape(similarity.shape) * 1e-6
    matching = method(all_pairs(similarity))
    order = all_pairs(similarity)
    for _ in range(20):
        noise = [1e-15 * rng.normal(size=each.shape) for each in (order.similarity_a, order.similarity_b)]
        rounded = order._replace(
            similarity_a=order.similarity_a + noise[0], similarity_b=order.similarity_b + noise[1]
        )
        assert (method(rounded).index_b == matching.index_b).all()
    assert (matching.similarity == similarity[matching.index_a, matching.index_b]).all()


def test_greedy_takes_the_most_similar_pair_that_is_left() -> None:
    matching = greedy(all_pairs(np.array([[0.9, 0.8, 0.0], [0.85, 0.1, -0.5], [0.2, 0.1, 0.0]])))
    assert matching.index_a.tolist() == [0, 1]
    assert matching.index_b.tolist() == [0, 1]
    assert matching.similarity.tolist() == [0.9, 0.1]
    assert positive_total(hungarian(all_pairs(np.array([[0.9, 0.8], [0.85, 0.1]])))) == pytest.approx(1.65)


@settings(max_examples=60, deadline=None)
@given(small)
def test_greedy_equals_the_loop_that_searches_the_whole_matrix(similarity: np.ndarray) -> None:
    left, pairs = np.where(similarity > 0, similarity, 0.0), []
    while left.size and left.max() > 0:
        a, b = np.unravel_index(left.argmax(), left.shape)  # the first of equals: lowest a, then lowest b
        pairs.append((int(a), int(b)))
        left[a], left[:, b] = 0.0, 0.0
    matching = greedy(all_pairs(similarity))
    assert list(zip(matching.index_a.tolist(), matching.index_b.tolist(), strict=True)) == sorted(pairs)


def test_mutual_nearest_finds_the_shared_sixty_percent_without_false_pairs() -> None:
    # Latents of pure noise are one another's nearest by chance; a floor above noise leaves the planted ones.
    similarity, order = planted(100, 60, seed=1)
    matching = mutual_nearest(all_pairs(np.where(similarity > 0.2, similarity, 0.0)))
    assert matching.index_a.tolist() == list(range(60))
    assert matching.index_b.tolist() == order.tolist()


def test_max_similarity_takes_the_best_column_of_every_row_and_may_share_it() -> None:
    matching = max_similarity(candidates_of(np.array([[0.1, 0.9], [0.2, 0.8], [0.5, 0.4]]), top_m=1))
    assert matching.index_a.tolist() == [0, 1, 2]
    assert matching.index_b.tolist() == [1, 1, 0]
    assert matching.similarity.tolist() == [0.9, 0.8, 0.5]
    assert assignment_gap(matching) is None


def test_max_similarity_drops_rows_whose_best_is_not_positive() -> None:
    matching = max_similarity(all_pairs(np.array([[-0.1, 0.0], [-0.3, 0.2]])))
    assert (matching.index_a.tolist(), matching.index_b.tolist()) == ([1], [1])


def test_max_similarity_of_independent_columns_is_the_gaussian_maximum_in_sample() -> None:
    n, latents = 4000, 300
    x, y = np.random.default_rng(2).normal(size=(2, n, latents))
    candidates = candidates_of(np.corrcoef(x.T, y.T)[:latents, latents:], top_m=1)
    assert max_similarity(candidates).similarity.mean() == pytest.approx(
        np.sqrt(2 * np.log(latents) / n), rel=0.15
    )


@pytest.mark.parametrize("method", [max_similarity, mutual_nearest, greedy])
def test_ties_go_to_the_lowest_index(method) -> None:
    matching = method(all_pairs(np.ones((3, 4))))
    expected = {"greedy": [0, 1, 2], "max_similarity": [0, 0, 0], "mutual_nearest": [0]}[method.__name__]
    assert matching.index_b.tolist() == expected


@pytest.mark.parametrize("method", METHODS)
def test_equal_input_gives_equal_output_also_under_ties(method) -> None:
    similarity = np.random.default_rng(3).integers(0, 3, size=(30, 40)) / 2
    first, second = method(all_pairs(similarity)), method(all_pairs(similarity.copy()))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_rectangular_matchings_are_sorted_by_a_and_read_off_the_matrix(method, shape) -> None:
    similarity = np.random.default_rng(4).normal(size=shape)
    matching = method(all_pairs(similarity))
    assert (np.diff(matching.index_a) >= (0 if method is max_similarity_backward else 1)).all()
    assert np.array_equal(matching.similarity, similarity[matching.index_a, matching.index_b])
    assert matching.index_a.dtype == matching.index_b.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(small)
def test_exchanging_the_sides_exchanges_the_pairs_up_to_the_rule_for_ties(similarity: np.ndarray) -> None:
    # Distinct entries, and totals: without ties the roles of A and B can be exchanged.
    similarity = similarity + np.random.default_rng(0).random(similarity.shape) * 1e-3
    candidates = all_pairs(similarity)
    for method, backward in (
        (mutual_nearest, mutual_nearest),
        (greedy, greedy),
        (max_similarity, max_similarity_backward),
    ):
        forward, exchanged = method(candidates), backward(candidates.exchanged())
        pairs = set(zip(exchanged.index_b.tolist(), exchanged.index_a.tolist(), strict=True))
        assert pairs == set(zip(forward.index_a.tolist(), forward.index_b.tolist(), strict=True))
    totals = [positive_total(hungarian(each)) for each in (candidates, candidates.exchanged())]
    assert totals[0] == pytest.approx(totals[1], abs=1e-8)


def test_similarities_above_one_are_matched_like_others() -> None:
    similarity, order = planted(30, 30, seed=5)
    matching = hungarian(candidates_of(1000.0 * similarity, top_m=4))
    assert matching.index_b.tolist() == order.tolist()


@pytest.mark.parametrize("method", ONE_TO_ONE[1:])
def test_nothing_positive_gives_no_pairs(method) -> None:
    assert [len(field) for field in method(all_pairs(-np.ones((3, 4))))[:3]] == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_latents_give_no_pairs(method, shape) -> None:
    matching = method(candidates_of(np.zeros(shape), top_m=2))
    assert isinstance(matching, Matching)
    assert len(matching.index_a) == len(matching.index_b) == len(matching.similarity) == 0
    assert not matching.upper_bound


@pytest.mark.parametrize("method", METHODS)
def test_candidates_that_cannot_be_compared_are_refused_by_position(method) -> None:
    candidates = candidates_of(np.ones((3, 4)), top_m=2)
    for broken in (np.nan, np.inf):
        similarity = candidates.similarity_b.copy()
        similarity[2, 1] = broken
        with pytest.raises(ValueError, match=rf"similarity_b: expected finite.*got {broken} at \[2, 1\]"):
            method(candidates._replace(similarity_b=similarity))
    for broken in (4, -2):
        index = candidates.index_a.copy()
        index[1, 0] = broken
        with pytest.raises(ValueError, match=rf"index_a: expected partners of 0 to 3.*{broken} at \[1, 0\]"):
            method(candidates._replace(index_a=index))
    with pytest.raises(ValueError, match=r"index_a of shape \(3, 2\) and similarity_a of \(3, 1\)"):
        method(candidates._replace(similarity_a=candidates.similarity_a[:, :1]))
