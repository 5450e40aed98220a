"""Correlations of all pairs of latents: against dense arrays and scipy, given the token, at full size."""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, no_type_check

import numpy as np
import scipy.sparse as sp
from rich.table import Table

from benchmarks.cost import measure
from benchmarks.latents import Pair, latents
from benchmarks.machine import ROOT
from benchmarks.section import Section
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.group_sums import group_sums
from saeuniv.numerics.top_correlations import top_correlations, top_partial_correlations

TOP_M = 5
REPEATS = 3
SMALL = {"rows": 10_000, "n": 4096, "k": 32}
PAPER = {"rows": 90_000, "n": 32_768, "k": 32}
LARGE = {"rows": 1_000_000, "n": 131_072, "k": 64}
TOKENS = {"rows": 1_000_000, "n": 32_768, "k": 32, "token_share": 0.5, "types": 50_000}

LEAST_DENSE_RATIO, LARGEST_ERROR = 100.0, 5e-6
LEAST_SCIPY_RATIO, PAPER_BYTES = 2.5, 0.6e9
LARGE_BYTES = 4e9
MOST_PARTIAL_RATIO = 4.0

_SCIPY_BLOCK = 2048
_DENSE_BLOCK = 512
_FLOOR_ADDS = 1 << 24


def section() -> Section:
    """Small against the dense definition, the paper's size against scipy, and given the token."""
    first = _timed(_warm_up).seconds
    rows = [_against_dense(), _against_scipy(), _given_the_token()]
    table = Table("correlation", box=None)
    for header in ("ours CPU-s", "reference", "CPU-s", "ratio", "error", "floor CPU-s", "gap"):
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(*row.cells)
    peak = _alone(PAPER)
    faults = [fault for row in rows for fault in row.faults]
    if peak.peak_bytes > PAPER_BYTES:
        faults.append(f"{_size(PAPER)}: at most {_gb(PAPER_BYTES)}, got {_gb(peak.peak_bytes)}")
    body = (
        table,
        f"memory of the whole process at {_size(PAPER)}: {_gb(peak.peak_bytes)}",
        "floor: adding to a row of n_b float32 at random Zipf places, measured here, for every "
        "multiplication; gap: ours / floor",
        "ours adds in float32; error: of the best r, against the same reference in float64",
        f"the {TOP_M} best both ways, one thread, medians of {REPEATS}, interleaved; first call, compiled or "
        f"read from the cache: {first:.2f} CPU-s",
    )
    return Section("correlation: all pairs of latents", body, tuple(faults))


def large_section() -> Section:
    """The size of the largest dictionaries: seconds and memory, in a process of its own."""
    alone = _alone(LARGE)
    floor = alone.macs * _seconds_per_add(LARGE["n"])
    body = (
        f"{_size(LARGE)}: {alone.seconds:.1f} CPU-s, {_gb(alone.peak_bytes)} for the whole process, "
        f"floor {floor:.1f} CPU-s, gap {alone.seconds / floor:.1f} (the dense definition needs "
        f"{2 * LARGE['rows'] * LARGE['n'] * 4 / 1e9:.0f} GB for its inputs)",
    )
    faults = (
        (f"at most {_gb(LARGE_BYTES)}, got {_gb(alone.peak_bytes)}",)
        if alone.peak_bytes > LARGE_BYTES
        else ()
    )
    return Section("correlation, large", body, faults)


class _Row(NamedTuple):
    cells: tuple[str, ...]
    faults: tuple[str, ...]


class _Timed(NamedTuple):
    value: Any
    seconds: float
    """CPU"""


class _Alone(NamedTuple):
    seconds: float
    macs: int
    peak_bytes: int
    """Of the whole process."""


def _against_dense() -> _Row:
    pair = latents(**SMALL)
    arrays = pair.a.toarray(), pair.b.toarray()
    ours, dense = _interleaved(lambda: _ours(pair), lambda: _dense(*arrays))
    # The published code divides by T what it standardised with T - 1.
    scale = SMALL["rows"] / (SMALL["rows"] - 1)
    exact = [each * scale for each in _dense(*(side.astype(np.float64) for side in arrays))]
    return _row(SMALL, pair, ours, "dense", dense, _error(ours[0].value, exact), least=LEAST_DENSE_RATIO)


