"""What a metric is given: two prepared layers, their matches, and the draws all layer pairs share."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.assignment import Matching, assignment_gap
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.correlation import CandidateSearch, Evidence, candidates
from saeuniv.numerics.latents import HalfLatents, PreparedLayer
from saeuniv.numerics.nulls import admissible_shifts, draw_shifts, within_group_shuffle
from saeuniv.numerics.rows import Half
from saeuniv.numerics.semantic import RowWords
from saeuniv.numerics.statistics import document_weights, effective_documents
from saeuniv.numerics.token_grams import TokenGrams

# A gap that is not spoken of: the best assignment but for the last digits of its prices.
_PROVEN = 1e-6

WHOLE = 2
"""Both halves as one, where a half is asked for by its number (0: D1, 1: D2)."""

Matches = Mapping[str, Matching]
"""Matchings by direction: a_to_b and b_to_a, or both."""


Latents = Int[np.ndarray, " _"]

LatentPairs = tuple[Latents, Latents]
"""Latents of A and of B, paired by place."""

Drawn = Mapping[str, tuple[LatentPairs, ...]]
"""Pairs by draw, by the null's name."""


class Draws(NamedTuple):
    """Random draws shared by all metrics, layer pairs and the control, so that differences pair up."""

    n_sequences: int
    """Sequences of each half that the document shift uses: those of the shorter half, or a few less."""

    shifts: Int[np.ndarray, " shifts"]
    """Every admissible document shift."""

    selection_shifts: Int[np.ndarray, " draws"]
    """Shifts of the match half that are matched again."""

    shuffles: tuple[tuple[Int[np.ndarray, " rows"], ...], ...]
    """Within-token shuffles, one permutation a half, by draw."""

    permutation_seed: int
    n_permutations: int

    weights: tuple[Float[np.ndarray, "draws documents_1"], Float[np.ndarray, "draws documents_2"]]
    """Bootstrap weights of the documents of each half; no draws where there are too few documents."""


class DrawSettings(NamedTuple):
    """How many draws, and from which seeds."""

    nulls_seed: int
    null_draws: int
    shuffle_draws: int
    bootstrap_seed: int
    bootstrap_draws: int
    min_documents: int
    """Documents per half below which there is no interval."""

    min_effective_documents: float


def make_draws(halves: tuple[Half, Half], settings: DrawSettings) -> Draws:
    """The draws for these rows; draw r depends on the seeds and r alone."""
    import scipy.fft  # .2 s, which commands that compute nothing would wait for

    # A length without large prime factors: transforms of others take several times as long.
    n_sequences = scipy.fft.prev_fast_len(min(half.n_sequences for half in halves), real=True)
    longest = max(half.longest_document for half in halves)
    own = admissible_shifts(halves[0].n_sequences, halves[0].longest_document)
    documents = [half.rows_per_document for half in halves]
    enough = all(
        len(rows) >= settings.min_documents and effective_documents(rows) >= settings.min_effective_documents
        for rows in documents
    )
    weights = document_weights(
        (len(documents[0]), len(documents[1])),
        draws=settings.bootstrap_draws if enough else 0,
        seed=settings.bootstrap_seed,
    )
    return Draws(
        n_sequences=n_sequences,
        shifts=admissible_shifts(n_sequences, longest),
        selection_shifts=draw_shifts(own, draws=settings.null_draws, seed=settings.nulls_seed),
        shuffles=tuple(
            tuple(within_group_shuffle(half, "token", draw=r, seed=settings.nulls_seed) for half in halves)
            for r in range(settings.shuffle_draws)
        ),
        permutation_seed=settings.nulls_seed,
        n_permutations=settings.null_draws,
        weights=weights,
    )


@dataclass(frozen=True)
class LayerPair:
    """One layer of A and one of B on the same rows."""

    a: PreparedLayer
    b: PreparedLayer
    draws: Draws
    min_df_share: float
    matches: Matches = field(default_factory=dict[str, Matching])
    """The alignment's pairs, chosen on the match half D1."""

    null_matches: Mapping[str, tuple[Matches, ...]] = field(default_factory=dict[str, tuple[Matches, ...]])
    """The same alignment on broken pairings of D1, by the null's name, one a draw."""

    null_reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why a null was not drawn, by its name."""

    search: CandidateSearch = candidates
    """How candidates are found: the sparse kernel, or an engine of the same answers for a GPU."""

    token_text: Sequence[str] | None = field(default=None, repr=False)
    """The token of each row of both halves, as text of side A; there for metrics with `needs_token_text`."""

    words: RowWords | None = field(default=None, repr=False)
    """The word of each row of both halves, in the text of side A; there for metrics with `needs_words`."""

    _candidates: dict[tuple[int, Evidence], Candidates] = field(
        default_factory=dict[tuple[int, Evidence], Candidates], repr=False
    )

    token_grams: dict[str, tuple[tuple[TokenGrams, TokenGrams], ...]] = field(
        default_factory=dict[str, tuple[tuple[TokenGrams, TokenGrams], ...]], repr=False
    )
    """Grams of both halves, observed and shifted, by condition; `metrics.token_grams` keeps them here."""

    drawn_pairs: dict[Hashable, Drawn] = field(default_factory=dict[Hashable, Drawn], repr=False)
    """Pairs of the draws of a category of words, by how they are made; `metrics.semantic` keeps them here."""

    @property
    def why_unmatched(self) -> str:
        """Why the alignment made no pairs; empty where it was asked and made them."""
        if self.matches:
            return ""
        return next(filter(None, self.null_reasons.values()), "no_eligible_latents")

    @property
    def match_flags(self) -> tuple[str, ...]:
        """How far the matches may be from the best, and whether the method that made them came to an end."""
        gaps = [gap for each in self.matches.values() if (gap := assignment_gap(each) or 0.0) >= _PROVEN]
        unfinished = not all(each.converged for each in self.matches.values())
        return (
            *([f"assignment_gap<={max(gaps):.1e}"] if gaps else []),
            *(["not_converged"] if unfinished else []),
        )

    def sides(self, half: int) -> tuple[HalfLatents, HalfLatents]:
        """Latents of A and of B on a half (0: D1, 1: D2) or `WHOLE`."""
        if half == WHOLE:
            return self.a.whole, self.b.whole
        return self.a.halves[half], self.b.halves[half]

    def candidates(self, half: int, evidence: Evidence, *, top_m: int) -> Candidates:
        """`top_m` partners of every latent on a half, or on `WHOLE`; a wider search is used again."""
        found = self._candidates.get((half, evidence))
        if found is None or found.index_a.shape[1] < top_m:
            found = self.search(*self.sides(half), evidence, top_m=top_m)
            self._candidates[half, evidence] = found
        return found.first(top_m)

    def undefined(self, condition: str) -> str:
        """Why no correlation given `condition` is defined here; empty where it is."""
        if not (self.a.n_eligible and self.b.n_eligible):
            return "no_eligible_latents"
        shares = [half.half.groups[condition].df_share for half in self.a.halves]
        if condition != "none" and (min(shares) < self.min_df_share or min(shares) == 0):
            return "few_degrees_of_freedom"
        return ""
