"""Pearson's r of the alignment's pairs on documents the alignment did not see."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from saeuniv.metrics.base import DOCUMENT_SHIFT, WITHIN_TOKEN_SHUFFLE, Measurement, MetricMethod, undefined
from saeuniv.metrics.held_out import average, score
from saeuniv.metrics.layer_pair import LayerPair, Matches
from saeuniv.numerics.correlation import pair_correlations


@dataclass
class MatchedCorrelation(MetricMethod):
    """Mean over the matches of r on D2, in [-1, 1]; raw, so token identity is in it."""

    name: ClassVar[str] = "matched_correlation"
    space: ClassVar[str] = "tokens"
    primary_null: ClassVar[str] = DOCUMENT_SHIFT
    aligned: ClassVar[bool] = True
    needs_nulls: ClassVar[tuple[str, ...]] = (WITHIN_TOKEN_SHUFFLE,)

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The value in the alignment's directions and their mean; N3c as decomposition."""
        if reason := pair.why_unmatched:
            return undefined(reason, ("both",))
        if not all(len(matching.index_a) for matching in pair.matches.values()):
            return undefined("too_few_matches", tuple(dict.fromkeys((*pair.matches, "both"))))
        scored = {
            direction: score(pair, matching, 1, "none", _alike(len(matching.index_a)), null=True)
            for direction, matching in pair.matches.items()
        }
        directed = [
            average(direction, [each], pair.draws, null=True)
            for direction, each in scored.items()
            if direction != "both"
        ]
        both = average("both", list(scored.values()), pair.draws, null=True)
        if matched := pair.null_matches.get(WITHIN_TOKEN_SHUFFLE):
            drawn = [_shuffled_value(pair, draw, matches) for draw, matches in enumerate(matched)]
            both = both._replace(nulls={**both.nulls, WITHIN_TOKEN_SHUFFLE: np.array(drawn)})
        return tuple(each._replace(flags=pair.match_flags) for each in (*directed, both))


def _alike(n_pairs: int) -> Float[np.ndarray, " pairs"]:
    return np.full(n_pairs, 1.0 / n_pairs)


def _shuffled_value(pair: LayerPair, draw: int, matches: Matches) -> float:
    """The statistic when B's rows are shuffled within the token, in matching and evaluation alike."""
    a, b = pair.a.halves[1], pair.b.halves[1].permuted(pair.draws.shuffles[draw][1])
    means = [
        pair_correlations(a, b, matching.index_a, matching.index_b, "none").mean()
        for matching in matches.values()
        if len(matching.index_a)
    ]
    return float(np.mean(means)) if means else 0.0
