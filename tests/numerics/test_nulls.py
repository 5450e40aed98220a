import tracemalloc

import numpy as np
import pytest

from saeuniv.numerics.correlation import products, within_group_correlation
from saeuniv.numerics.latents import Floors, HalfLatents, prepare_layer
from saeuniv.numerics.nulls import (
    admissible_shifts,
    draw_shifts,
    fixed_match_shifts,
    permutations,
    shifted_correlations,
    shifted_correlations_bytes,
    within_group_shuffle,
)
from saeuniv.numerics.rows import make_halves
from tests.synthetic import dense_partial, streams

LOOSE = Floors(min_firings=1, max_rate=1.0, min_within_share=1e-9)


@pytest.fixture(scope="module")
def half_pair():
    data = streams(seed=1, shared=4, n_documents=40, n_latents=12)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=LOOSE).halves[0] for side in (data.a, data.b))
    return a, b


def rolled(latents: HalfLatents, shift: int) -> np.ndarray:
    """Row q of the result is row q + shift: what A's row q meets."""
    return np.roll(latents.matrix.toarray(), -shift * latents.half.positions, axis=0)


def test_no_admissible_shift_lets_a_sequence_meet_its_own_document():
    sequences = np.repeat(np.arange(12), [3, 1, 4, 2, 3, 3, 4, 1, 2, 3, 4, 2])
    for shift in admissible_shifts(len(sequences), 4):
        assert (sequences != np.roll(sequences, -shift)).all()
    assert (sequences == np.roll(sequences, -3)).any()


def test_all_shifts_of_a_fixed_match_equal_rolling_the_residuals(half_pair):
    a, b = half_pair
    index_a, index_b = np.array([0, 2, 5]), np.array([1, 1, 7])
    n = a.half.n_sequences
    labels = a.half.groups["token"].ids
    got = fixed_match_shifts(a, b, index_a, index_b, condition="token", n_sequences=n)

    def unit(z):
        for label in np.unique(labels):
            z[labels == label] -= z[labels == label].mean(axis=0)
        return z / np.linalg.norm(z, axis=0)

    x, y = unit(a.matrix.toarray()), unit(b.matrix.toarray())
    for shift in (0, 1, 7, n - 3):
        moved = np.roll(y, -shift * a.half.positions, axis=0)
        expected = (x[:, index_a] * moved[:, index_b]).sum()
        assert got[shift] == pytest.approx(expected, abs=1e-5)
    observed = within_group_correlation(a, b, "token", products(a, b))[index_a, index_b].sum()
    assert got[0] == pytest.approx(observed, abs=1e-5)


def test_no_pairs_give_a_null_of_zeros(half_pair):
    a, b = half_pair
    none = np.array([], dtype=np.int64)
    assert not fixed_match_shifts(a, b, none, none, condition="token", n_sequences=10).any()


@pytest.mark.parametrize("condition", ["none", "token"])
def test_shifted_correlations_equal_the_definition_under_the_labels_of_a(half_pair, condition):
    a, b = half_pair
    shifts = np.array([5, 11, 20])
    labels = a.half.groups[condition].ids
    for shift, got in zip(shifts, shifted_correlations(a, b, shifts, condition=condition), strict=True):
        expected = dense_partial(a.matrix.toarray(), rolled(b, shift), labels)
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_the_memory_of_shifted_correlations_is_foreseen(half_pair):
    a, b = half_pair
    shifts = np.array([5])
    for condition in ("token", "token_trigram"):
        next(iter(shifted_correlations(a, b, shifts, condition=condition)))
        # B's spectrum is kept for its other pairs: only what one pair needs is foreseen.
        tracemalloc.start()
        next(iter(shifted_correlations(a, b, shifts, condition=condition)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        foreseen = shifted_correlations_bytes(a, b, condition=condition)
        assert 0.5 * foreseen < peak < 1.3 * foreseen, condition


def test_draws_are_without_replacement_and_do_not_depend_on_how_many_are_asked():
    admissible = np.arange(10, 40)
    many = draw_shifts(admissible, draws=30, seed=3)
    assert sorted(many) == sorted(admissible)
    assert draw_shifts(admissible, draws=7, seed=3).tolist() == many[:7].tolist()
    assert draw_shifts(admissible, draws=7, seed=4).tolist() != many[:7].tolist()
    assert len(draw_shifts(admissible, draws=99, seed=3)) == 30


def test_permutations_are_the_same_for_equal_seeds():
    first, second = (list(permutations(20, draws=3, seed=5)) for _ in range(2))
    assert all((x == y).all() for x, y in zip(first, second, strict=True))
    assert (first[0] != first[1]).any() and sorted(first[0]) == list(range(20))


def test_the_within_token_shuffle_moves_rows_only_within_their_token(half_pair):
    half = half_pair[0].half
    permutation = within_group_shuffle(half, "token", draw=2, seed=0)
    ids = half.groups["token"].ids
    assert sorted(permutation) == list(range(len(ids)))
    assert (ids[permutation] == ids).all()
    assert (permutation != np.arange(len(ids))).mean() > 0.8
    assert (within_group_shuffle(half, "token", draw=2, seed=0) == permutation).all()
    assert (within_group_shuffle(half, "token", draw=3, seed=0) != permutation).any()
