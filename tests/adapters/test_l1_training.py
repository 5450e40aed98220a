"""The L1 trainer: it finds what was planted, and what it writes computes what it trained."""

import json
import math
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from saeuniv.adapters.encoding import load_dictionary
from saeuniv.adapters.l1_training import L1Coder, StepResult, coefficient_and_rate
from saeuniv.adapters.language_model import load_language_model
from saeuniv.adapters.training import train_dictionaries
from saeuniv.adapters.training_run import TrainingRun
from saeuniv.adapters.training_state import TrainingState
from saeuniv.config import SaeTrainer, TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind

D_IN, N_PLANTED, ACTIVE, OFFSET = 32, 64, 3, 3.0
STEPS, WIDTH = 400, 128


class Planted:
    """Rows that are sums of a few of 64 directions in 32 dimensions, far from the origin."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        directions = torch.randn(N_PLANTED, D_IN, generator=self.generator)
        self.directions = directions / directions.norm(dim=1, keepdim=True)

    def rows(self, n: int = 512) -> Tensor:
        on = torch.rand(n, N_PLANTED, generator=self.generator) < ACTIVE / N_PLANTED
        strength = 0.5 + torch.rand(n, N_PLANTED, generator=self.generator)
        return 10 * ((on * strength) @ self.directions + OFFSET)


class Learnt(NamedTuple):
    planted: Planted
    coder: L1Coder
    steps: list[StepResult]


@cache
def learnt(coefficient: float) -> Learnt:
    torch.set_num_threads(1)
    planted = Planted()
    coder = L1Coder.initial(planted.rows(), WIDTH, seed=1)
    rate = 2e-4 / math.sqrt(WIDTH / 2**14)
    steps = [
        coder.learn(planted.rows(), coefficient=coefficient * min(1, step / 50), rate=rate)
        for step in range(STEPS)
    ]
    return Learnt(planted, coder, steps)


def _latents(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    return torch.relu((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"])


def test_planted_directions_are_recovered() -> None:
    planted, coder, _ = learnt(1.0)
    cosines = planted.directions @ coder.folded()["W_dec"].T
    assert cosines.max(1).values.mean() > 0.95
    start = L1Coder.initial(planted.rows(), WIDTH, seed=1).folded()["W_dec"]
    assert (planted.directions @ start.T).max(1).values.mean() < 0.7, "they were not there at the start"


def test_the_loss_falls_and_little_variance_is_left() -> None:
    _, _, steps = learnt(0.5)
    losses = [step.loss for step in steps]
    # From where the penalty has its full weight.
    assert np.mean(losses[-50:]) < 0.97 * np.mean(losses[50:100]) < losses[0]
    assert steps[-1].fvu < 0.08 < 1 < steps[0].fvu


def test_a_larger_coefficient_leaves_fewer_latents_active_and_more_unexplained() -> None:
    ends = [learnt(coefficient).steps[-1] for coefficient in (0.5, 1.0, 4.0)]
    l0, fvu = [end.l0 for end in ends], [end.fvu for end in ends]
    assert l0[0] > 1.2 * l0[1] > 1.2**2 * l0[2] > 0
    assert fvu[0] < fvu[1] < fvu[2]


def test_one_step_has_the_loss_of_the_formula() -> None:
    planted = Planted()
    rows = planted.rows(40)
    coder = L1Coder.initial(rows, WIDTH, seed=1)
    with torch.no_grad():
        coder.weights["W_dec"].mul_(torch.rand(WIDTH, 1) + 0.5)
    w = {name: weight.detach().double() for name, weight in coder.weights.items()}
    expected = 0.0
    for x in rows.double() / coder.scale:
        z = _latents(w, x)
        penalty = sum(abs(z[i]) * math.sqrt(sum(v**2 for v in w["W_dec"][i])) for i in range(WIDTH))
        expected += float((x - z @ w["W_dec"] - w["b_dec"]).square().sum() + 0.7 * penalty) / len(rows)
    assert coder.learn(rows, coefficient=0.7, rate=0.0).loss == pytest.approx(expected, rel=1e-5)


def test_the_units_of_the_activations_change_nothing_but_the_units() -> None:
    """The coefficient means the same for a model whose activations are 1000 times as large."""
    torch.set_num_threads(1)
    rows = Planted().rows(2048)
    small, large = (L1Coder.initial(factor * rows, WIDTH, seed=1) for factor in (1.0, 1024.0))
    for _ in range(3):
        ends = [
            coder.learn(factor * rows, coefficient=1.0, rate=1e-3)
            for coder, factor in ((small, 1.0), (large, 1024.0))
        ]
        assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    assert large.scale == pytest.approx(1024 * small.scale)


def test_folding_leaves_the_function_as_it_is() -> None:
    planted, coder, _ = learnt(1.0)
    x = planted.rows(100)
    inside = {name: weight.detach() for name, weight in coder.weights.items()}
    scaled = _latents(inside, x / coder.scale)
    folded = coder.folded()
    z = _latents(folded, x)
    torch.testing.assert_close(
        z @ folded["W_dec"] + folded["b_dec"],
        coder.scale * (scaled @ inside["W_dec"] + inside["b_dec"]),
        rtol=1e-4,
        atol=1e-3,
    )
    torch.testing.assert_close(folded["W_dec"].norm(dim=1), torch.ones(WIDTH))
    assert torch.equal(z > 1e-3, scaled * inside["W_dec"].norm(dim=1) * coder.scale > 1e-3)


def test_the_coefficient_rises_and_the_rate_falls() -> None:
    sae = TinySae(trainer=SaeTrainer.l1, l1_coefficient=3.0, batch_sequences=1, warmup_steps=4)
    sequences = np.zeros((20, 8), np.int32)
    model: object = None
    run = TrainingRun(model, {}, sequences, (), sae, 2**14, 0, lambda _a, _b: None, TrainingState(None, {}))  # type: ignore[arg-type]
    coefficients, rates = zip(*(coefficient_and_rate(run, step) for step in range(20)), strict=True)
    assert coefficients[:6] == (0.0, 0.75, 1.5, 2.25, 3.0, 3.0)
    assert rates[:17] == (2e-4,) * 17 and rates[17:] == pytest.approx((1.5e-4, 1e-4, 0.5e-4))
    at_once = replace(run, sae=replace(sae, warmup_steps=0))
    assert coefficient_and_rate(at_once, 0) == (3.0, 2e-4)


def test_equal_rows_have_no_scale() -> None:
    with pytest.raises(ValueError, match=r"expected activations that vary, got 5 rows at distance 0\.0"):
        L1Coder.initial(torch.ones(5, 4), 8, seed=0)


def test_the_folder_is_one_of_sae_lens_and_its_weights_reconstruct(model_folders, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    sae = TinySae(trainer=SaeTrainer.l1, l1_coefficient=0.3, n_tokens=60_000, batch_sequences=16)
    stream = np.random.default_rng(0).integers(0, 257, 6000).astype(np.int32)
    place = Hookpoint(HookpointKind.resid_post, 1)
    train_dictionaries(
        str(model_folders["gpt_neox"]),
        stream,
        [place],
        sae,
        width=64,
        seed=3,
        context_length=16,
        out=tmp_path,
        progress=lambda _done, _of: None,
    )
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert json.loads((folder / "cfg.json").read_text()) == {
        "architecture": "standard",
        "d_in": 16,
        "d_sae": 64,
        "hook_name": "blocks.1.hook_resid_post",
        "hook_layer": 1,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "dtype": "float32",
    }
    weights = load_file(folder / "sae_weights.safetensors")
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    assert shapes == {"W_enc": (16, 64), "b_enc": (64,), "W_dec": (64, 16), "b_dec": (16,)}
    model = load_language_model(str(model_folders["gpt_neox"]))
    x = model.activations(stream[:1600].reshape(100, 16), [place])[place].flatten(0, 1)
    z = _latents(weights, x)
    error = (x - z @ weights["W_dec"] - weights["b_dec"]).square().sum()
    fvu = float(error / (x - x.mean(0)).square().sum())
    (ends,) = (each for each in caplog.messages if "ends with" in each)
    assert fvu < 0.2, ends
    assert f"resid_post[1] ends with FVU {fvu:.2f}"[:-1] in ends
    read = load_dictionary(folder)
    torch.testing.assert_close(
        read.reconstruct(x), z @ weights["W_dec"] + weights["b_dec"], rtol=1e-4, atol=1e-4
    )
    assert abs(int(read.encode(x).counts.sum()) - int((z > 0).sum())) <= 2