def _against_scipy() -> _Row:
    pair = latents(**PAPER)
    ours, scipy = _interleaved(lambda: _ours(pair), lambda: _scipy(pair))
    exact = _scipy(Pair(pair.a.astype(np.float64), pair.b.astype(np.float64), pair.tokens))
    return _row(PAPER, pair, ours, "scipy", scipy, _error(ours[0].value, exact), least=LEAST_SCIPY_RATIO)


def _error(found: Candidates, exact: Sequence[np.ndarray]) -> float:
    """Of the best r of every latent, both ways, against the reference in float64.

    Where that is not positive the published code matches a dead latent (0), and scipy sees no pair.
    """
    best = found.similarity_a[:, 0], found.similarity_b[:, 0]
    return max(
        float(np.abs(np.maximum(x, 0) - np.maximum(y, 0)).max()) for x, y in zip(best, exact, strict=True)
    )


def _given_the_token() -> _Row:
    pair = latents(**TOKENS)
    counts = np.bincount(pair.tokens, minlength=TOKENS["types"]).astype(np.float64)
    sums = [group_sums(side, pair.tokens, counts) for side in (pair.a, pair.b.tocsc())]
    given, double, single = _interleaved(
        lambda: top_partial_correlations(
            pair.a, pair.b, ids=pair.tokens, counts=counts, sums_a=sums[0], sums_b=sums[1], top_m=TOP_M
        ),
        lambda: top_correlations(pair.a, pair.b, top_m=TOP_M),
        lambda: _ours(pair),
    )
    seconds, plain = _median(given), _median(double)
    ratio, floor = seconds / plain, pair.macs * _seconds_per_add(TOKENS["n"])
    wrong = (
        (f"given the token: at most {MOST_PARTIAL_RATIO:.0f}x the plain kernel, got {ratio:.1f}x",)
        if ratio > MOST_PARTIAL_RATIO
        else ()
    )
    name = f"{_size(TOKENS)}, given one of {TOKENS['types']:,} tokens"
    reference = f"not given, float64 (float32: {_median(single):.2f}, 1/{seconds / _median(single):.1f})"
    numbers = (f"{seconds:.2f}", reference, f"{plain:.2f}", f"1/{ratio:.1f}", "", f"{floor:.2f}")
    return _Row((name, *numbers, f"{seconds / floor:.1f}"), wrong)


def _row(
    size: dict[str, Any],
    pair: Pair,
    ours: list[_Timed],
    reference: str,
    theirs: list[_Timed],
    error: float,
    *,
    least: float,
) -> _Row:
    seconds, other = _median(ours), _median(theirs)
    ratio, floor = other / seconds, pair.macs * _seconds_per_add(size["n"])
    faults = []
    if ratio < least:
        faults.append(f"{_size(size)}: at least {least:g}x {reference}, got {ratio:.1f}x")
    if error >= LARGEST_ERROR:
        faults.append(f"{_size(size)}: error below {LARGEST_ERROR}, got {error:.1e}")
    numbers = (f"{seconds:.3f}", reference, f"{other:.2f}", f"{ratio:.1f}x", f"{error:.0e}", f"{floor:.3f}")
    return _Row((_size(size), *numbers, f"{seconds / floor:.1f}"), tuple(faults))


def _warm_up() -> None:
    """Compile what is timed, or read what was compiled."""
    pair = latents(rows=1000, n=64, k=8)
    ids, counts = np.zeros(1000, np.int64), np.array([1000.0])
    sums = [group_sums(side, ids, counts) for side in (pair.a, pair.b.tocsc())]
    _ours(pair)
    top_correlations(pair.a, pair.b, top_m=TOP_M)
    top_partial_correlations(
        pair.a, pair.b, ids=ids, counts=counts, sums_a=sums[0], sums_b=sums[1], top_m=TOP_M
    )


def _ours(pair: Pair) -> Candidates:
    return top_correlations(pair.a, pair.b, top_m=TOP_M, double=False)


