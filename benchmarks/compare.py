"""One layer pair of synthetic latents by `compare_latents`, against the definition with dense arrays."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

import saeuniv
from benchmarks.section import Section
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.metrics import Cka, PartialCorrelation
from saeuniv.metrics.base import Measurement
from saeuniv.metrics.cross_fitted_correlation import CrossFitted
from saeuniv.metrics.held_out import cross_fitted
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.rows import split_documents

LARGEST_ERROR = 1e-9
REPEATS = 3
FLOORS = Eligibility(min_firings=10)


@dataclass
class ValueAlone(CrossFitted):
    """The headline without its null: what the dense arrays compute, too."""

    name = "partial_correlation"
    condition = "token"

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The held-out correlation given the token."""
        return cross_fitted(pair, self.condition, null=False)


class Synthetic(NamedTuple):
    """Token-aligned latents of one layer of two models."""

    a: sp.csr_array
    b: sp.csr_array
    token: np.ndarray
    documents: np.ndarray
    positions: int

    def compare(self, settings: CompareSettings, decoders: tuple[np.ndarray, np.ndarray] | None) -> float:
        """The first metric's value, both directions."""
        found = saeuniv.compare_latents(
            self.a,
            self.b,
            groups={"token": self.token},
            documents=self.documents,
            positions_per_sequence=self.positions,
            decoders=decoders,
            settings=settings,
        )
        value = next(each.value for each in found if each.direction == "both")
        assert value is not None
        return value


def synthetic(*, documents: int, positions: int = 124, latents: int = 256, seed: int = 0) -> Synthetic:
    """Latents of Zipf frequencies, about 8 active a row, 60 % of them shared in part.

    Documents have 1 to 10 sequences; 100 tokens, of Zipf frequencies too, modulate what fires.
    """
    rng = np.random.default_rng(seed)
    sequences = 1 + np.arange(documents) % 10
    rows = int(sequences.sum()) * positions
    weights = 1 / np.arange(1, 101)
    token = rng.choice(100, size=rows, p=weights / weights.sum())
    rate = np.clip(8 * (1 / np.arange(4, latents + 4)) / np.sum(1 / np.arange(4, latents + 4)), 0, 0.4)
    likes = rng.lognormal(sigma=0.7, size=(100, latents)).astype(np.float32)
    chance = np.clip(rate * likes, 0, 0.9).astype(np.float32)
    fires_a = rng.random((rows, latents), np.float32) < chance[token]
    fires_b = rng.random((rows, latents), np.float32) < chance[token]
    shared = int(0.6 * latents)
    kept = rng.random((rows, shared), np.float32) < 0.7
    fires_b[:, :shared] = np.where(kept, fires_a[:, :shared], fires_b[:, :shared])
    a, b = (_values(rng, fires) for fires in (fires_a, fires_b))
    return Synthetic(a, b, token, np.repeat(np.arange(documents), sequences * positions), positions)


def dense_value(data: Synthetic) -> float:
    """The headline by its definition: dense float64 residuals, one product a half, both directions."""
    half_of_row = split_documents(np.bincount(data.documents))[data.documents]
    rows = [np.flatnonzero(half_of_row == half) for half in (0, 1)]
    a, b = (_dense_sides(matrix, rows, data.token) for matrix in (data.a, data.b))
    r = [(x / _norms(x)).T @ (y / _norms(y)) for x, y in zip(a, b, strict=True)]
    values = [
        _held_out(chosen, scored)
        for match, evaluation in ((0, 1), (1, 0))
        for chosen, scored in ((r[match], r[evaluation]), (r[match].T, r[evaluation].T))
    ]
    return float(np.mean(values))


