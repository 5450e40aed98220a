"""Dictionaries that are not trained here, from the command line to results."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from saeuniv.results import load
from tests.pipeline.conftest import Desk

# A minute of whole runs each: beside the presets, not with the quick tests.
pytestmark = pytest.mark.presets

SMALL = (
    *("a.steps=30", "b.steps=30", "a.n_layers=2", "b.n_layers=2", "control=none", "tracking=off"),
    *("nulls.draws=19", "bootstrap.draws=100", "data.max_sequences_per_document=4", "allow_mixed=true"),
    *("resources.processes=1", "metrics=[raw_correlation]"),
)
LAUNCH = str(Path(__file__).resolve().parents[2] / "launch.py")


@pytest.fixture
def models_desk(desk: Desk) -> Desk:
    """An empty folder beside a store with the small models, their dictionaries and their text."""
    for kind in ("latents", "matches", "scores"):
        shutil.rmtree(desk.store / kind)
    return desk


def _both_signs_as_gemma_scope(root: Path, layer: int) -> None:
    folder = root / f"layer_{layer}/width_16k/average_l0_64"
    folder.mkdir(parents=True)
    both = np.concatenate([np.eye(64), -np.eye(64)]).astype(np.float32)
    parameters = {"W_enc": both.T, "W_dec": both, "b_enc": np.zeros(128), "b_dec": np.zeros(64)}
    np.savez(folder / "params.npz", **parameters, threshold=np.full(128, 1e-6))


def test_all_layers_are_those_with_dictionaries_and_none_is_what_a_perfect_one_gives(models_desk: Desk):
    """A: JumpReLU that gives back its input, at layer 1 alone, in Gemma Scope's format. B: no dictionary."""
    _both_signs_as_gemma_scope(models_desk.here / "saes", 1)
    sides = ("sae_a=local", "sae_a.path=saes", "sae_b=none", "b=tiny_s0")
    done = models_desk.python(LAUNCH, *SMALL, *sides)
    assert done.returncode == 0, done.stderr
    assert (
        "layers.a=all: 1 layers left out (0: no dictionary at resid_post[0] in sae_a.path=saes)"
        in done.stderr
    )
    results = load(models_desk.comparison)
    assert results.layers_a == ("1",) and results.layers_b == ("0", "1")
    rows = {row.layer_b: row for row in results.rows if row.direction == "both"}
    same = rows["1"]
    assert (same.d_sae_a, same.d_sae_b) == (128, 128)
    assert same.fvu_a == pytest.approx(0, abs=1e-6) and same.fvu_b == 0
    assert same.l0_a == pytest.approx(64, abs=0.1) and same.l0_b == pytest.approx(64, abs=0.1)
    assert same.value == pytest.approx(1, abs=1e-4), "the same latents on both sides"
    assert rows["0"].value < 0.999


def test_shared_dictionaries_give_the_same_latents_on_the_same_model(models_desk: Desk):
    sides = ("b=tiny_s0", "sae_a=tiny", "sae_a.n_tokens=40000", "width_a=64", "sae_b=shared", "layers.b=1")
    done = models_desk.python(LAUNCH, *SMALL, *sides)
    assert done.returncode == 0, done.stderr
    rows = {row.layer_a: row for row in load(models_desk.comparison).rows if row.direction == "both"}
    same = rows["1"]
    assert same.value == pytest.approx(1, abs=1e-6) and same.fvu_a == same.fvu_b and same.l0_a == same.l0_b
    assert same.sae_b == "trained" and rows["0"].value < 0.999


def test_an_object_of_the_user_encodes(models_desk: Desk):
    (models_desk.here / "mine.py").write_text(
        "import torch\n\n\n"
        "class Both:\n"
        "    def encode(self, x):\n"
        "        return torch.relu(torch.cat([x, -x], 1))\n\n"
        "    def decode(self, z):\n"
        "        return z[:, :64] - z[:, 64:]\n\n\n"
        "def make(hookpoint):\n"
        "    assert hookpoint == 'resid_post[1]'\n"
        "    return Both()\n"
    )
    sides = ("b=tiny_s0", "sae_a=custom", "sae_a.object=mine:make", "width_a=128", "sae_b=none")
    layers = ("layers.a=1", "layers.b=1")
    done = models_desk.python(LAUNCH, *SMALL, *sides, *layers, PYTHONPATH=str(models_desk.here))
    assert done.returncode == 0, done.stderr
    values = {row.metric: row.value for row in load(models_desk.comparison).rows if row.direction == "both"}
    assert values["raw_correlation"] == pytest.approx(1, abs=1e-6)