def _dense(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best r of every latent, both ways, as published: standardised columns, in blocks of them."""
    z_a, z_b = (_standardised(x) for x in (a, b))
    best_a, best_b = (np.full(x.shape[1], -np.inf, x.dtype) for x in (a, b))
    for first in range(0, a.shape[1], _DENSE_BLOCK):
        r = z_a[:, first : first + _DENSE_BLOCK].T @ z_b / len(a)
        best_a[first : first + _DENSE_BLOCK] = r.max(axis=1)
        np.maximum(best_b, r.max(axis=0), out=best_b)
    return best_a, best_b


def _standardised(x: np.ndarray) -> np.ndarray:
    # Moments in float64: numpy adds columns of float32 one by one, which alone is off by 1e-4.
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, ddof=1, dtype=np.float64)
    return (x - mean.astype(x.dtype)) / (deviation + 1e-8).astype(x.dtype)


def _scipy(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The best r of pairs that fire together, both ways, by scipy's sparse product of blocks of latents."""
    n_rows = pair.a.shape[0]
    (g_a, inverse_a), (g_b, inverse_b) = (_levels(side) for side in (pair.a, pair.b))
    a, b = sp.csr_array(pair.a.T), pair.b.copy()
    a.data = a.data * np.repeat(inverse_a / n_rows, np.diff(a.indptr))
    b.data = b.data * inverse_b[b.indices]
    best_a, best_b = (np.full(len(each), -np.inf, each.dtype) for each in (g_a, g_b))
    for first in range(0, len(g_a), _SCIPY_BLOCK):
        r = a[first : first + _SCIPY_BLOCK] @ b
        counts = np.diff(r.indptr)
        r.data -= np.repeat(g_a[first : first + _SCIPY_BLOCK], counts) * g_b[r.indices]
        filled = np.flatnonzero(counts)
        best_a[first + filled] = np.maximum.reduceat(r.data, r.indptr[filled])
        columns = r.tocsc()
        filled = np.flatnonzero(np.diff(columns.indptr))
        best = np.maximum.reduceat(columns.data, columns.indptr[filled])
        best_b[filled] = np.maximum(best_b[filled], best)
    return best_a, best_b


def _levels(matrix: sp.csc_array | sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """G = mean / sd of each latent, and 1 / sd."""
    mean = np.asarray(matrix.mean(axis=0, dtype=np.float64)).ravel()
    squares = np.asarray(matrix.power(2).mean(axis=0, dtype=np.float64)).ravel()
    deviation = np.sqrt(np.maximum(squares - mean**2, 0.0))
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return (mean * inverse).astype(matrix.dtype), inverse.astype(matrix.dtype)


def _interleaved(*calls: Callable[[], Any]) -> list[list[_Timed]]:
    runs = [[_timed(call) for call in calls] for _ in range(REPEATS)]
    return [list(each) for each in zip(*runs, strict=True)]


def _timed(call: Callable[[], Any]) -> _Timed:
    started = time.process_time()
    value = call()
    return _Timed(value, time.process_time() - started)


def _median(runs: list[_Timed]) -> float:
    return median(each.seconds for each in runs)


def _alone(size: dict[str, Any]) -> _Alone:
    """One search in a process of its own, which says how much memory it came to."""
    code = f"from benchmarks.correlation import search_alone; search_alone({size!r})"
    # What is compiled is taken from the cache of this process's runs.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        done = measure([sys.executable, "-c", code], cwd=Path(folder), env=env)
    return _Alone(**json.loads(done.stdout))


def search_alone(size: dict[str, Any]) -> None:
    """Make latents, search them, and write the CPU seconds and multiplications to stdout."""
    _ours(latents(rows=1000, n=64, k=8))
    pair = latents(**size)
    seconds = _timed(lambda: _ours(pair)).seconds
    sys.stdout.write(json.dumps({"seconds": seconds, "macs": pair.macs, "peak_bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """Resident memory of this process at most: on Linux ru_maxrss begins with that of the parent."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _seconds_per_add(n: int) -> float:
    """The machine's floor for one multiplication: a read and a write at a random place of a row of totals."""
    rng = np.random.default_rng(0)
    weights = np.cumsum(1 / (np.arange(n) + 3.0))
    places = np.searchsorted(weights / weights[-1], rng.random(_FLOOR_ADDS)).astype(np.uint32)
    places = rng.permutation(n).astype(np.uint32)[places]
    totals = np.zeros(n, np.float32)
    _add_at(places[:1], totals)
    return min(_timed(lambda: _add_at(places, totals)).seconds for _ in range(REPEATS)) / _FLOOR_ADDS


@compiled
@no_type_check
def _add_at(places, totals):
    for at in range(len(places)):
        totals[places[at]] += np.float32(1)


def _size(size: dict[str, Any]) -> str:
    return f"T={size['rows']:,} n={size['n']:,} k={size['k']}"


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2f} GB"
