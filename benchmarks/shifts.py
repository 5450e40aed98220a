"""All document shifts of the fixed matches of one layer pair, against rolling dense residuals."""

import time
from statistics import median

import numpy as np

from benchmarks.compare import FLOORS, synthetic
from benchmarks.section import Section
from saeuniv.compare import CompareSettings
from saeuniv.metrics.layer_pair import LayerPair, make_draws
from saeuniv.numerics.latents import HalfLatents, prepare_layer
from saeuniv.numerics.nulls import shifted_pair_correlations
from saeuniv.numerics.residuals import unit_residuals
from saeuniv.numerics.rows import make_halves

MATCHES = 150
MOST_SECONDS = 1.0
LARGEST_ERROR = 1e-5
REPEATS = 3
# Shifts of the dense formulation that are timed; the rest is extrapolated.
_DENSE_SHIFTS = 3


def section() -> Section:
    """CPU seconds of both folds and both directions, spectra included, and the error."""
    pair = _pair()
    draws = pair.draws
    pairs = np.random.default_rng(0).permutation(min(pair.a.n_eligible, pair.b.n_eligible))[:MATCHES]
    seconds, dense_seconds, errors = [], [], []
    for _ in range(REPEATS):
        started = time.process_time()
        ours = [found for half in (0, 1) for found in _both_directions(pair, half, pairs)]
        seconds.append(time.process_time() - started)
        started = time.process_time()
        dense = [_dense(pair, 0, pairs, int(shift)) for shift in draws.shifts[:_DENSE_SHIFTS]]
        dense_seconds.append((time.process_time() - started) / _DENSE_SHIFTS * len(draws.shifts) * 4)
        errors.append(np.abs(ours[0][:_DENSE_SHIFTS] - dense).max())
    own, slow = median(seconds), median(dense_seconds)
    body = (
        f"{len(pairs)} matches, {len(draws.shifts)} shifts, both folds and directions: {own:.2f} CPU-s, "
        f"spectra included; rolling dense residuals {slow:.0f} CPU-s, extrapolated from {_DENSE_SHIFTS} "
        f"shifts: {slow / own:.0f}x; error {max(errors):.0e}",
    )
    faults = (f"at most {MOST_SECONDS} CPU-s, got {own:.2f}",) if own > MOST_SECONDS else ()
    faults += (f"error below {LARGEST_ERROR}, got {max(errors):.1e}",) if max(errors) >= LARGEST_ERROR else ()
    rows = sum(len(half.half.rows) for half in pair.a.halves)
    return Section(f"shifts: every document shift of one layer pair, {rows} rows", body, faults)


def _pair() -> LayerPair:
    data = synthetic(documents=186)
    halves = make_halves(data.documents, {"token": data.token}, positions=data.positions)
    settings = CompareSettings(eligibility=FLOORS)
    a, b = (prepare_layer(side, halves, floors=settings.floors) for side in (data.a, data.b))
    return LayerPair(a, b, make_draws(halves, settings.draws), 0.5)


def _both_directions(pair: LayerPair, half: int, pairs: np.ndarray) -> list[np.ndarray]:
    """Mean over the pairs at every admissible shift, for two sets of pairs as the two directions have.

    Both use the spectra of all latents of the half, as a comparison does; none is kept from an earlier call.
    """
    a, b = (HalfLatents(side.halves[half].matrix, side.halves[half].half) for side in (pair.a, pair.b))
    n, found = pair.draws.n_sequences, []
    for index_b in (pairs, pairs[::-1]):
        blocks = shifted_pair_correlations(a, b, pairs, index_b, condition="token", n_sequences=n)
        found.append(np.sum([each[:, pair.draws.shifts].sum(axis=0) for each in blocks], axis=0) / len(pairs))
    return found


def _dense(pair: LayerPair, half: int, pairs: np.ndarray, shift: int) -> float:
    a, b = pair.a.halves[half], pair.b.halves[half]
    rows = pair.draws.n_sequences * a.half.positions
    x, y = (
        unit_residuals(each.matrix, each.half, "token", sums=each.sums("token"), index=pairs, rows=rows)
        for each in (a, b)
    )
    return float((x * np.roll(y, -shift * a.half.positions, axis=1)).sum(dtype=np.float64)) / len(pairs)
