import numpy as np
import pytest

from saeuniv.numerics import latents, nulls
from saeuniv.numerics.correlation import pair_correlations
from saeuniv.numerics.latents import Floors, HalfLatents, prepare_layer
from saeuniv.numerics.nulls import (
    admissible_shifts,
    draw_shifts,
    permutations,
    shifted_pair_correlations,
    within_group_shuffle,
)
from saeuniv.numerics.rows import make_halves
from tests.synthetic import streams

LOOSE = Floors(min_firings=1, max_rate=1.0, min_within_share=1e-9)


@pytest.fixture(scope="module")
def half_pair():
    data = streams(seed=1, shared=4, n_documents=40, n_latents=12)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=LOOSE).halves[0] for side in (data.a, data.b))
    return a, b


def test_no_admissible_shift_lets_a_sequence_meet_its_own_document():
    sequences = np.repeat(np.arange(12), [3, 1, 4, 2, 3, 3, 4, 1, 2, 3, 4, 2])
    for shift in admissible_shifts(len(sequences), 4):
        assert (sequences != np.roll(sequences, -shift)).all()
    assert (sequences == np.roll(sequences, -3)).any()


def shifted(a, b, index_a, index_b, n):
    """All blocks of pairs together."""
    found = shifted_pair_correlations(a, b, index_a, index_b, condition="token", n_sequences=n)
    return np.concatenate([np.empty((0, n)), *found])


@pytest.mark.parametrize("pairs_a_block", [1, 2, 100])
def test_all_shifts_of_fixed_matches_equal_rolling_the_residuals(half_pair, monkeypatch, pairs_a_block):
    a, b = half_pair
    rows = a.half.n_sequences * a.half.positions
    monkeypatch.setattr(nulls, "_BLOCK_BYTES", 32 * rows * pairs_a_block)
    index_a, index_b = np.array([0, 2, 5]), np.array([1, 1, 7])
    n = a.half.n_sequences
    labels = a.half.groups["token"].ids
    got = shifted(a, b, index_a, index_b, n)

    def unit(z):
        for label in np.unique(labels):
            z[labels == label] -= z[labels == label].mean(axis=0)
        return z / np.linalg.norm(z, axis=0)

    x, y = unit(a.matrix.toarray()), unit(b.matrix.toarray())
    for shift in (0, 1, 7, n - 3):
        moved = np.roll(y, -shift * a.half.positions, axis=0)
        expected = (x[:, index_a] * moved[:, index_b]).sum(axis=0)
        np.testing.assert_allclose(got[:, shift], expected, atol=1e-5)
    observed = pair_correlations(a, b, index_a, index_b, "token")
    np.testing.assert_allclose(got[:, 0], observed, atol=1e-5)


def test_spectra_that_are_too_large_to_keep_are_made_again_and_are_the_same(half_pair, monkeypatch):
    a, b = half_pair
    index, n = np.array([3, 0, 3]), a.half.n_sequences
    kept = shifted(a, b, index, index, n)
    monkeypatch.setattr(latents, "_KEPT_SPECTRUM_BYTES", 0)
    fresh = [HalfLatents(side.matrix, side.half) for side in half_pair]
    np.testing.assert_array_equal(shifted(*fresh, index, index, n), kept)
    assert fresh[0].nbytes < a.nbytes


def test_a_half_is_cut_to_the_sequences_of_the_shorter_one(half_pair):
    a, b = half_pair
    index, n = np.array([1, 4]), a.half.n_sequences - 3
    rows, labels = n * a.half.positions, a.half.groups["token"].ids
    x, y = (side.matrix.toarray()[:, index] for side in (a, b))
    for z in (x, y):
        for label in np.unique(labels):
            z[labels == label] -= z[labels == label].mean(axis=0)
        z /= np.linalg.norm(z, axis=0)
    moved = np.roll(y[:rows], -2 * a.half.positions, axis=0)
    expected = (x[:rows] * moved).sum(axis=0)
    np.testing.assert_allclose(shifted(a, b, index, index, n)[:, 2], expected, atol=1e-5)


def test_no_pairs_give_no_null(half_pair):
    a, b = half_pair
    none = np.array([], dtype=np.int64)
    assert shifted(a, b, none, none, 10).shape == (0, 10)


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
