"""The correlation kernel's sizes on a GPU, in absolute seconds beside the CPU kernel's."""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np
from rich.table import Table

from benchmarks.latents import Pair, latents
from benchmarks.section import Section
from saeuniv.adapters.dense_correlation import top_correlations_dense
from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.top_correlations import top_correlations

TOP_M = 5
LARGEST_ERROR = 1e-6
_ROWS_PER_CHUNK = 4096
_MEMORY_SHARE = 0.8
"""Of the device's free memory"""


class Size(NamedTuple):
    """One pair of layers."""

    rows: int
    n: int
    k: int
    repeats: int


SIZES = (Size(90_000, 32_768, 32, 3), Size(1_000_000, 32_768, 32, 3), Size(1_000_000, 131_072, 64, 1))


class Run(NamedTuple):
    """Both engines on one size."""

    size: Size
    gpu_s: float
    """Wall, transfers and the exact second pass included"""

    cpu_s: float
    """Wall, one thread, float64"""

    error: float
    """Largest difference of a similarity at the same rank"""

    same: float
    """Share of partners that are the same"""


def section() -> Section:
    """The table, or that it was skipped; wrong similarities are faults."""
    import torch

    title = f"gpu: correlation, top {TOP_M} both ways, dense TF32 on the GPU against the sparse CPU kernel"
    if not torch.cuda.is_available():
        return Section(title, ("skipped: no GPU",))
    name = torch.cuda.get_device_name()
    free = torch.cuda.mem_get_info()[0]
    runs = [measured(size, device="cuda", max_bytes=int(_MEMORY_SHARE * free)) for size in SIZES]
    faults = [
        f"gpu {run.size}: similarities within {LARGEST_ERROR} of the CPU kernel's, got {run.error:.1e}"
        for run in runs
        if run.error >= LARGEST_ERROR
    ]
    return Section(f"{title}; {name}", (table(runs),), tuple(faults))


def measured(size: Size, *, device: str, max_bytes: int) -> Run:
    """Both engines on the same latents; medians of the size's repeats, after one run that is not counted."""
    pair = latents(rows=size.rows, n=size.n, k=size.k)
    by_row = pair.a.tocsr()

    def dense() -> Candidates:
        return top_correlations_dense(
            by_row,
            pair.b,
            top_m=TOP_M,
            device=device,
            rows_per_chunk=_ROWS_PER_CHUNK,
            max_bytes=max_bytes,
        )

    _warm(device, max_bytes)
    gpu_s, found = _timed(dense, size.repeats)
    cpu_s, expected = _timed(lambda: top_correlations(pair.a, pair.b, top_m=TOP_M), size.repeats)
    return Run(size, gpu_s, cpu_s, *agreement(found, expected))


def agreement(found: Candidates, expected: Candidates) -> tuple[float, float]:
    """Largest difference of similarities at the same rank, and share of equal partners."""
    errors, same = [0.0], []
    for side in ("a", "b"):
        r, truth = (getattr(each, f"similarity_{side}") for each in (found, expected))
        finite = np.isfinite(r) | np.isfinite(truth)
        # A partner on one side only is an infinite error, as it should be.
        errors.append(float(np.abs(r[finite] - truth[finite]).max(initial=0.0)))
        same.append(getattr(found, f"index_{side}") == getattr(expected, f"index_{side}"))
    return max(errors), float(np.concatenate(same).mean())


def table(runs: list[Run]) -> Table:
    """One line a size."""
    out = Table()
    for name in ("tokens", "latents", "active", "GPU s", "CPU s", "error", "same partners"):
        out.add_column(name, justify="right")
    for run in runs:
        size = (f"{run.size.rows:,}", f"{run.size.n:,}", str(run.size.k))
        out.add_row(*size, f"{run.gpu_s:.2f}", f"{run.cpu_s:.2f}", f"{run.error:.0e}", f"{run.same:.4%}")
    return out


def _warm(device: str, max_bytes: int) -> None:
    """Compile and start everything both engines need, on latents of no size."""
    small: Pair = latents(rows=200, n=64, k=4)
    top_correlations_dense(
        small.a.tocsr(), small.b, top_m=TOP_M, device=device, rows_per_chunk=100, max_bytes=max_bytes
    )
    top_correlations(small.a, small.b, top_m=TOP_M)


def _timed(call: Callable[[], Candidates], repeats: int) -> tuple[float, Candidates]:
    seconds: list[float] = []
    found = None
    for _ in range(repeats):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    assert found is not None
    return median(seconds), found
