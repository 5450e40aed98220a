"""The alignment methods: planted partners, ties, unequal widths, nothing to match, and what they refuse."""

import numpy as np
import pytest

from saeuniv.alignments import ALIGNMENTS, Hungarian, MaxCorr, MutualNn
from saeuniv.compare import align
from saeuniv.config import Condition
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import dense_partial, streams

DIRECTIONS = {"hungarian": {"both"}, "mutual_nn": {"both"}, "max_corr": {"a_to_b", "b_to_a"}}


def planted(n, *, seed=0, noise=0.3):
    """A correlation matrix whose largest entry of row i is in column permutation[i]."""
    rng = np.random.default_rng(seed)
    permutation = rng.permutation(n)
    correlation = noise * rng.random((n, n))
    correlation[np.arange(n), permutation] = 0.6 + 0.4 * rng.random(n)
    return correlation, permutation


def layer_pair(data):
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=Floors(5, 0.5, 0.001)) for side in (data.a, data.b))
    settings = DrawSettings(0, 19, 2, 0, 10, min_documents=20, min_effective_documents=15)
    return LayerPair(a, b, make_draws(halves, settings), min_df_share=0.5)


@pytest.mark.parametrize("method", ALIGNMENTS, ids=lambda method: method.name)
def test_a_planted_permutation_is_recovered_in_every_direction(method):
    correlation, permutation = planted(25)
    found = method().match(correlation)
    assert set(found) == DIRECTIONS[method.name]
    for matching in found.values():
        assert matching.index_a.tolist() == list(range(25))
        assert (matching.index_b == permutation).all()
        assert (matching.similarity == correlation[matching.index_a, matching.index_b]).all()


@pytest.mark.parametrize("method", ALIGNMENTS, ids=lambda method: method.name)
def test_a_shuffled_matrix_does_not_give_the_planted_pairs(method):
    correlation, permutation = planted(25)
    shuffled = np.random.default_rng(1).permutation(correlation.ravel()).reshape(correlation.shape)
    for matching in method().match(shuffled).values():
        assert (permutation[matching.index_a] == matching.index_b).mean() < 0.3


def test_the_backward_direction_is_the_forward_one_of_the_exchanged_models():
    correlation = np.random.default_rng(2).standard_normal((6, 9))
    found, exchanged = MaxCorr().match(correlation), MaxCorr().match(np.ascontiguousarray(correlation.T))
    forward = {(a, b) for b, a in zip(*exchanged["a_to_b"][:2], strict=True)}
    assert set(zip(*found["b_to_a"][:2], strict=True)) == forward
    best_a = correlation.argmax(axis=0)
    assert forward == {(best_a[j], j) for j in range(9) if correlation[best_a[j], j] > 0}
    assert (np.diff(found["b_to_a"].index_a) >= 0).all()


def test_ties_go_to_the_lowest_index_also_backward():
    ones = np.ones((3, 4))
    found = MaxCorr().match(ones)
    assert found["a_to_b"].index_b.tolist() == [0, 0, 0]
    assert found["b_to_a"].index_a.tolist() == [0, 0, 0, 0]
    assert [each.tolist() for each in MutualNn().match(ones)["both"][:2]] == [[0], [0]]
    first, second = (Hungarian().match(ones)["both"] for _ in range(2))
    assert first.index_b.tolist() == second.index_b.tolist() and len(set(first.index_b)) == 3


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_unequal_widths_give_as_many_pairs_as_each_method_says(shape):
    correlation = np.random.default_rng(3).random(shape) + 0.1
    assert len(Hungarian().match(correlation)["both"].index_a) == 3
    directed = MaxCorr().match(correlation)
    assert [len(directed[direction].index_a) for direction in ("a_to_b", "b_to_a")] == list(shape)
    assert 1 <= len(MutualNn().match(correlation)["both"].index_a) <= 3


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("method", ALIGNMENTS, ids=lambda method: method.name)
def test_no_latents_give_no_pairs(method, shape):
    for matching in method().match(np.zeros(shape)).values():
        assert len(matching.index_a) == len(matching.index_b) == len(matching.similarity) == 0


def test_only_the_hungarian_method_keeps_its_number_of_pairs_where_nothing_is_alike():
    nothing = -np.random.default_rng(4).random((5, 6))
    sizes = {
        method.name: [len(matching.index_a) for matching in method().match(nothing).values()]
        for method in ALIGNMENTS
    }
    assert sizes == {"hungarian": [5], "mutual_nn": [0], "max_corr": [0, 0]}
    assert {method.name for method in ALIGNMENTS if method.fixed_size} == {"hungarian"}


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)])
def test_the_hungarian_method_refuses_widths_on_either_side_and_names_the_others(shape):
    method = Hungarian(max_latents=4)
    with pytest.raises(
        ValueError, match=f"at most 4 latents a side, got {shape[0]} and {shape[1]}.*max_corr"
    ):
        method.match(np.ones(shape))
    assert method.refusal(4, 4) is None and MaxCorr().refusal(10**6, 10**6) is None


def test_pairs_are_chosen_on_the_match_half_alone_and_within_the_condition():
    data = streams(seed=1, shared=8, token_latents=8, n_latents=24)
    pair = layer_pair(data)
    x, y = (side.halves[0] for side in (pair.a, pair.b))
    chosen = {}
    for condition in (Condition.token, Condition.none):
        labels = x.half.groups[condition.value].ids
        r = dense_partial(x.matrix.toarray(), y.matrix.toarray(), labels)
        chosen[condition] = align(pair, MaxCorr(condition=condition))["a_to_b"].index_b
        assert (chosen[condition] == r.argmax(axis=1)).all()
    assert (chosen[Condition.token] != chosen[Condition.none]).any()
