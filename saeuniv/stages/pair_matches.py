"""The matches of a layer pair: as stored, and their correlations on both halves and by chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.alignments import ALIGNMENTS
from saeuniv.metrics.layer_pair import Matches
from saeuniv.numerics.assignment import Matching, max_similarity, max_similarity_backward
from saeuniv.numerics.correlation import Evidence, block_correlations, candidates, pair_correlations
from saeuniv.numerics.nulls import admissible_shifts
from saeuniv.stages.kept_layers import KeptLayer
from saeuniv.stages.scores import load_matches
from saeuniv.stages.stored import StoredPair
from saeuniv.store import Store

BEST_PARTNERS = "best partners"
"""The alignment's name where no metric asked for one, and partners are searched when they are looked at."""

_NAMES = {each.__name__: each.name for each in ALIGNMENTS}


class PairMatches(NamedTuple):
    """The matches of a layer pair, the largest correlation on the match half first."""

    latent_a: Int[np.ndarray, " matches"]
    """Number in the dictionary; latents of a group of layers read as one are numbered on."""

    latent_b: Int[np.ndarray, " matches"]
    place_a: Int[np.ndarray, " matches"]
    """Number among the latents that were compared (`KeptLayer`)."""

    place_b: Int[np.ndarray, " matches"]
    direction: tuple[str, ...]
    """a_to_b, b_to_a, or both: of a symmetric alignment, and of a match that either side made."""

    similarity: Float[np.ndarray, " matches"]
    """What the alignment saw; 0 for latents that it paired for want of others."""

    r: Float[np.ndarray, " matches"]
    """Pearson's r on the match half, in [-1, 1]: chosen there, and so too large."""

    r_held_out: Float[np.ndarray, " matches"]
    """The same on the evaluation half, which the choice did not see; 0 where a latent does not vary."""

    rate_a: Float[np.ndarray, " matches"]
    """Share of the rows compared on that the latent fires on."""

    rate_b: Float[np.ndarray, " matches"]
    condition: str
    """What rows share within which r is taken: token, or none for Pearson's r of all rows."""

    alignment: str
    """What made the matches: the alignment's name, or `best partners`."""


@dataclass(frozen=True)
class MatchedLayers:
    """Two layers of one comparison, whose matches are to be looked at."""

    store: Store
    pair: StoredPair
    a: KeptLayer
    b: KeptLayer

    @property
    def condition(self) -> str:
        """As the alignment has it; none where too few rows share their token."""
        alignment: Mapping[str, object] = self.pair.method.get("alignment") or {}
        condition = str(alignment.get("condition", "token"))
        shares = [half.half.groups[condition].df_share for half in self.a.halves]
        enough = min(shares) >= self.pair.min_df_share and min(shares) > 0
        return condition if condition == "none" or enough else "none"

    def matches(self) -> PairMatches:
        """The matches in the store; where no metric asked for an alignment, best partners of every latent.

        These are searched on the match half as `partial_correlation` does, both ways. Ties in r are in
        order of the latents.
        """
        found, alignment = self._matchings()
        place_a, place_b, direction, similarity = _united(found)
        r = self._r(0, place_a, place_b)
        order = np.lexsort((place_b, place_a, -r))
        place_a, place_b = place_a[order], place_b[order]
        return PairMatches(
            latent_a=self.a.numbers[place_a],
            latent_b=self.b.numbers[place_b],
            place_a=place_a,
            place_b=place_b,
            direction=tuple(direction[each] for each in order),
            similarity=similarity[order],
            r=r[order],
            r_held_out=self._r(1, place_a, place_b),
            rate_a=self.a.rates[place_a],
            rate_b=self.b.rates[place_b],
            condition=self.condition,
            alignment=alignment,
        )

    def shifted(self, matches: PairMatches) -> Float[np.ndarray, " matches"]:
        """The held-out r when B is shifted by whole sequences, so that no document meets itself.

        The shift is the middle one of those admissible; no values where there is none. As in the document
        shift of metrics, divided by the root of the degrees of freedom left per row.
        """
        a, b = self.a.halves[1], self.b.halves[1]
        half = a.half
        shifts = admissible_shifts(half.n_sequences, half.longest_document)
        if not len(shifts):
            return np.zeros(0)
        order = np.roll(np.arange(len(half.rows)), -int(shifts[len(shifts) // 2]) * half.positions)
        r = pair_correlations(a, b.permuted(order), matches.place_a, matches.place_b, matches.condition)
        return r / np.sqrt(half.groups[matches.condition].df_share)

    def block(
        self, matches: PairMatches, shown: Int[np.ndarray, " shown"]
    ) -> Float[np.ndarray, "shown shown"]:
        """The held-out r of the latents of A in some matches with those of B; the matches on the diagonal."""
        a, b = self.a.halves[1], self.b.halves[1]
        return block_correlations(a, b, matches.place_a[shown], matches.place_b[shown], self.condition)

    def _matchings(self) -> tuple[Matches, str]:
        if self.pair.matches is not None:
            drawn = load_matches(self.store.open(self.pair.matches))
            made_by = str(self.pair.method["alignment"]["type"])
            return (drawn[0] if drawn else {}), _NAMES.get(made_by, made_by)
        if not (len(self.a.numbers) and len(self.b.numbers)):
            return {}, BEST_PARTNERS
        evidence = Evidence("pearson", self.condition)
        found = candidates(self.a.halves[0], self.b.halves[0], evidence, top_m=1)
        both = {"a_to_b": max_similarity(found), "b_to_a": max_similarity_backward(found)}
        return both, BEST_PARTNERS

    def _r(
        self, half: int, place_a: Int[np.ndarray, " matches"], place_b: Int[np.ndarray, " matches"]
    ) -> Float[np.ndarray, " matches"]:
        return pair_correlations(self.a.halves[half], self.b.halves[half], place_a, place_b, self.condition)


class _United(NamedTuple):
    place_a: Int[np.ndarray, " matches"]
    place_b: Int[np.ndarray, " matches"]
    direction: tuple[str, ...]
    similarity: Float[np.ndarray, " matches"]


def _united(found: Matches) -> _United:
    """The pairs of all directions, each once."""
    pairs: dict[tuple[int, int], tuple[str, float]] = {}
    for direction, matching in found.items():
        for a, b, similarity in _rows(matching):
            known = (a, b) in pairs and pairs[a, b][0] != direction
            pairs[a, b] = ("both" if known else direction, similarity)
    places = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    directions = tuple(direction for direction, _ in pairs.values())
    return _United(
        places[:, 0], places[:, 1], directions, np.array([each for _, each in pairs.values()], dtype=float)
    )


def _rows(matching: Matching) -> list[tuple[int, int, float]]:
    columns = (matching.index_a, matching.index_b, matching.similarity)
    return list(zip(*(each.tolist() for each in columns), strict=True))
