"""From a value and its null draws to p, q and intervals."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# 0.95 * 20 and 1 / 0.05 are whole numbers that floating point may put just above.
_ROUNDING = 1e-9


class Interval(NamedTuple):
    """A confidence interval, in the unit of the value."""

    low: float
    """lower end"""

    high: float
    """upper end"""


def p_value(value: float, null_draws: Float[np.ndarray, " draws"]) -> float:
    """(1 + number of draws >= value) / (1 + number of draws), in (0, 1]; one-sided.

    Small = larger than the null; never 0. Valid (P(p <= a) <= a) where value and draws are exchangeable.
    Phipson and Smyth 2010.

    Raises:
        ValueError: if there is no draw, or one is not finite.
    """
    _require_draws(null_draws, least=1, why="a p-value needs one")
    if not math.isfinite(value):
        raise ValueError(f"value: expected a finite number, got {value}. An undefined value has no p.")
    return (1 + int((null_draws >= value).sum())) / (1 + len(null_draws))


def published_p_value(p: float, *, draws: int) -> float:
    """Share of the draws >= value, in [0, 1], of the p that `p_value` makes of as many: (p (R + 1) - 1) / R.

    The p of published figures: 0 where no draw reaches the value, which no sample of draws can show.

    Raises:
        ValueError: fewer than one draw, or a p that `p_value` gives for no such number of draws.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected at least 1, got {draws}. A p-value needs one.")
    reached = round(p * (draws + 1)) - 1
    if not 0 <= reached <= draws or not math.isclose((reached + 1) / (draws + 1), p, rel_tol=1e-9):
        raise ValueError(f"p={p}: expected a multiple of 1 / {draws + 1} in (0, 1], got {p}. Give its draws.")
    return reached / draws


def excess(value: float, null_draws: Float[np.ndarray, " draws"]) -> float:
    """Value minus mean of the draws, signed, in the unit of the value: the effect size, 0 without relation.

    Not clipped and not divided, so that it may be averaged over cells and compared between them.

    Raises:
        ValueError: if there is no draw, or one is not finite.
    """
    _require_draws(null_draws, least=1, why="the mean of none is not defined")
    return value - float(null_draws.mean())


def z_score(value: float, null_draws: Float[np.ndarray, " draws"]) -> float | None:
    """`excess` over the standard deviation (ddof 1) of the draws; None where they do not vary.

    No effect size: it grows with the amount of text. Unchanged by shifting or scaling value and draws.

    Raises:
        ValueError: if there are fewer than two draws, or one is not finite.
    """
    _require_draws(null_draws, least=2, why="the spread of one is not defined")
    # Equal draws may differ from their mean by rounding, which is no spread.
    return excess(value, null_draws) / float(null_draws.std(ddof=1)) if np.ptp(null_draws) > 0 else None


def seed_ceiling_scaled(
    value: float, null_draws: Float[np.ndarray, " draws"], *, ceiling: float
) -> float | None:
    """(value - null mean) / (ceiling - null mean): 0 as the null, 1 as alike as what `ceiling` compares.

    `ceiling` is the same metric between two dictionaries of one model that differ in their seed alone: 1 is
    rarely attainable, and this says how much of the attainable is there. Signed and not clipped: above 1
    where the models are more alike than two dictionaries of one. None where the ceiling is not above the
    null mean, as there is then nothing to take a share of.

    Raises:
        ValueError: if there is no draw, or one is not finite.
    """
    attainable = excess(ceiling, null_draws)
    return excess(value, null_draws) / attainable if attainable > 0 else None


