"""The draws that all layer pairs share, where the halves differ in size and in their longest document."""

import numpy as np
import pytest
import scipy.fft

from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.correlation import Evidence, candidates
from saeuniv.numerics.latents import prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import FLOORS, streams

POSITIONS = 3
SETTINGS = DrawSettings(0, 99, 1, 0, 10, min_documents=5, min_effective_documents=4.0)


def draws_of(sequences_per_document, settings=SETTINGS):
    """The halves and draws of documents of these many sequences."""
    documents = np.repeat(
        np.arange(len(sequences_per_document)), np.array(sequences_per_document) * POSITIONS
    )
    halves = make_halves(documents, {"token": np.arange(len(documents)) % 5}, positions=POSITIONS)
    return halves, make_draws(halves, settings)


# The first document goes to D1, the second to D2.
LONG_IN_D1 = [5, 2, *[1] * 30]
LONG_IN_D2 = [2, 5, *[1] * 30]


@pytest.mark.parametrize("sizes", [LONG_IN_D1, LONG_IN_D2, [*LONG_IN_D1, 1], [*LONG_IN_D2, 1]])
def test_shifts_are_admissible_in_both_halves_cut_to_the_shorter(sizes):
    halves, draws = draws_of(sizes)
    shorter = min(half.n_sequences for half in halves)
    assert 0.9 * shorter < draws.n_sequences <= shorter
    assert scipy.fft.next_fast_len(draws.n_sequences, real=True) == draws.n_sequences
    assert draws.shifts.tolist() == list(range(5, draws.n_sequences - 5 + 1))
    for half in halves:
        documents = half.documents[:: half.positions][: draws.n_sequences]
        for shift in draws.shifts:
            assert (documents != np.roll(documents, -shift)).all()


@pytest.mark.parametrize(("sizes", "longest"), [(LONG_IN_D1, 5), (LONG_IN_D2, 2)])
def test_selection_shifts_are_those_admissible_on_the_match_half(sizes, longest):
    (first, _), draws = draws_of([*sizes, 1])
    assert sorted(draws.selection_shifts) == list(range(longest, first.n_sequences - longest + 1))


@pytest.mark.parametrize("sizes", [[20, *[1] * 20], [1, 20, *[1] * 18]])
@pytest.mark.parametrize("floors", [(5, 0.0), (0, 4.0)])
def test_one_half_with_few_documents_or_few_effective_ones_gives_no_bootstrap(sizes, floors):
    few = SETTINGS._replace(min_documents=floors[0], min_effective_documents=floors[1])
    halves, draws = draws_of(sizes, few)
    assert sorted(len(half.rows_per_document) for half in halves)[0] < 5
    assert [len(weights) for weights in draws.weights] == [0, 0]
    _, draws = draws_of([1] * 20, few)
    assert [weights.shape for weights in draws.weights] == [(10, 10), (10, 10)]


def test_many_documents_of_which_one_is_most_of_the_text_give_no_bootstrap():
    halves, draws = draws_of([40, *[1] * 90])
    assert min(len(half.rows_per_document) for half in halves) >= 5
    assert not len(draws.weights[0])


def test_draws_do_not_depend_on_the_latents_nor_on_how_many_are_asked():
    _, few = draws_of([1] * 60, SETTINGS._replace(null_draws=7, bootstrap_draws=4))
    _, many = draws_of([1] * 60)
    assert few.selection_shifts.tolist() == many.selection_shifts[:7].tolist()
    assert all((x == y[:4]).all() for x, y in zip(few.weights, many.weights, strict=True))


def test_a_wider_search_serves_a_narrower_one_with_the_partners_asked_for():
    data = streams(seed=0, shared=5)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    sides = [prepare_layer(side, halves, floors=FLOORS) for side in (data.a, data.b)]
    searched = []

    def search(a, b, evidence, *, top_m, shift=0):
        searched.append(top_m)
        return candidates(a, b, evidence, top_m=top_m, shift=shift)

    pair = LayerPair(*sides, make_draws(halves, SETTINGS), 0.5, search=search)
    evidence = Evidence("pearson", "token")
    wide, narrow = (pair.candidates(0, evidence, top_m=m) for m in (7, 2))
    assert searched == [7]
    fresh = candidates(sides[0].halves[0], sides[1].halves[0], evidence, top_m=2)
    for found, expected, all_of_them in zip(narrow, fresh, wide, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert all_of_them.shape[1] == 7
    pair.candidates(1, evidence, top_m=1)
    pair.candidates(0, Evidence("phi", "token"), top_m=1)
    assert searched == [7, 1, 1]


@pytest.mark.parametrize(
    ("matchings", "said"),
    [
        ({}, ()),
        ({"both": (4.0, True)}, ("assignment_gap<=2.5e-01",)),
        ({"both": (3.0, True)}, ()),
        ({"both": (3.00001, True)}, ("assignment_gap<=3.3e-06",)),
        ({"both": (None, False)}, ("not_converged",)),
        ({"a_to_b": (None, True), "b_to_a": (None, True)}, ()),
    ],
)
def test_how_far_matches_may_be_from_the_best_is_said(matchings, said):
    data = streams(seed=0)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    side = prepare_layer(data.a, halves, floors=FLOORS)
    matches = {
        direction: Matching(np.arange(3), np.arange(3), np.ones(3), bound, converged)
        for direction, (bound, converged) in matchings.items()
    }
    assert LayerPair(side, side, make_draws(halves, SETTINGS), 0.5, matches).match_flags == said
