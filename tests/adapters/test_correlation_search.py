"""The engine for a device gives what the sparse kernel gives; here it runs on the CPU."""

import numpy as np
import pytest
import torch

from saeuniv.adapters.correlation_search import search_on
from saeuniv.numerics.correlation import Evidence, candidates
from saeuniv.numerics.latents import prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import FLOORS, streams


@pytest.fixture(scope="module")
def half_pair():
    data = streams(seed=1, shared=8, n_latents=24)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    return [prepare_layer(side, halves, floors=FLOORS).halves[0] for side in (data.a, data.b)]


def test_the_cpu_is_served_by_the_kernel():
    assert search_on("cpu") is candidates


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize(
    "evidence", [("pearson", "none"), ("phi", "none"), ("pearson", "token"), ("jaccard", "none")]
)
def test_a_device_finds_the_same_partners(half_pair, evidence, shift):
    # torch calls any device of its own "cpu:0", which takes the way of a GPU.
    found = search_on("cpu:0")(*half_pair, Evidence(*evidence), top_m=5, shift=shift)
    expected = candidates(*half_pair, Evidence(*evidence), top_m=5, shift=shift)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_a_device_that_is_not_there_is_refused(half_pair, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda: this torch sees no GPU"):
        search_on("cuda")(*half_pair, Evidence("pearson", "none"), top_m=5)
