"""RSA and its permutation null, against scipy's rank correlation of all similarities at each permutation."""

import time
from statistics import median
from typing import NamedTuple

import numpy as np
import scipy.stats

from benchmarks.section import Section
from saeuniv.numerics.rank import rsa, rsa_basis

ROWS = 2500
D_A, D_B = 512, 768
PERMUTATIONS = 100
DENSE_PERMUTATIONS = 3
REPEATS = 3
LEAST_RATIO = 90.0
LARGEST_ERROR = 1e-6


class _Timed(NamedTuple):
    values: np.ndarray
    seconds: float
    """CPU"""


def section() -> Section:
    """CPU seconds of both, their ratio, the largest error, and how near the memory's floor ours is."""
    x, y, orders = _data()
    warm = time.process_time()
    _ours(x[:10], y[:10], np.arange(10)[None])
    warm = time.process_time() - warm
    ours: list[_Timed] = []
    dense: list[_Timed] = []
    for _ in range(REPEATS):
        ours.append(_ours(x, y, orders))
        dense.append(_dense(x, y, orders[:DENSE_PERMUTATIONS]))
    seconds, measured = (median(each.seconds for each in timed) for timed in (ours, dense))
    extrapolated = measured * PERMUTATIONS / DENSE_PERMUTATIONS
    error = float(np.abs(ours[0].values[:DENSE_PERMUTATIONS] - dense[0].values).max())
    ratio = extrapolated / seconds
    floor = _floor(orders[1])
    body = (
        f"ours {seconds:.2f} CPU-s with preparation; scipy.stats.spearmanr {measured:.1f} CPU-s for "
        f"{DENSE_PERMUTATIONS} permutations, {extrapolated:.0f} CPU-s extrapolated to {PERMUTATIONS}",
        f"{ratio:.0f}x against the extrapolated time (medians of {REPEATS}, interleaved, one thread); "
        f"largest error {error:.1e}",
        f"floor: reading the ranks of B in another order takes numpy {floor * 1e3:.0f} ms a permutation; "
        f"ours {seconds / PERMUTATIONS * 1e3:.1f} ms with its share of preparation",
        f"compilation, apart: {warm:.1f} CPU-s (0 once cached)",
    )
    faults: list[str] = []
    if error >= LARGEST_ERROR:
        faults.append(f"RSA: error below {LARGEST_ERROR}, got {error:.1e}")
    if ratio < LEAST_RATIO:
        faults.append(f"RSA: at least {LEAST_RATIO:.0f}x, got {ratio:.0f}x (extrapolated)")
    title = f"rsa: {PERMUTATIONS} permutations, {ROWS} rows, {D_A} and {D_B} dimensions"
    return Section(title, body, tuple(faults))


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random decoders of which one is in part a linear image of the other; the identity comes first."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, D_A))
    y = x @ rng.standard_normal((D_A, D_B)) / np.sqrt(D_A) + rng.standard_normal((ROWS, D_B))
    orders = [np.arange(ROWS), *(rng.permutation(ROWS) for _ in range(PERMUTATIONS - 1))]
    return x, y, np.array(orders)


def _ours(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> _Timed:
    started = time.process_time()
    a, b = rsa_basis(x, inner="cosine"), rsa_basis(y, inner="cosine")
    values = [rsa(a, b, permutation=order) for order in orders]
    return _Timed(np.array(values, dtype=np.float64), time.process_time() - started)


def _dense(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> _Timed:
    """The definition: similarities of the re-paired rows above the diagonal, ranked exactly, correlated."""
    started = time.process_time()
    upper = np.triu_indices(len(x), 1)
    similar_x, similar_y = (_cosines(z) for z in (x, y))
    values = [
        scipy.stats.spearmanr(similar_x[upper], similar_y[np.ix_(order, order)][upper]).statistic
        for order in orders
    ]
    return _Timed(np.array(values), time.process_time() - started)


def _cosines(z: np.ndarray) -> np.ndarray:
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    return unit @ unit.T


def _floor(order: np.ndarray) -> float:
    """Seconds that numpy takes to gather half a matrix of 16-bit numbers."""
    matrix = np.zeros((len(order) // 2, len(order)), np.int16)
    started = time.process_time()
    for _ in range(20):
        matrix.take(order, axis=1)
    return (time.process_time() - started) / 20
