"""Shards: cut where documents end, read back as one, their fit summed over all of them."""

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuniv.config import TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.stages.latents import (
    SHARD_ROWS,
    ShardQuality,
    read_high_norm,
    read_rows,
    save_shard,
    shard_cuts,
    shards,
)
from saeuniv.stages.stored_quality import read_quality, recorded_fvu
from saeuniv.stages.task import DictionaryReference, LatentsReference, ModelReference
from saeuniv.stages.tokens import HeldOut
from saeuniv.store import ArtifactError, Kind, Store, artifact


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 4000))
def test_shards_end_with_documents_and_hold_every_sequence_once(sizes: list[int], positions: int) -> None:
    documents = np.repeat(np.arange(len(sizes)), sizes)
    keep = np.broadcast_to(True, (len(documents), positions))
    cuts = shard_cuts(HeldOut(np.broadcast_to(np.int32(0), keep.shape), keep, documents))
    assert [cuts[0].start, cuts[-1].stop] == [0, len(documents)]
    assert all(one.stop == two.start for one, two in itertools.pairwise(cuts))
    ends = set(np.cumsum(sizes).tolist())
    for cut in cuts:
        assert cut.stop in ends
        last = sizes[documents[cut.stop - 1]]
        # Large enough, unless it is the last; and too small without its last document.
        assert (cut.stop - cut.start) * positions >= SHARD_ROWS or cut.stop == len(documents)
        assert (cut.stop - cut.start - last) * positions < SHARD_ROWS


class Part(NamedTuple):
    """Latents of some rows, as a dictionary gives them."""

    counts: np.ndarray
    indices: np.ndarray
    values: np.ndarray


class Fit(NamedTuple):
    """Sums over rows, as the adapter gives them."""

    rows: int
    error: float
    squares: float
    total: np.ndarray


@pytest.fixture
def reference() -> LatentsReference:
    tokens = artifact(Kind.tokens, {"a": 1})
    model = ModelReference("m", "gpt_neox", 2, "0" * 16, None, "", None)
    dictionary = DictionaryReference(Hookpoint(HookpointKind.resid_post, 0), TinySae(), 6, "1" * 16, None, "")
    return LatentsReference(artifact(Kind.latents, {"b": 1}), tokens, dictionary, model)


def test_shards_are_read_back_as_one(reference: LatentsReference, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((11, 6)) < 0.4, rng.random((11, 6)), 0).astype(np.float32)
    x = rng.normal(2.0, 1.0, (11, 3))
    y = x + rng.normal(0, 0.1, x.shape)
    store = Store(tmp_path)
    for output, rows in zip(shards(reference, 2), (slice(0, 4), slice(4, 11)), strict=True):
        part = dense[rows]
        latents = Part((part > 0).sum(1), np.nonzero(part)[1], part[part > 0])
        fit = Fit(len(part), float(((x - y)[rows] ** 2).sum()), float((x[rows] ** 2).sum()), x[rows].sum(0))
        # The first row of each shard is one of high norm, and no part of the fit.
        apart = Fit(1, 0.5, 4.0, np.array([2.0, 0.0, 0.0]) * (1 if rows.start else -1))
        high = np.arange(len(part) + 1) == 0
        latents = Part(np.append(0, latents.counts), latents.indices, latents.values)
        loss = None if rows.start else {"clean": 1.0, "spliced": 1.5, "ablated": 3.0}
        with store.publish(output) as folder:
            save_shard(folder, [latents], ShardQuality(fit, apart, high, loss), 6)
    read = read_quality(store, reference, 2)
    every = read_rows(store, reference, 2, np.arange(13))
    kept = ~read_high_norm(store, reference.artifact, 2)
    assert np.flatnonzero(~kept).tolist() == [0, 5]
    np.testing.assert_array_equal(every.toarray()[kept], dense)
    for rows in ([0, 3, 4, 5, 12], [7, 8], []):
        some = read_rows(store, reference, 2, np.array(rows, dtype=np.int64))
        np.testing.assert_array_equal(some.toarray(), every.toarray()[rows])
    assert read.fvu_high_norm == 1.0 / 8.0
    assert read.loss_recovered == 0.75
    assert every.dtype == np.float32 and every.indices.dtype == np.int32
    assert read.l0 == (dense > 0).sum() / 13
    fvu = ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert read.error / read.variance == pytest.approx(fvu, rel=1e-12)
    assert recorded_fvu(store, reference, 2) == read.error / read.variance
    with pytest.raises(ArtifactError, match="/00002: expected a published artifact"):
        read_rows(store, reference, 3, np.arange(13))
    file = store.folder(replace(reference.artifact, shard=1)) / "quality.json"
    file.write_text(file.read_text().replace("7", "8", 1))
    with pytest.raises(ArtifactError, match=r"quality\.json: expected sha256"):
        recorded_fvu(Store(tmp_path), reference, 2)


def test_reading_takes_eight_bytes_an_active_latent_and_one_shard(
    reference: LatentsReference, tmp_path: Path
) -> None:
    """scipy made it 12 where pointers had 64 bits, and whole layers were copied: 10^7 rows took 6.5 GiB."""
    n_shards, n_rows, k, width = 16, 2000, 8, 64
    store = Store(tmp_path)
    for shard, output in enumerate(shards(reference, n_shards)):
        firings = np.random.default_rng(shard).permuted(np.tile(np.arange(width), (n_rows, 1)), axis=1)
        indices = np.sort(firings[:, :k], axis=1).ravel()
        part = Part(np.full(n_rows, k), indices, np.ones(n_rows * k, np.float32))
        none = Fit(0, 0.0, 0.0, np.zeros(3))
        high = np.zeros(n_rows, dtype=bool)
        with store.publish(output) as folder:
            save_shard(folder, [part], ShardQuality(none, none, high, None), width)
        store.open(output)
    entries = n_shards * n_rows * k
    tracemalloc.start()
    try:
        read = read_rows(store, reference, n_shards, np.arange(n_shards * n_rows))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.nnz == entries and read.indices.dtype == np.int32
    rows, shard = n_shards * n_rows, 14 * n_rows * k
    assert held < 8 * entries + 8 * rows, f"{held / entries:.1f} bytes an entry"
    assert peak < held + 2 * shard + 20 * rows, f"{peak / entries:.1f} bytes an entry"
