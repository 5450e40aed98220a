"""How many planted partners each alignment finds, and how many of its pairs are no partners."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from benchmarks.recovery_data import Streams, StreamSettings, make_streams
from saeuniv.alignments import ALIGNMENTS, AlignmentMethod
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Condition, Eligibility, Nulls
from saeuniv.matching import align
from saeuniv.metrics.layer_pair import LayerPair, make_draws
from saeuniv.numerics.latents import prepare_layer
from saeuniv.numerics.rows import make_halves

SETTINGS = CompareSettings(
    eligibility=Eligibility(min_firings=10),
    nulls=Nulls(draws=1, shuffle_draws=0),
    bootstrap=Bootstrap(draws=0),
)
CONDITIONS = (Condition.token, Condition.none)


class Score(NamedTuple):
    """One alignment on one pair of streams, against the planted partners."""

    sweep: str
    """overlap, tokens or rate: what `at` is a value of"""

    at: float
    """overlap, rows, or the geometric middle of a bin of firing rates"""

    alignment: str
    condition: str
    seed: int
    pairs: int
    """Pairs the alignment made, of both directions where it has two"""

    planted: int
    """Partners there are, times the directions"""

    right: int
    """Pairs that are partners"""

    trapped: int
    """Token latents paired with one of the same token"""

    traps: int
    """Token latents of A, times the directions"""

    @property
    def precision(self) -> float | None:
        """Share of the pairs that are partners; None without a pair. 0 wherever nothing is planted."""
        return self.right / self.pairs if self.pairs else None

    @property
    def recall(self) -> float | None:
        """Share of the partners that are found, ineligible ones counted as missed; None where none are."""
        return self.right / self.planted if self.planted else None

    @property
    def fooled(self) -> float | None:
        """Share of the token latents paired with one of the same token; None where there are none."""
        return self.trapped / self.traps if self.traps else None


def methods() -> tuple[type[AlignmentMethod], ...]:
    """The alignments that read tokens."""
    return tuple(method for method in ALIGNMENTS if getattr(method, "reads", "tokens") == "tokens")


def overlap_scores(
    base: StreamSettings, overlaps: Sequence[float], rate_edges: Sequence[float]
) -> Iterator[Score]:
    """Scores over overlap, and over bins of the firing rate at the base settings' own overlap."""
    for overlap in overlaps:
        streams = make_streams(dataclasses.replace(base, overlap=overlap))
        for alignment, found in aligned(streams):
            yield score(streams, alignment, found, sweep="overlap", at=overlap, seed=base.seed)
            if overlap != base.overlap:
                continue
            for low, high in pairwise(rate_edges):
                inside = (streams.rate >= low) & (streams.rate < high)
                at = float(np.sqrt(low * high))
                yield score(streams, alignment, found, sweep="rate", at=at, seed=base.seed, inside=inside)


def token_scores(base: StreamSettings, rows: Sequence[int]) -> Iterator[Score]:
    """Scores over the number of rows: the first ones of the same streams."""
    streams = make_streams(dataclasses.replace(base, rows=max(rows)))
    for count in rows:
        part = streams.first(count)
        for alignment, found in aligned(part):
            yield score(part, alignment, found, sweep="tokens", at=count, seed=base.seed)


def aligned(streams: Streams) -> Iterator[tuple[AlignmentMethod, list[np.ndarray]]]:
    """Each alignment with the latents of A and B it pairs on the match half: (pairs, 2) in each direction."""
    halves = make_halves(streams.documents, streams.groups, positions=streams.positions)
    a, b = (prepare_layer(side, halves, floors=SETTINGS.floors) for side in (streams.a, streams.b))
    pair = LayerPair(a, b, make_draws(halves, SETTINGS.draws), SETTINGS.eligibility.min_df_share)
    eligible_a, eligible_b = (np.flatnonzero(side.eligibility.eligible) for side in (a, b))
    for method in methods():
        for condition in CONDITIONS:
            alignment = method(condition=condition)
            yield (
                alignment,
                [
                    np.stack([eligible_a[each.index_a], eligible_b[each.index_b]], axis=1)
                    for each in align(pair, alignment).values()
                ],
            )


def score(
    streams: Streams,
    alignment: AlignmentMethod,
    directions: list[np.ndarray],
    *,
    sweep: str,
    at: float,
    seed: int,
    inside: np.ndarray | None = None,
) -> Score:
    """Pairs against the planted partners; `inside`: of these latents of A alone."""
    counted = np.ones(len(streams.partner), bool) if inside is None else inside
    # Where nothing is eligible there is no direction, and everything planted is missed once.
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *directions])
    pairs = pairs[counted[pairs[:, 0]]]
    times = max(len(directions), 1)
    token = streams.token_a[pairs[:, 0]]
    return Score(
        sweep=sweep,
        at=at,
        alignment=alignment.name,
        condition=alignment.condition.value,
        seed=seed,
        pairs=len(pairs),
        planted=times * int((streams.partner[counted] >= 0).sum()),
        right=int((streams.partner[pairs[:, 0]] == pairs[:, 1]).sum()),
        trapped=int((token[token >= 0] == streams.token_b[pairs[token >= 0, 1]]).sum()),
        traps=times * int((streams.token_a[counted] >= 0).sum()),
    )
