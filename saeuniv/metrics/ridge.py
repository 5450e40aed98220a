"""How well one side's features are predicted linearly from the other's, on what was held out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from saeuniv.config import Condition, require_option
from saeuniv.metrics.base import DIRECTIONS, Found, Measurement, undefined
from saeuniv.metrics.decoder_metric import DecoderMetric, Directions, Permutation
from saeuniv.metrics.layer_pair import LayerPair, Matches
from saeuniv.metrics.token_grams import Halves, TokenMetric
from saeuniv.numerics.predictivity import RidgeFold, cross_fitted_r2, held_out_r2, ridge_folds


@dataclass
class RidgePredictivity(TokenMetric):
    """Cross-fitted R^2 of all latents of one side from all of the other; given the token, partial R^2.

    Fitted on one half of the documents and judged on the other, both in turn. a_to_b predicts B. Its p is
    conservative: what chance costs a prediction is more where documents begin and end together than under a
    shift (mean p .59 over 100 pairs of unrelated latents).
    """

    name: ClassVar[str] = "ridge_predictivity"
    directions: ClassVar[tuple[str, ...]] = DIRECTIONS

    relative_penalty: float = 0.1
    """Ridge penalty in units of the mean eigenvalue of the predictors' covariance."""

    def __post_init__(self) -> None:
        """Refuse a penalty that is not positive."""
        _check_penalty(self.name, self.relative_penalty)

    def statistic(self, halves: Halves) -> Mapping[str, Found]:
        """R^2 from A to B, from B to A, and their mean."""
        forward = self._r2(halves)
        backward = self._r2((halves[0].exchanged(), halves[1].exchanged()))
        both = None if forward is None or backward is None else (forward + backward) / 2
        return {"a_to_b": Found(forward), "b_to_a": Found(backward), "both": Found(both)}

    def _r2(self, halves: Halves) -> float | None:
        values = [
            cross_fitted_r2(
                fit,
                evaluation,
                relative_penalty=self.relative_penalty,
                about_fit_mean=self.condition is Condition.none,
            )
            for fit, evaluation in (halves, halves[::-1])
        ]
        defined = [value for value in values if value is not None]
        return float(np.mean(defined)) if len(defined) == len(values) else None


@dataclass(frozen=True)
class Predictors:
    """Directions of one side, and the regressions on them, which only the predicting side makes."""

    rows: Directions
    n_folds: int
    relative_penalty: float

    @cached_property
    def folds(self) -> tuple[RidgeFold, ...]:
        """A regression a fold, waiting for targets."""
        return ridge_folds(self.rows, folds=self.n_folds, relative_penalty=self.relative_penalty)


@dataclass
class RidgeDecoder(DecoderMetric[Predictors]):
    """R^2 of decoder directions from those of their matches, on pairs held out. a_to_b predicts B's."""

    name: ClassVar[str] = "ridge_decoder"

    folds: int = 5
    """Parts of the pairs that are held out in turn."""

    relative_penalty: float = 1.0
    """Ridge penalty in units of the mean eigenvalue of the predictors' covariance."""

    def __post_init__(self) -> None:
        """Refuse a penalty that is not positive, and fewer than two folds."""
        _check_penalty(self.name, self.relative_penalty)
        require_option("metrics.ridge_decoder.folds", self.folds, self.folds >= 2, "at least 2")

    def prepare(self, rows: Directions) -> Predictors:
        """The rows, and the regressions on them once they predict."""
        return Predictors(rows, self.folds, self.relative_penalty)

    def compare(self, a: Predictors, b: Predictors, *, permutation: Permutation | None) -> Found:
        """R^2 of B's directions from A's; undefined with fewer than two pairs a fold."""
        if len(a.rows) < 2 * self.folds:
            return Found(None, "too_few_matches")
        return Found(held_out_r2(a.folds, b.rows if permutation is None else b.rows[permutation]))

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """A to B on its matches, B to A on its own, and their mean, draw by draw."""
        if reason := pair.why_unmatched:
            return undefined(reason)
        backward = _Backward(self.folds, self.relative_penalty)
        each = (
            DecoderMetric.measure(metric, _one_way(pair, direction))[0]._replace(direction=direction)
            for metric, direction in ((self, "a_to_b"), (backward, "b_to_a"))
        )
        first, second = each
        return first, second, _averaged(first, second)


@dataclass
class _Backward(RidgeDecoder):
    """R^2 of A's directions from B's."""

    def compare(self, a: Predictors, b: Predictors, *, permutation: Permutation | None) -> Found:
        """Row i of A goes with row permutation[i] of B, so that targets move by the inverse."""
        order = None if permutation is None else np.argsort(permutation)
        return super().compare(b, a, permutation=order)

    def reorders(self, n_pairs: int) -> bool:
        """No: the folds are of the predictors, in their order."""
        return False


def _one_way(pair: LayerPair, direction: str) -> LayerPair:
    """The pair with the matches of one direction alone; those of an alignment with one serve for both."""

    def only(matches: Matches) -> Matches:
        return {"both": matches[direction] if direction in matches else matches["both"]}

    nulls = {name: tuple(only(matches) for matches in draws) for name, draws in pair.null_matches.items()}
    return dataclasses.replace(pair, matches=only(pair.matches), null_matches=nulls)


def _averaged(first: Measurement, second: Measurement) -> Measurement:
    if first.value is None or second.value is None:
        return Measurement("both", None, first.reason or second.reason)
    nulls = {
        name: (drawn + second.nulls[name]) / 2
        for name, drawn in first.nulls.items()
        if name in second.nulls and len(drawn) == len(second.nulls[name])
    }
    return first._replace(
        direction="both",
        value=(first.value + second.value) / 2,
        nulls=nulls,
        empty={**first.empty, **second.empty},
        n_matches=round((first.n_matches + second.n_matches) / 2),
    )


def _check_penalty(name: str, relative_penalty: float) -> None:
    if not relative_penalty > 0:
        raise ValueError(
            f"metrics.{name}.relative_penalty={relative_penalty}: expected a positive number (of mean "
            f"eigenvalues), got {relative_penalty}."
        )
