"""Chance-corrected top-k overlap: known answers, its chance in closed form, and sets as the oracle."""

import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.numerics.overlap import chance_overlap, corrected_overlaps, overlap, top_sets

K = 3


def latents(seed, rows=80, n=7, rate=0.4):
    rng = np.random.default_rng(seed)
    return rng.lognormal(size=(rows, n)) * (rng.random((rows, n)) < rate)


def sets_of(dense, k=K, columns=None, labels=None):
    columns = np.arange(dense.shape[1]) if columns is None else np.array(columns)
    labels = np.arange(len(columns)) if labels is None else np.array(labels)
    return top_sets(sp.csc_array(dense), columns, labels, k=k)


def slow_sets(dense, k=K, columns=None, labels=None):
    columns = range(dense.shape[1]) if columns is None else columns
    labels = range(len(columns)) if labels is None else labels
    rows = []
    for row in dense:
        active = [(-row[c], place) for place, c in enumerate(columns) if row[c] > 0]
        rows.append({labels[place] for _, place in sorted(active)[:k]})
    return rows


def slow_overlap(a, b, shift):
    pairs = [(a[t], b[(t + shift) % len(a)]) for t in range(len(a))]
    return 2 * sum(len(x & y) for x, y in pairs) / sum(len(x) + len(y) for x, y in pairs)


def listed(sets):
    return [set(sets.labels[i:j].tolist()) for i, j in zip(sets.starts[:-1], sets.starts[1:], strict=True)]


def at_zero(a, b):
    found = corrected_overlaps(a, b, np.zeros(1, np.int64))
    return None if found is None else found[0]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_sets_are_the_labels_of_the_k_most_active(k):
    x = latents(0)
    assert listed(sets_of(x, k)) == slow_sets(x, k)
    columns, labels = [5, 0, 3, 6], [2, 0, 1, 2]
    assert listed(sets_of(x, k, columns, labels)) == slow_sets(x, k, columns, labels)


def test_ties_go_to_the_earlier_column_and_stored_zeros_are_not_active():
    x = sp.csc_array(np.array([[2.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]]))
    x.data[x.indptr[1]] = 0.0
    columns = np.array([3, 1, 0, 2])
    sets = top_sets(x, columns, np.arange(4), k=2)
    assert listed(sets) == [{0, 2}, {0, 1}] and listed(sets.first_rows(1)) == [{0, 2}]
    assert listed(top_sets(x, columns, np.arange(4), k=4)) == [{0, 2, 3}, {0, 1, 2, 3}]


def test_equal_sets_score_one_whatever_the_scale_of_all_latents():
    x = latents(1)
    assert overlap(sets_of(x), sets_of(3 * x), shift=0) == 1.0
    assert at_zero(sets_of(x), sets_of(3 * x)) == pytest.approx(1.0)


def test_scaling_one_latent_changes_who_is_among_the_most_active():
    """The negative control: activations are compared as they are."""
    x = latents(1, n=20)
    assert at_zero(sets_of(x), sets_of(x * np.geomspace(1, 1e4, 20))) < 0.9


def test_the_order_of_pairs_plays_no_role():
    x, y = latents(2), latents(3)
    order = np.random.default_rng(4).permutation(7)
    assert at_zero(sets_of(x[:, order]), sets_of(y[:, order])) == pytest.approx(
        at_zero(sets_of(x), sets_of(y))
    )


@pytest.mark.parametrize("shift", [0, 1, 33, 79, -5])
def test_it_is_the_overlap_of_sets_counted_one_by_one(shift):
    x, y = latents(5), 0.5 * latents(5) + latents(6, rate=0.2)
    a, b = sets_of(x), sets_of(y)
    assert overlap(a, b, shift=shift) == pytest.approx(slow_overlap(slow_sets(x), slow_sets(y), shift))
    assert overlap(a, b, shift=shift) == overlap(b, a, shift=-shift)


def test_chance_is_the_mean_over_all_shifts_and_the_corrected_overlap_is_then_zero():
    a, b = sets_of(latents(7)), sets_of(latents(8) * np.geomspace(1, 5, 7))
    shifts = np.arange(80)
    assert np.mean([overlap(a, b, shift=int(s)) for s in shifts]) == pytest.approx(chance_overlap(a, b))
    assert corrected_overlaps(a, b, shifts).mean() == pytest.approx(0.0, abs=1e-12)


def test_unrelated_rows_of_unequal_rates_score_zero_on_average():
    rates = np.geomspace(0.02, 0.9, 12)
    drawn = [
        at_zero(sets_of(latents(2 * s, n=12, rate=rates)), sets_of(latents(2 * s + 1, n=12, rate=rates)))
        for s in range(150)
    ]
    plain = overlap(sets_of(latents(0, n=12, rate=rates)), sets_of(latents(1, n=12, rate=rates)), shift=0)
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / np.sqrt(150) and plain > 0.2


def test_sets_that_avoid_one_another_score_below_zero():
    x = np.tile(np.eye(2), (10, 1))
    assert at_zero(sets_of(x), sets_of(x[:, ::-1])) == pytest.approx(-1.0)


def test_no_entry_or_a_chance_of_one_leave_it_undefined():
    nothing = sets_of(np.zeros((6, 4)))
    assert overlap(nothing, nothing, shift=0) is None and chance_overlap(nothing, nothing) is None
    always = sets_of(np.ones((6, 2)))
    assert chance_overlap(always, always) == 1.0
    assert at_zero(nothing, nothing) is None and at_zero(always, always) is None
    assert at_zero(nothing, always) == 0.0


def test_bad_input_is_named_with_its_position():
    x = latents(9, rows=5)
    for arguments, message in (
        ({"k": 0}, "k=0: expected at least 1 latent"),
        ({"columns": [0, 7]}, r"columns: expected latents 0..6, got 7 at \[1\]"),
        ({"columns": [2, 2]}, "columns: expected each once, got 1 again"),
        ({"columns": [1, 2], "labels": [0, -1]}, r"labels: expected 0 or more, got -1 at \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            sets_of(x, **arguments)
    for wrong in (-1.0, np.nan):
        x[3, 2] = wrong
        with pytest.raises(ValueError, match=rf"latents: .* got {wrong} at \[3, 2\]"):
            sets_of(x)
    with pytest.raises(ValueError, match="b: expected 80 rows as in a, got 79"):
        overlap(sets_of(latents(0)), sets_of(latents(0, rows=79)), shift=0)
