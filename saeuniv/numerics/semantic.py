"""Latents that belong to a category of words, and random sets of latents and of words beside them.

A latent belongs to a category where enough of the rows on which it is most active are words of it (Lan et
al. 2024, arXiv 2410.06981, section 4.3; the words are told as docs/methods.md says).
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from saeuniv.numerics.latents import HalfLatents
from saeuniv.numerics.random_subsets import rate_matched_subsets

# Bins of frequency: a factor of 1.8 wide.
_BINS_PER_DECADE = 4

_POSSESSIVE = re.compile(r"['\u2019]s$")


class RowWords(NamedTuple):
    """The word that the token of each row is a part of."""

    ids: Int[np.ndarray, " rows"]
    """Place of the word in `vocabulary`."""

    vocabulary: tuple[str, ...]
    """Every word that occurs, as it is written; the empty one for tokens without a letter."""


def row_words(words: Sequence[str]) -> RowWords:
    """The words of rows as numbers; `'s` at the end of a word is none of it."""
    found, ids = np.unique(
        np.array([_POSSESSIVE.sub("", each) for each in words], dtype=object), return_inverse=True
    )
    return RowWords(ids, tuple(found))


def words_in(vocabulary: Sequence[str], category: Collection[str]) -> Bool[np.ndarray, " vocabulary"]:
    """Which words are of a category: those in small letters however written, others (May, UK) as they are."""
    small = {each for each in category if each.islower()}
    exact = set(category) - small
    return np.array([each.lower() in small or each in exact for each in vocabulary], bool)


def latents_of_words(
    latents: HalfLatents,
    words: RowWords,
    chosen: Bool[np.ndarray, " vocabulary"],
    *,
    n_peaks: int,
    least: int,
) -> Int[np.ndarray, " found"]:
    """The latents of whose `n_peaks` most active rows at least `least` are of the chosen words; ascending.

    Args:
        latents: on some rows.
        words: of all rows, those of other halves included.
        chosen: words of `words.vocabulary`.
        n_peaks: rows that are looked at; a latent that fires on fewer has fewer.
        least: how many of these are to be chosen words.
    """
    peaks = latents.peaks(n_peaks)
    if not peaks.size:
        return np.empty(0, np.int64)
    is_of = chosen[words.ids[latents.half.rows]]
    return np.flatnonzero((is_of[peaks] & (peaks >= 0)).sum(1) >= least)


def random_words(
    words: RowWords, chosen: Bool[np.ndarray, " vocabulary"], *, draws: int, seed: int
) -> Bool[np.ndarray, "draws vocabulary"]:
    """As many random words as chosen ones, as frequent as these; draw r comes from (seed, r).

    They may be chosen ones again, which makes the chosen words and the draws exchangeable.
    """
    rates = np.bincount(words.ids, minlength=len(words.vocabulary)) / max(len(words.ids), 1)
    rates[[place for place, word in enumerate(words.vocabulary) if not word]] = 0.0
    subsets = rate_matched_subsets(
        rates,
        np.flatnonzero(chosen),
        bins_per_decade=_BINS_PER_DECADE,
        exclude_target=False,
        draws=draws,
        seed=seed,
    )
    drawn = np.zeros((draws, len(rates)), bool)
    np.put_along_axis(drawn, subsets, values=True, axis=1)
    return drawn


def random_latents(
    latents: HalfLatents, target: Int[np.ndarray, " chosen"], *, draws: int, seed: int
) -> Int[np.ndarray, "draws chosen"]:
    """Random latents of one side, as many and as often active as the target, of which some may be."""
    rates = np.diff(latents.matrix.indptr) / latents.matrix.shape[0]
    return rate_matched_subsets(
        rates, target, bins_per_decade=_BINS_PER_DECADE, exclude_target=False, draws=draws, seed=seed
    )
