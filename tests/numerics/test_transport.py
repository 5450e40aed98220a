import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from saeuniv.numerics.assignment import hungarian
from saeuniv.numerics.candidate_edges import edges_of
from saeuniv.numerics.candidates import Candidates, candidates_of
from saeuniv.numerics.transport import Transport, most_transported, transport

small = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-4, 8).map(lambda n: n / 8))
)


def planted(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    similarity = 0.3 * rng.random((n, n))
    similarity[np.arange(n), order] = 0.6 + 0.4 * rng.random(n)
    return similarity, order


def solve(similarity: np.ndarray, epsilon: float, **changes) -> Transport:
    choices = {"tolerance": 1e-6, "max_iterations": 5000} | changes
    return transport(edges_of(all_pairs(similarity)), epsilon=epsilon, **choices)


def all_pairs(similarity: np.ndarray) -> Candidates:
    return candidates_of(similarity, top_m=max(*similarity.shape, 1))


def dense(found: Transport, similarity: np.ndarray) -> np.ndarray:
    edges, plan = edges_of(all_pairs(similarity)), np.zeros(similarity.shape)
    plan[edges.latent_a, edges.partner] = found.plan
    return plan


def oracle(similarity: np.ndarray, epsilon: float) -> np.ndarray:
    """The plan by alternating updates of the dense matrix with a column and row for staying unmatched."""
    scores = np.where(similarity > 0, similarity, -np.inf) / epsilon
    f, g = np.zeros(scores.shape[0]), np.zeros(scores.shape[1])
    last = f + np.inf
    while np.abs(f - last).max() > 1e-11:
        last = f
        f = -logsumexp(np.column_stack((scores + g, np.zeros(len(f)))), axis=1)
        g = -logsumexp(np.vstack((scores + f[:, None], np.zeros(len(g)))), axis=0)
    return np.exp(scores + f[:, None] + g)


def test_at_a_small_epsilon_the_plan_is_the_planted_permutation() -> None:
    similarity, order = planted(40)
    found = solve(similarity, 1e-3)
    assert found.converged and found.marginal_error < 1e-6
    plan = dense(found, similarity)
    assert (plan.argmax(axis=1) == order).all()
    assert plan.sum(axis=1) + found.unmatched_a == pytest.approx(1.0, abs=1e-4)
    assert plan.sum(axis=0) + found.unmatched_b == pytest.approx(1.0, abs=1e-12)
    matching = most_transported(all_pairs(similarity), found, edges_of(all_pairs(similarity)))
    assert matching.index_a.tolist() == list(range(40))
    assert matching.index_b.tolist() == order.tolist()
    assert np.array_equal(matching.similarity, similarity[np.arange(40), order])


def test_at_a_large_epsilon_mass_spreads_over_all_options_and_nothing_is_matched() -> None:
    similarity, order = planted(40)
    found = solve(similarity, 100.0)
    plan = dense(found, similarity)
    assert found.converged
    assert plan[np.arange(40), order].max() < 0.05
    assert plan == pytest.approx(plan.mean(), rel=0.05)
    matching = most_transported(all_pairs(similarity), found, edges_of(all_pairs(similarity)))
    assert len(matching.index_a) == 0


def test_one_pair_has_the_mass_that_the_closed_form_says() -> None:
    """T = K u v and T + u = T + v = 1 with K = exp(s / epsilon): u = (sqrt(1 + 4 K) - 1) / (2 K)."""
    for epsilon in (0.05, 0.3, 2.0):
        k = np.exp(0.4 / epsilon)
        unmatched = (np.sqrt(1 + 4 * k) - 1) / (2 * k)
        found = solve(np.array([[0.4]]), epsilon, tolerance=1e-12)
        assert found.unmatched_a[0] == pytest.approx(unmatched, rel=1e-6)
        assert found.plan[0] == pytest.approx(1 - unmatched, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (9, 5)])
