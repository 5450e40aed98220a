"""Similarities of matched decoder rows under permutation, against the published definitions on dense rows.

The dense forms are evaluated on the re-paired rows as they are defined, centring and decompositions
included, in float64. Ours computes once what a pairing does not change.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.linalg

from benchmarks.section import Section
from saeuniv.numerics.kernels import (
    debiased_cka_moments,
    permutation_moments,
    repaired_debiased_cka,
)
from saeuniv.numerics.procrustes import repaired_procrustes
from saeuniv.numerics.subspace import repaired_svcca, svcca_basis

REPEATS = 3
PERMUTATIONS = 100
VARIANCE_KEPT = 0.99
LARGEST_ERROR = 1e-7

_T = TypeVar("_T")

Similarity = Callable[[np.ndarray, np.ndarray], float]
Repaired = Callable[[np.ndarray], float | None]


class Case(NamedTuple):
    """One similarity at one size."""

    name: str
    n: int
    d_a: int
    d_b: int
    prepare: Callable[[np.ndarray, np.ndarray], Repaired]
    dense: Similarity
    """The definition on rows paired as given."""

    permutations: int
    """Draws that a null is made of; 1: the cost of a permutation alone, without what is computed once."""

    least_ratio: float


class Result(NamedTuple):
    """CPU seconds, medians."""

    once: float
    each: float
    dense: float
    """One permutation by the definition."""

    error: float

    def ours(self, permutations: int) -> float:
        """Of a null; of one permutation, without what is computed once."""
        return self.each if permutations == 1 else self.once + permutations * self.each


def section() -> Section:
    """Seconds of each null, ours and dense, their ratio, and the error of our draws."""
    rows: list[str] = []
    faults: list[str] = []
    for case in CASES:
        result = measured(case)
        ratio = case.permutations * result.dense / result.ours(case.permutations)
        rows.extend(_told(case, result, ratio))
        if ratio < case.least_ratio:
            faults.append(f"{case.name}: expected {case.least_ratio:g}x or more, got {ratio:.1f}x")
        if result.error >= LARGEST_ERROR:
            faults.append(f"{case.name}: error below {LARGEST_ERROR}, got {result.error:.1e}")
    title = f"similarity: nulls of matched decoder rows (one thread, medians of {REPEATS}, interleaved)"
    return Section(title, (*rows, *_closed_forms()), tuple(faults))


def measured(case: Case) -> Result:
    """Ours and the definition in turn, on the same pairings."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.n, case.d_a))
    y = x @ rng.standard_normal((case.d_a, case.d_b)) / case.d_a**0.5 + rng.standard_normal(
        (case.n, case.d_b)
    )
    # Once before, so that no buffer is made and no library loaded while the time runs.
    case.prepare(x, y)(rng.permutation(case.n))
    once, each, dense, errors = [], [], [], []
    for _ in range(REPEATS):
        orders = [rng.permutation(case.n) for _ in range(max(case.permutations, REPEATS))]
        repaired, seconds = _timed(lambda: case.prepare(x, y))
        once.append(seconds)
        null, seconds = _timed(lambda: [repaired(each) for each in orders])  # noqa: B023
        each.append(seconds / len(orders))
        expected, seconds = _timed(lambda: case.dense(x, y[orders[0]]))  # noqa: B023
        dense.append(seconds)
        assert null[0] is not None
        errors.append(abs(null[0] - expected))
    return Result(median(once), median(each), median(dense), max(errors))


def dense_svcca(x: np.ndarray, y: np.ndarray) -> float:
    """Raghu et al. 2017, section 2.1: leading components of each by SVD, then CCA by their covariances."""
    x, y = _leading(x), _leading(y)
    whitening_x, whitening_y = _inverse_root(x.T @ x), _inverse_root(y.T @ y)
    return float(np.linalg.svd(whitening_x @ (x.T @ y) @ whitening_y)[1].mean())


