"""The alignment methods: planted partners, ties, unequal widths, nothing to match, and what they refuse."""

import logging

import numpy as np
import pytest

from saeuniv.alignments.decoder_cosine import DecoderCosine
from saeuniv.alignments.encoder_cosine import EncoderCosine
from saeuniv.alignments.folded_parameters import FoldedParameters
from saeuniv.alignments.greedy import Greedy
from saeuniv.alignments.hungarian import Hungarian
from saeuniv.alignments.max_corr import MaxCorr
from saeuniv.alignments.mutual_nn import MutualNn
from saeuniv.alignments.sinkhorn import Sinkhorn
from saeuniv.config import Condition
from saeuniv.matching import align
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.assignment import assignment_gap
from saeuniv.numerics.candidates import candidates_of
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import best_assignment, dense_partial, streams

BY_TOKENS = (MaxCorr, MutualNn, Greedy, Hungarian, Sinkhorn)
BY_PARAMETERS = (DecoderCosine, EncoderCosine, FoldedParameters)
METHODS = BY_TOKENS + BY_PARAMETERS


def each_method(methods):
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


def planted(n, *, seed=0, noise=0.3):
    """A correlation matrix whose largest entry of row i is in column permutation[i]."""
    rng = np.random.default_rng(seed)
    permutation = rng.permutation(n)
    correlation = noise * rng.random((n, n))
    correlation[np.arange(n), permutation] = 0.6 + 0.4 * rng.random(n)
    return correlation, permutation


def match(method, correlation):
    """As `align` does: as many candidates as the method looks at."""
    made = method if not isinstance(method, type) else method()
    return made.match(candidates_of(correlation, top_m=made.n_candidates))


def layer_pair(data):
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=Floors(5, 0.5, 0.001)) for side in (data.a, data.b))
    settings = DrawSettings(0, 19, 2, 0, 10, min_documents=20, min_effective_documents=15)
    return LayerPair(a, b, make_draws(halves, settings), min_df_share=0.5)


def dictionary(n=30, d=12, *, seed=0):
    rng = np.random.default_rng(seed)
    decoder = rng.normal(size=(n, d))
    encoder = decoder + 0.2 * rng.normal(size=(n, d))
    return DictionaryParameters(encoder, rng.normal(size=n), decoder, rng.lognormal(size=n), "model-x")


@each_method(METHODS)
def test_a_planted_permutation_is_recovered_in_every_direction(method):
    correlation, permutation = planted(25)
    found = match(method, correlation)
    assert set(found) == ({"a_to_b", "b_to_a"} if method is MaxCorr else {"both"})
    for matching in found.values():
        assert matching.index_a.tolist() == list(range(25))
        assert (matching.index_b == permutation).all()
        assert (matching.similarity == correlation[matching.index_a, matching.index_b]).all()


@each_method(METHODS)
def test_a_shuffled_matrix_does_not_give_the_planted_pairs(method):
    correlation, permutation = planted(25)
    shuffled = np.random.default_rng(1).permutation(correlation.ravel()).reshape(correlation.shape)
    for matching in match(method, shuffled).values():
        assert (permutation[matching.index_a] == matching.index_b).mean() < 0.3


def test_the_backward_direction_is_the_forward_one_of_the_exchanged_models():
    correlation = np.random.default_rng(2).standard_normal((6, 9))
    found, exchanged = match(MaxCorr, correlation), match(MaxCorr, correlation.T)
    forward = {(a, b) for b, a in zip(*exchanged["a_to_b"][:2], strict=True)}
    assert set(zip(*found["b_to_a"][:2], strict=True)) == forward
    best_a = correlation.argmax(axis=0)
    assert forward == {(best_a[j], j) for j in range(9) if correlation[best_a[j], j] > 0}
    assert (np.diff(found["b_to_a"].index_a) >= 0).all()


def test_ties_go_to_the_lowest_index_also_backward():
    ones = np.ones((3, 4))
    found = match(MaxCorr, ones)
    assert found["a_to_b"].index_b.tolist() == [0, 0, 0]
    assert found["b_to_a"].index_a.tolist() == [0, 0, 0, 0]
    assert [each.tolist() for each in match(MutualNn, ones)["both"][:2]] == [[0], [0]]
    assert match(Greedy, ones)["both"].index_b.tolist() == [0, 1, 2]
    first, second = (match(Hungarian, ones)["both"] for _ in range(2))
    assert first.index_b.tolist() == second.index_b.tolist() and len(set(first.index_b)) == 3


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_unequal_widths_give_as_many_pairs_as_each_method_says(shape):
    correlation = np.random.default_rng(3).random(shape) + 0.1
    for method in METHODS:
        sizes = [len(matching.index_a) for matching in match(method, correlation).values()]
        if method is MaxCorr:
            assert sizes == list(shape)
        elif method.fixed_size:
            assert sizes == [3]
        else:
            assert 1 <= sizes[0] <= 3


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
@each_method(METHODS)
def test_no_latents_give_no_pairs(method, shape):
    for matching in match(method, np.zeros(shape)).values():
        assert len(matching.index_a) == len(matching.index_b) == len(matching.similarity) == 0


