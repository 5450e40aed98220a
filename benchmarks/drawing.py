"""What is drawn of results: time, memory and sizes at 6 x 12 and at 42 x 32 layer pairs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.cost import Cost, measure
from benchmarks.machine import ROOT
from benchmarks.section import Section

_GRIDS = ((6, 12), (42, 32))
# Of each: documents, bytes of each, latents, active ones a row.
_DOCUMENTS, _CONTEXT, _LATENTS, _ACTIVE = 60, 128, 512, 8
_MOST_SMALL, _MOST_PAGE, _FEW = 200_000, 5_000_000, 75
_MOST_BYTES = 4e9

_DRAW = """
import sys
from pathlib import Path
from saeuniv.stages.drawn import draw
from saeuniv.stages.stored import stored_comparison
stored = stored_comparison(sys.argv[1])
draw(stored.results, Path(sys.argv[1]), stored.store)
"""


class Drawn(NamedTuple):
    """What one grid took."""

    cost: Cost
    page: int
    """Bytes of report.html."""

    matches: int
    """Bytes of matches.parquet."""

    n_matches: int


def section() -> Section:
    """Both grids, each drawn by a process of its own."""
    found = {grid: _drawn(*grid) for grid in _GRIDS}
    body = [f"{_DOCUMENTS} documents of {_CONTEXT} words, {_LATENTS} latents a layer, {_ACTIVE} active a row"]
    faults: list[str] = []
    for (a, b), it in found.items():
        body.append(
            f"{a} x {b} layer pairs: {it.cost}; report.html {it.page:,} bytes, "
            f"matches.parquet {it.matches:,} bytes ({it.n_matches:,} matches)"
        )
        most = _MOST_SMALL if a * b <= _FEW else _MOST_PAGE
        faults += [f"{a} x {b}: at most {most:,} bytes, got {it.page:,}"] if it.page > most else []
        peak = it.cost.peak_bytes
        faults += [f"{a} x {b}: at most {_MOST_BYTES:.0e} bytes, got {peak}"] if peak > _MOST_BYTES else []
    return Section("drawing: heatmaps, matches and the page of a comparison", tuple(body), tuple(faults))


def _drawn(n_a: int, n_b: int) -> Drawn:
    with tempfile.TemporaryDirectory() as name:
        # Made elsewhere: its memory would count as that of the process that draws.
        make = [sys.executable, "-m", "benchmarks.drawing", name, str(n_a), str(n_b)]
        subprocess.run(make, cwd=ROOT, check=True)
        results = Path(name) / "comparison" / "results"
        draw = [sys.executable, "-c", _DRAW, str(results)]
        cost = measure(draw, cwd=Path(name), env={**os.environ, "PYTHONPATH": str(ROOT)}).cost
        page, matches = ((results / file).stat().st_size for file in ("report.html", "matches.parquet"))
    return Drawn(cost, page, matches, n_a * n_b * _LATENTS)


def _store(place: Path, n_a: int, n_b: int) -> None:
    """Layers of random latents with their matches by number, on random words."""
    from saeuniv.numerics.assignment import Matching
    from tests.conftest import row
    from tests.stored_runs import byte_tokens, make_stored_run

    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), size=n)) for n in rng.integers(2, 9, 2000)]
    texts = {f"document {i}": " ".join(rng.choice(words, size=_CONTEXT)) for i in range(_DOCUMENTS)}
    tokens = byte_tokens(texts, _CONTEXT)
    latents = np.zeros((tokens.n_rows, _LATENTS), np.float32)
    for _ in range(_ACTIVE):
        chosen = rng.integers(0, _LATENTS, tokens.n_rows)
        latents[np.arange(tokens.n_rows), chosen] = rng.random(tokens.n_rows)
    every = np.arange(_LATENTS)
    matching = {"both": Matching(every, every, np.full(_LATENTS, 0.5))}
    make_stored_run(
        place,
        row,
        tokens,
        {layer: np.roll(latents, layer, 0) for layer in range(n_a)},
        {layer: np.roll(latents, layer, 0) for layer in range(n_b)},
        matches={(a, b): matching for a in range(n_a) for b in range(n_b)},
    )


if __name__ == "__main__":
    _store(Path(sys.argv[1]), *map(int, sys.argv[2:]))