def calibrated(value: float, null_draws: Float[np.ndarray, " draws"], *, level: float) -> float:
    """max(0, (value - q) / (1 - q)), q the (1 - level) quantile of draws and value; in [0, 1], up = alike.

    q is the ceil((1 - level) (R + 1))-th smallest of the R draws and the value itself (Groeger et al. 2026).
    For display: clipped at 0, so its mean over cells is biased upward where nothing is there. Presumes
    that 1 is the largest possible value; 0 where the null itself reaches 1.

    Raises:
        ValueError: if there are fewer than 1 / level - 1 draws (19 at level 0.05), or one is not finite.
    """
    least = math.ceil(1 / level - _ROUNDING) - 1
    _require_draws(null_draws, least=least, why=f"they define no quantile at level {level}")
    rank = math.ceil((1 - level) * (len(null_draws) + 1) - _ROUNDING)
    q = float(np.sort(np.append(null_draws, value))[rank - 1])
    return max(0.0, (value - q) / (1 - q)) if q < 1 else 0.0


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """q-values: rejecting q <= a keeps the false discovery rate <= a.

    Holds for independent or positively dependent tests. Monotone in p. NaN marks a test that is not a
    member of the family: it is not counted and stays NaN.
    Benjamini and Hochberg 1995.

    Raises:
        ValueError: if a p-value is outside [0, 1].
    """
    return _step_up(p, harmonic=False)


def benjamini_yekutieli(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """q-values under any dependence: `benjamini_hochberg` times sum of 1 / i over the members, at most 1.

    Benjamini and Yekutieli 2001, theorem 1.3.

    Raises:
        ValueError: if a p-value is outside [0, 1].
    """
    return _step_up(p, harmonic=True)


def document_weights(
    n_documents: tuple[int, int], *, draws: int, seed: int
) -> tuple[Float[np.ndarray, "draws documents_1"], Float[np.ndarray, "draws documents_2"]]:
    """How often each document of the two halves occurs in each bootstrap draw.

    Multinomial: documents are drawn with replacement within each half, as many as the half has. Draw r
    comes from the generator (seed, r) alone, the first half before the second, so that it is the same
    whatever is asked beside it.

    Raises:
        ValueError: if a half has no document.
    """
    if min(n_documents) < 1:
        raise ValueError(
            f"n_documents={n_documents}: expected at least 1 document in each half, got {min(n_documents)}."
        )
    weights = tuple(np.zeros((draws, n)) for n in n_documents)
    for draw in range(draws):
        generator = np.random.default_rng([seed, draw])
        for half, n in zip(weights, n_documents, strict=True):
            half[draw] = np.bincount(generator.integers(n, size=n), minlength=n)
    return weights[0], weights[1]


def percentile_interval(draws: Float[np.ndarray, " draws"], *, confidence: float) -> Interval:
    """The central interval that holds `confidence` of the bootstrap draws (Efron 1979, percentile method).

    Raises:
        ValueError: if there is no draw, or one is not finite.
    """
    _require_draws(draws, least=1, why="an interval needs one")
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


def effective_documents(rows_per_document: Int[np.ndarray, " documents"]) -> float:
    """(sum n)^2 / sum n^2: how many documents of equal size would weigh alike; 0 without rows."""
    rows = rows_per_document.astype(np.float64)
    return float(rows.sum() ** 2 / (rows**2).sum()) if rows.any() else 0.0


def _require_draws(draws: Float[np.ndarray, " draws"], *, least: int, why: str) -> None:
    if len(draws) < least:
        raise ValueError(f"draws: expected at least {least}, got {len(draws)}; {why}. Ask for more draws.")
    broken = int((~np.isfinite(draws)).sum())
    if broken:
        raise ValueError(f"draws: expected finite numbers, got {broken} of {len(draws)} that are not.")


def _step_up(p: Float[np.ndarray, " tests"], *, harmonic: bool) -> Float[np.ndarray, " tests"]:
    members = np.flatnonzero(~np.isnan(p))
    outside = members[(p[members] < 0) | (p[members] > 1)]
    if len(outside):
        raise ValueError(f"p: expected values in [0, 1] or NaN, got {p[outside[0]]} at [{outside[0]}].")
    n = len(members)
    ranks = np.arange(1, n + 1)
    factor = float((1 / ranks).sum()) if harmonic else 1.0
    order = members[np.argsort(p[members], kind="stable")]
    # From the largest p down, so that a smaller p never has a larger q.
    adjusted = np.minimum.accumulate((p[order] * factor * n / ranks)[::-1])[::-1]
    q = np.full(p.shape, np.nan)
    q[order] = np.minimum(adjusted, 1.0)
    return q