def test_only_methods_of_fixed_size_keep_their_number_of_pairs_where_nothing_is_alike():
    nothing = -np.random.default_rng(4).random((5, 6))
    for method in METHODS:
        sizes = [len(matching.index_a) for matching in match(method, nothing).values()]
        assert set(sizes) == {5 if method.fixed_size else 0}
    assert {method.name for method in METHODS if method.fixed_size} == {
        "hungarian",
        *(method.name for method in BY_PARAMETERS),
    }


@each_method(METHODS)
def test_each_method_looks_at_as_many_candidates_as_it_is_told(method):
    if method in (MaxCorr, MutualNn):
        assert method().n_candidates == 1
    else:
        assert (method().n_candidates, method(candidates=7).n_candidates) == (50, 7)
    assert method.reads == ("dictionaries" if method in BY_PARAMETERS else "tokens")


def test_any_width_is_taken_and_the_gap_to_the_best_of_all_pairs_is_proven():
    """9,000 latents: more than the dense assignment took, and without a matrix."""
    n, m = 9000, 5
    rng = np.random.default_rng(5)
    permutation = rng.permutation(n)
    index = np.stack([permutation, *((permutation + step) % n for step in range(1, m))], axis=1)
    similarity = np.broadcast_to([0.8, 0.02, 0.02, 0.02, 0.02], (n, m)) + 0.0
    inverse = np.argsort(permutation)
    backward = np.stack([inverse, *(inverse[(np.arange(n) - step) % n] for step in range(1, m))], axis=1)
    found = candidates_of(np.zeros((1, 1)), top_m=1)._replace(
        index_a=index.astype(np.int32),
        similarity_a=similarity,
        index_b=backward.astype(np.int32),
        similarity_b=similarity.copy(),
    )
    matching = Hungarian(candidates=m).match(found)["both"]
    assert (matching.index_b == permutation).all()
    gap = assignment_gap(matching)
    assert gap is not None and gap < 1e-6


def test_an_unfinished_sinkhorn_warns_and_goes_on(caplog):
    correlation = np.random.default_rng(6).random((40, 40))
    with caplog.at_level(logging.WARNING):
        found = match(Sinkhorn(max_iterations=3), correlation)["both"]
    assert "not converged after 3 iterations: marginal error" in caplog.text
    assert len(set(found.index_b)) == len(found.index_a)
    caplog.clear()
    match(Sinkhorn(), planted(25)[0])
    assert not caplog.records


def test_a_small_epsilon_gives_hungarians_pairs_and_a_large_one_fewer():
    correlation = np.random.default_rng(7).random((30, 30))
    best = match(Hungarian, correlation)["both"]
    sharp = match(Sinkhorn(epsilon=0.003), correlation)["both"]
    soft = match(Sinkhorn(epsilon=0.3), correlation)["both"]
    pairs = set(zip(best.index_a, best.index_b, strict=True))
    assert len(set(zip(sharp.index_a, sharp.index_b, strict=True)) & pairs) >= 28
    assert len(soft.index_a) < len(sharp.index_a)


@each_method(BY_PARAMETERS)
def test_a_dictionary_and_its_permuted_copy_are_matched_latent_by_latent(method):
    a, order = dictionary(), np.random.default_rng(8).permutation(30)
    b = DictionaryParameters(*(each[order] for each in a[:3]), a.threshold[order], a.basis)
    made = method(candidates=4)
    candidates = made.candidates_of(a, b)
    assert candidates.index_a.shape == (30, 4)
    matching = made.match(candidates)["both"]
    assert (order[matching.index_b] == matching.index_a).all()
    assert matching.similarity == pytest.approx(1.0)


@each_method(BY_PARAMETERS)
def test_dictionaries_of_two_residual_bases_are_refused(method):
    a = dictionary()
    with pytest.raises(ValueError, match="one residual basis, got 'model-x' and 'model-y'"):
        method().candidates_of(a, a._replace(basis="model-y"))


def test_only_dictionaries_with_thresholds_are_folded():
    a = dictionary()
    with pytest.raises(ValueError, match="TopK"):
        FoldedParameters().candidates_of(a, a._replace(threshold=None))
    assert DecoderCosine().candidates_of(a, a._replace(threshold=None)).n_a == 30


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
        best_assignment(align(pair, Hungarian(condition=condition))["both"], r)
    assert (chosen[Condition.token] != chosen[Condition.none]).any()


@pytest.mark.parametrize("method", [Greedy, Hungarian, Sinkhorn, DecoderCosine])
def test_fewer_than_one_candidate_is_refused(method):
    with pytest.raises(ValueError, match="candidates=0: expected at least 1, got 0"):
        method(candidates=0)


@pytest.mark.parametrize("option", ["epsilon", "tolerance", "max_iterations"])
def test_transport_needs_positive_numbers(option):
    with pytest.raises(ValueError, match=f"alignment.{option}=0.*: expected a positive number, got 0"):
        Sinkhorn(**{option: 0 if option == "max_iterations" else 0.0})
