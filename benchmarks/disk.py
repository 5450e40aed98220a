"""Latents on disk against the dense array, as the stage publishes them."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from benchmarks.section import Section

LATENTS, K, ROWS = 32_768, 32, 32_768
LEAST_RATIO = 500.0


class Stored(NamedTuple):
    """One published shard."""

    bytes: int
    """Of all its files, the manifest among them."""

    dense_bytes: int
    """Of the same latents as a dense float32 array."""

    exact: bool
    """Whether what is read back is what was written."""

    @property
    def ratio(self) -> float:
        """How many times smaller."""
        return self.dense_bytes / self.bytes


def store_shard(folder: Path, *, rows: int, latents: int, k: int, seed: int = 0) -> Stored:
    """Publish synthetic latents (k active a row, Zipf frequencies, lognormal values) as one shard."""
    from saeuniv.adapters.dictionary import EncodedRows, FvuSums

    # The function the stage publishes with; what it writes is the format.
    from saeuniv.stages.latents import ShardQuality, save_shard
    from saeuniv.store import Kind, Store
    from saeuniv.store.artifacts import artifact

    rng = np.random.default_rng(seed)
    indices = np.stack([_distinct(rng, latents, k) for _ in range(rows)])
    values = rng.lognormal(size=rows * k).astype(np.float32)
    encoded = EncodedRows(np.full(rows, k, np.int32), indices.ravel().astype(np.int32), values)
    fit, none = FvuSums(rows, 0.0, 1.0, np.zeros(64)), FvuSums(0, 0.0, 0.0, np.zeros(64))
    quality = ShardQuality(fit, none, np.zeros(rows, dtype=bool), None)
    store = Store(folder)
    shard = artifact(Kind.latents, {"synthetic": seed}, shard=0)
    with store.publish(shard) as temporary:
        save_shard(temporary, [encoded], quality, latents)
    published = store.open(shard)
    arrays = load_file(published / "latents.safetensors")
    exact = all(np.array_equal(arrays[name], getattr(encoded, name)) for name in encoded._fields)
    size = sum(file.stat().st_size for file in published.iterdir())
    return Stored(size, rows * latents * 4, exact)


def section() -> Section:
    """The ratio at n = 32k, k = 32."""
    with tempfile.TemporaryDirectory() as folder:
        stored = store_shard(Path(folder), rows=ROWS, latents=LATENTS, k=K)
    line = (
        f"{stored.bytes / ROWS:.1f} bytes a row, dense float32 {stored.dense_bytes / ROWS:.0f}: "
        f"{stored.ratio:.0f}x smaller; read back {'equal' if stored.exact else 'DIFFERENT'}"
    )
    faults = [] if stored.ratio >= LEAST_RATIO else [f"at least {LEAST_RATIO:.0f}x, got {stored.ratio:.0f}x"]
    faults += [] if stored.exact else ["latents read back are not those written"]
    title = f"disk: one shard of {ROWS} rows of synthetic latents, n={LATENTS}, k={K}"
    return Section(title, (line,), tuple(faults))


def _distinct(rng: np.random.Generator, latents: int, k: int) -> np.ndarray:
    """About Zipf(1): log-uniform latents, drawn until k are distinct; ascending."""
    drawn = np.unique((latents ** rng.random(4 * k)).astype(np.int64) - 1)
    while len(drawn) < k:
        drawn = np.unique(np.append(drawn, rng.integers(latents)))
    return np.sort(rng.choice(drawn, size=k, replace=False))