def test_the_plan_agrees_with_dense_updates_in_the_log_domain(shape, epsilon) -> None:
    similarity = np.random.default_rng(1).uniform(-0.3, 0.9, shape)
    found = solve(similarity, epsilon, tolerance=1e-10, max_iterations=20_000)
    assert found.converged
    assert dense(found, similarity) == pytest.approx(oracle(similarity, epsilon), abs=1e-6)


def test_the_total_grows_to_the_largest_assignment_as_epsilon_falls() -> None:
    similarity = np.random.default_rng(2).uniform(-0.2, 0.9, (30, 30))
    best = float(np.maximum(hungarian(all_pairs(similarity)).similarity, 0).sum())
    totals = [
        float((dense(solve(similarity, epsilon), similarity) * np.maximum(similarity, 0)).sum())
        for epsilon in (0.3, 0.1, 0.03, 0.01)
    ]
    assert totals == sorted(totals)
    assert totals[-1] <= best * (1 + 1e-5)
    assert totals[-1] > 0.98 * best


@settings(max_examples=40, deadline=None)
@given(small, st.sampled_from([0.02, 0.1, 1.0]))
def test_pairs_are_one_to_one_and_no_better_than_the_best_assignment(similarity, epsilon) -> None:
    candidates = all_pairs(similarity)
    found = solve(similarity, epsilon)
    matching = most_transported(candidates, found, edges_of(candidates))
    assert len(set(matching.index_a)) == len(set(matching.index_b)) == len(matching.index_a)
    assert (np.diff(matching.index_a) > 0).all() and (matching.similarity > 0).all()
    assert matching.similarity.sum() <= np.maximum(hungarian(candidates).similarity, 0).sum() + 1e-8
    assert ((found.plan >= 0) & (found.plan <= 1 + 1e-6)).all()


def test_two_equal_partners_share_the_mass_and_neither_is_chosen_by_rounding() -> None:
    """A tie has no mutual best but by index; one epsilon apart it has."""
    similarity = np.array([[0.8, 0.8], [0.8, 0.8]])
    plan = dense(solve(similarity, 0.05), similarity)
    assert plan == pytest.approx(plan[0, 0], abs=1e-6)
    apart = np.array([[0.8, 0.7], [0.7, 0.8]])
    matching = most_transported(all_pairs(apart), solve(apart, 0.05), edges_of(all_pairs(apart)))
    assert matching.index_b.tolist() == [0, 1]


def test_latents_without_candidates_stay_unmatched_and_the_plan_is_feasible() -> None:
    similarity = np.array([[0.7, -0.1, -0.2], [-0.1, -0.1, -0.3]])
    found = solve(similarity, 0.05)
    assert found.converged
    assert found.unmatched_a[1] == found.unmatched_b[1] == found.unmatched_b[2] == 1.0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_latents_give_an_empty_plan(shape) -> None:
    found = solve(np.zeros(shape), 0.05)
    assert found.converged and len(found.plan) == 0
    candidates = all_pairs(np.zeros(shape))
    assert len(most_transported(candidates, found, edges_of(candidates)).index_a) == 0


def test_what_has_not_converged_says_so() -> None:
    similarity = np.random.default_rng(3).random((60, 60))
    found = solve(similarity, 0.01, max_iterations=12)
    assert not found.converged and found.iterations == 12
    assert found.marginal_error > 1e-6
    enough = solve(similarity, 0.1)
    assert enough.converged and enough.marginal_error < 1e-6 and enough.iterations < 5000


@pytest.mark.parametrize(
    ("name", "value"), [("epsilon", 0.0), ("epsilon", np.nan), ("tolerance", -1.0), ("max_iterations", 0)]
)
def test_choices_that_make_no_sense_are_refused(name, value) -> None:
    choices = {"epsilon": 0.1, "tolerance": 1e-6, "max_iterations": 10, name: value}
    with pytest.raises(ValueError, match=f"{name}: expected a positive number, got {value}"):
        transport(edges_of(all_pairs(np.eye(2))), **choices)
