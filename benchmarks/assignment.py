"""One-to-one matching: the auction on candidates against the dense assignment of the same correlations."""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.latents import Pair, latents
from benchmarks.section import Section
from saeuniv.numerics.assignment import Matching, assignment_gap, greedy, hungarian
from saeuniv.numerics.candidates import candidates_of
from saeuniv.numerics.top_correlations import top_correlations

LATENTS, ROWS, LARGE_ROWS, ACTIVE, CANDIDATES = 4096, 10_000, 90_000, 32, 20
LARGE = 32_768
REPEATS = 3
LEAST_RATIO = 50.0
LARGEST_GAP = 1e-3


def section() -> Section:
    """CPU seconds of both, the gap to the dense optimum, what is proven of it, and a size without either."""
    correlation = _correlation(latents(rows=ROWS, n=LATENTS, k=ACTIVE))
    candidates = candidates_of(correlation, top_m=CANDIDATES)
    first = _timed(lambda: hungarian(candidates))  # compiles, or reads what was compiled
    ours, dense = [], []
    for _ in range(REPEATS):
        ours.append(_timed(lambda: hungarian(candidates)))
        dense.append(_timed(lambda: _dense(correlation)))
    seconds, dense_seconds = (median(each.seconds for each in timed) for timed in (ours, dense))
    total, best = (_total(timed[0].matching) for timed in (ours, dense))
    ratio, gap, proven = dense_seconds / seconds, 1 - total / best, _proven(ours[0].matching)
    body = (
        f"{LATENTS} latents a side, {CANDIDATES} candidates, {ROWS} rows, k = {ACTIVE}: "
        f"{seconds * 1e3:.1f} CPU-ms, dense assignment {dense_seconds:.2f} CPU-s: {ratio:.0f}x "
        f"(medians of {REPEATS}, interleaved, one thread; first call {first.seconds:.2f} CPU-s)",
        f"total {total:.4f}, dense optimum {best:.4f}: gap {gap:.1e}, proven without it: {proven:.1e}; "
        f"greedy {1 - _total(greedy(candidates)) / best:.1e}",
        *(_large(m) for m in (CANDIDATES, 50)),
    )
    faults = []
    if ratio < LEAST_RATIO:
        faults.append(f"at least {LEAST_RATIO:.0f}x the dense assignment, got {ratio:.0f}x")
    if not -1e-8 <= gap <= min(LARGEST_GAP, proven + 1e-8):
        faults.append(f"gap from 0 to {LARGEST_GAP} and the proven {proven:.1e}, got {gap:.1e}")
    return Section("assignment: one-to-one matches of largest total correlation", body, tuple(faults))


class _Timed(NamedTuple):
    matching: Matching
    seconds: float
    """CPU"""


def _timed(call: Callable[[], Matching]) -> _Timed:
    started = time.process_time()
    matching = call()
    return _Timed(matching, time.process_time() - started)


def _large(top_m: int) -> str:
    pair = latents(rows=LARGE_ROWS, n=LARGE, k=ACTIVE)
    candidates = top_correlations(pair.a, pair.b, top_m=top_m)
    seconds = median(_timed(lambda: hungarian(candidates)).seconds for _ in range(REPEATS))
    matching = hungarian(candidates)
    return (
        f"{LARGE} latents a side, {top_m} candidates, {LARGE_ROWS} rows: {seconds:.2f} CPU-s, "
        f"gap proven to be below {_proven(matching):.1e}; dense assignment not run"
    )


def _dense(correlation: np.ndarray) -> Matching:
    index_a, index_b = linear_sum_assignment(correlation, maximize=True)
    return Matching(index_a, index_b, correlation[index_a, index_b], None)


def _total(matching: Matching) -> float:
    return float(np.maximum(matching.similarity, 0.0).sum())


def _proven(matching: Matching) -> float:
    gap = assignment_gap(matching)
    assert gap is not None
    return gap


def _correlation(pair: Pair) -> np.ndarray:
    """Pearson's r of every pair by scipy; 0 for latents without variance."""
    rows = pair.a.shape[0]
    a, b = (side.astype(np.float64) for side in (pair.a, pair.b))
    means = [np.asarray(side.mean(axis=0)).ravel() for side in (a, b)]
    norms = [
        np.sqrt(np.asarray((side * side).sum(axis=0)).ravel() / rows - mean**2)
        for side, mean in zip((a, b), means, strict=True)
    ]
    covariance = (a.T @ b.tocsc()).toarray() / rows - np.outer(*means)
    scale = np.outer(*norms)
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 1e-12)
