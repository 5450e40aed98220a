"""Words of rows, the latents that peak on them, and random words and latents beside them."""

import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.peaks import peak_rows
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.semantic import latents_of_words, random_latents, random_words, row_words, words_in


def first_half(latents: np.ndarray, documents: np.ndarray) -> HalfLatents:
    half, _ = make_halves(documents, {"token": np.zeros(len(documents), np.int64)}, positions=1)
    return HalfLatents(sp.csc_array(latents[half.rows]), half)


def test_peaks_are_the_largest_activations_and_of_equal_ones_the_first():
    columns = np.array([[1.0, 5, 3, 5, 0, 2], [0, 0, 0, 4, 0, 0], [0, 0, 0, 0, 0, 0]]).T
    found = peak_rows(sp.csc_array(columns), 3)
    np.testing.assert_array_equal(found, [[1, 3, 2], [3, -1, -1], [-1, -1, -1]])


def test_peaks_are_those_of_a_sort():
    rng = np.random.default_rng(0)
    columns = np.round(rng.random((200, 12)) * (rng.random((200, 12)) < 0.2), 1)
    found = peak_rows(sp.csc_array(columns), 5)
    for latent, column in enumerate(columns.T):
        expected = [row for row in np.argsort(-column, kind="stable")[:5] if column[row] > 0]
        assert [each for each in found[latent] if each >= 0] == expected


def test_small_letters_match_however_written_and_others_as_they_are():
    vocabulary = ["May", "may", "MAY", "Joy", "JOY", "joy", "UK", "uk", ""]
    found = words_in(vocabulary, ["May", "joy", "UK"])
    assert [each for each, is_in in zip(vocabulary, found, strict=True) if is_in] == [
        *("May", "Joy", "JOY", "joy", "UK")
    ]


def test_a_possessive_counts_as_its_word():
    words = row_words(["king's", "king", "", "kings", "king\u2019s"])
    assert words.vocabulary == ("", "king", "kings")
    np.testing.assert_array_equal(words.ids, [1, 1, 0, 2, 1])


def test_a_latent_is_of_a_category_where_enough_of_its_peaks_are():
    documents = np.repeat([0, 1], 6)
    words = row_words(["joy", "fear", "cat", "dog", "cat", "dog", "joy", "joy", "joy", "joy", "joy", "joy"])
    latents = np.zeros((12, 4))
    latents[:6, 0] = [3, 2, 1, 0, 0, 0]  # two of three peaks
    latents[:6, 1] = [0, 1, 2, 3, 0, 0]  # one
    latents[:6, 2] = [0, 0, 0, 0, 1, 1]  # none
    latents[6:, 3] = 1  # on the other half alone
    half = first_half(latents, documents)
    chosen = words_in(words.vocabulary, ["joy", "fear"])
    for least, expected in ((1, [0, 1]), (2, [0]), (3, [])):
        found = latents_of_words(half, words, chosen, n_peaks=3, least=least)
        np.testing.assert_array_equal(found, expected)


def test_random_words_are_as_many_as_frequent_and_never_none():
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, 301)
    drawn = rng.choice(301, 40_000, p=np.r_[0.2, 0.8 * weights / weights.sum()])
    words = row_words([f"w{'x' * (each // 26)}{chr(97 + each % 26)}" if each else "" for each in drawn])
    chosen = np.zeros(len(words.vocabulary), bool)
    chosen[rng.choice(np.arange(1, len(chosen)), 40, replace=False)] = True
    found = random_words(words, chosen, draws=50, seed=3)
    assert (found.sum(1) == 40).all() and not found[:, words.vocabulary.index("")].any()
    counts = np.bincount(words.ids)
    # Of the same bins, a factor of 1.8 wide: counts agree to within it, and on average much better.
    totals = (found * counts).sum(1) / counts[chosen].sum()
    assert totals.min() > 1 / 1.8 and totals.max() < 1.8 and totals.mean() == pytest.approx(1, abs=0.15)
    np.testing.assert_array_equal(random_words(words, chosen, draws=5, seed=3), found[:5])


def test_random_latents_are_as_many_and_as_often_active():
    rng = np.random.default_rng(2)
    rates = 10.0 ** rng.uniform(-2.5, -0.5, 300)
    half = first_half((rng.random((4000, 300)) < rates) * 1.0, np.repeat([0, 1], 2000))
    target = np.argsort(rates)[-30:]
    found = random_latents(half, target, draws=40, seed=0)
    assert found.shape == (40, 30) and all(len(set(each)) == 30 for each in found.tolist())
    means = rates[found].mean(1)
    assert np.abs(means / rates[target].mean() - 1).max() < 0.5