def section() -> Section:
    """Value, error, CPU seconds of both, and what the nulls and the bootstrap add."""
    data = synthetic(documents=180)
    ours, alone = [], _settings(ValueAlone())
    dense = []
    for _ in range(REPEATS):
        ours.append(_timed(lambda: data.compare(alone, None)))
        dense.append(_timed(lambda: dense_value(data)))
    seconds, dense_seconds = (median(each.seconds for each in timed) for timed in (ours, dense))
    error = abs(ours[0].value - dense[0].value)
    body = (
        f"partial_correlation {ours[0].value:.6f}; dense {dense[0].value:.6f}; error {error:.1e}",
        f"the value: {seconds:.2f} CPU-s, dense float64 {dense_seconds:.2f} CPU-s: "
        f"{dense_seconds / seconds:.1f}x (medians of {REPEATS}, interleaved, one thread)",
        *_parts(data, seconds),
    )
    faults = (f"error below {LARGEST_ERROR}, got {error:.1e}",) if error >= LARGEST_ERROR else ()
    rows, latents = data.a.shape
    l0 = data.a.nnz / rows
    title = (
        f"compare: one layer pair, synthetic, {rows} rows, {latents} latents a side, {l0:.1f} active a row"
    )
    return Section(title, body, faults)


class _Timed(NamedTuple):
    value: float
    seconds: float
    """CPU"""


def _timed(call: Callable[[], float]) -> _Timed:
    started = time.process_time()
    value = call()
    return _Timed(value, time.process_time() - started)


def _settings(metric: CrossFitted | Cka, *, resamples: int = 0) -> CompareSettings:
    return CompareSettings(
        metrics=(metric,),
        eligibility=FLOORS,
        nulls=Nulls(shuffle_draws=0),
        bootstrap=Bootstrap(draws=resamples),
    )


def _parts(data: Synthetic, value_seconds: float) -> tuple[str, ...]:
    """What is added to the value, each by the difference to a call without it."""
    rng = np.random.default_rng(1)
    decoders = (rng.standard_normal((data.a.shape[1], 64)), rng.standard_normal((data.b.shape[1], 64)))
    shift = _timed(lambda: data.compare(_settings(PartialCorrelation()), None)).seconds
    draws = Bootstrap().draws
    bootstrap = _timed(lambda: data.compare(_settings(ValueAlone(), resamples=draws), None)).seconds
    selection = _timed(lambda: data.compare(_settings(Cka()), decoders)).seconds
    n_shifts = Nulls().draws
    return (
        f"document-shift null, all shifts: + {shift - value_seconds:.2f} CPU-s",
        f"document bootstrap, {draws} draws: + {bootstrap - value_seconds:.2f} CPU-s",
        f"cka with the selection-aware null, {n_shifts} matchings, and {n_shifts} permutations: "
        f"{selection:.2f} CPU-s",
    )


def _values(rng: np.random.Generator, fires: np.ndarray) -> sp.csr_array:
    matrix = sp.csr_array(fires).astype(np.float32)
    matrix.data = rng.lognormal(sigma=0.5, size=matrix.nnz).astype(np.float32)
    return matrix


def _dense_sides(matrix: sp.csr_array, rows: list[np.ndarray], token: np.ndarray) -> list[np.ndarray]:
    """Residuals of the eligible latents on both halves."""
    halves = [matrix[each].toarray().astype(np.float64) for each in rows]
    residuals = [_residuals(half, token[each]) for half, each in zip(halves, rows, strict=True)]
    eligible = np.ones(matrix.shape[1], bool)
    for half, residual, each in zip(halves, residuals, rows, strict=True):
        repeated = np.bincount(token[each])[token[each]] >= 2
        active = half > 0
        within, total = (residual**2).sum(0), ((half - half.mean(0)) ** 2).sum(0)
        eligible &= active[repeated].sum(0) >= (FLOORS.min_firings or 0)
        eligible &= active.mean(0) <= FLOORS.max_rate
        eligible &= within >= FLOORS.min_within_share * total
    return [residual[:, eligible] for residual in residuals]


def _residuals(dense: np.ndarray, token: np.ndarray) -> np.ndarray:
    order = np.argsort(token, kind="stable")
    types, starts, counts = np.unique(token[order], return_index=True, return_counts=True)
    means = np.add.reduceat(dense[order], starts) / counts[:, None]
    return dense - means[np.searchsorted(types, token)]


def _norms(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x**2).sum(0))


def _held_out(chosen: np.ndarray, scored: np.ndarray) -> float:
    best = chosen.argmax(axis=1)
    latents = np.arange(len(chosen))
    return float(np.where(chosen[latents, best] > 0, scored[latents, best], 0.0).mean())