def _leading(z: np.ndarray) -> np.ndarray:
    left, singular, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    k = int(np.argmax(np.cumsum(singular**2) >= VARIANCE_KEPT * np.sum(singular**2))) + 1
    return left[:, :k] * singular[:k]


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values)) @ vectors.T


def dense_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """The best rotation of centred rows of unit total length, by scipy; the scale that comes with it."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x = np.pad(x, ((0, 0), (0, y.shape[1] - x.shape[1])))
    _, scale = scipy.linalg.orthogonal_procrustes(x / np.linalg.norm(x), y / np.linalg.norm(y))
    return float(scale)


def dense_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, with the linear kernel by columns: three products of centred rows."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return _hsic(x, y) / float(np.sqrt(_hsic(x, x) * _hsic(y, y)))


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    n, a, b = len(x), np.sum(x**2, axis=1), np.sum(y**2, axis=1)
    trace = np.linalg.norm(x.T @ y) ** 2 - a @ b
    return float(trace + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a @ b)) / (n * (n - 3))


def _svcca(x: np.ndarray, y: np.ndarray) -> Repaired:
    return repaired_svcca(
        svcca_basis(x, variance_kept=VARIANCE_KEPT), svcca_basis(y, variance_kept=VARIANCE_KEPT)
    )


CASES: Sequence[Case] = (
    Case("SVCCA", 4000, 256, 384, _svcca, dense_svcca, PERMUTATIONS, 25),
    Case("Procrustes", 8000, 512, 768, repaired_procrustes, dense_procrustes, 1, 4),
    Case("CKA", 8000, 512, 768, repaired_debiased_cka, dense_cka, 1, 3),
)


def _told(case: Case, result: Result, ratio: float) -> tuple[str, ...]:
    draws = case.permutations
    many, scaled = (f"{draws} permutations", " extrapolated from one") if draws > 1 else ("a permutation", "")
    floor = _floor(case)
    return (
        f"{case.name}, n={case.n}, d {case.d_a}/{case.d_b}, {many}: {result.ours(draws):.3f} CPU-s, "
        f"dense {draws * result.dense:.2f} CPU-s{scaled}: {ratio:.0f}x (at least {case.least_ratio:g}x), "
        f"error {result.error:.0e}",
        f"  once {result.once:.2f}, each {result.each:.4f}; floor of each, its one product: {floor:.4f}, "
        f"gap {result.each / floor:.1f}x",
    )


def _floor(case: Case) -> float:
    """The product in single precision that a permutation cannot do without."""
    rng = np.random.default_rng(1)
    left = rng.standard_normal((case.d_a, case.n), dtype=np.float32)
    right = rng.standard_normal((case.n, case.d_b), dtype=np.float32)
    return median(_timed(lambda: left @ right)[1] for _ in range(REPEATS))


def _closed_forms() -> tuple[str, ...]:
    """The closed forms beside simulated pairings, at n = 60."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((60, 12)), rng.standard_normal((60, 9))
    orders = [rng.permutation(60) for _ in range(2000)]
    repaired = repaired_debiased_cka(x, y)
    centred = [z - z.mean(axis=0) for z in (x, y)]
    drawn = [
        [repaired(order) or 0.0 for order in orders],
        [float(np.linalg.norm(centred[0].T @ centred[1][order]) ** 2) for order in orders],
    ]
    names = ("debiased CKA", "|X'PY|^2")
    return tuple(
        f"closed form over pairings, {name}: mean {moments.mean:.4g} (simulated {np.mean(values):.4g}), "
        f"std {moments.std:.4g} ({np.std(values):.4g})"
        for name, moments, values in zip(
            names, (debiased_cka_moments(60), permutation_moments(x, y)), drawn, strict=True
        )
    )


def _timed(call: Callable[[], _T]) -> tuple[_T, float]:
    started = time.process_time()
    value = call()
    return value, time.process_time() - started
