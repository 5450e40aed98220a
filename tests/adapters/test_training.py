"""Dictionaries by sparsify's Trainer."""

import json
import sys

import numpy as np
import pytest
import torch

from saeuniv.adapters import training_state
from saeuniv.adapters.dictionary import load_dictionary
from saeuniv.adapters.training import train_dictionaries
from saeuniv.config import TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind

STREAM = np.random.default_rng(0).integers(0, 257, 3000).astype(np.int32)
SAE = TinySae(n_tokens=2048, batch_sequences=8, k=4)
POST = [Hookpoint(HookpointKind.resid_post, layer) for layer in range(3)]


def _train(
    folder, out, hookpoints=POST, *, seed=3, sae=SAE, progress=lambda _done, _all: None, checkpoint=None
):
    train_dictionaries(
        str(folder),
        STREAM,
        hookpoints,
        sae,
        width=32,
        seed=seed,
        context_length=16,
        out=out,
        progress=progress,
        checkpoint=checkpoint,
    )
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_only_the_two_files_of_each_dictionary_are_left(model_folders, tmp_path):
    files = _train(model_folders["gpt_neox"], tmp_path)
    names = [f"layers.{layer}/{file}" for layer in range(3) for file in ("cfg.json", "sae.safetensors")]
    assert list(files) == names
    assert len({path.stat().st_mode for path in tmp_path.rglob("layers.*/*")}) == 1, (
        "as readable as each other"
    )
    cfg = json.loads(files["layers.0/cfg.json"])
    assert (cfg["d_in"], cfg["num_latents"], cfg["k"]) == (16, 32, 4)


def test_a_dictionary_trained_alone_equals_the_one_trained_with_others(model_folders, tmp_path):
    together = _train(model_folders["gpt_neox"], tmp_path / "together")
    for hookpoint in POST:
        alone = _train(model_folders["gpt_neox"], tmp_path / str(hookpoint), [hookpoint])
        assert len(alone) == 2 and alone.items() <= together.items()


def test_the_global_generator_does_not_enter_and_is_left_alone(model_folders, tmp_path):
    torch.manual_seed(1)
    first = _train(model_folders["gpt_neox"], tmp_path / "first")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    torch.set_float32_matmul_precision("highest")
    assert _train(model_folders["gpt_neox"], tmp_path / "second") == first
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_float32_matmul_precision() == "highest"


def test_another_seed_gives_another_dictionary(model_folders, tmp_path):
    first = _train(model_folders["gpt_neox"], tmp_path / "first", POST[:1])
    other = _train(model_folders["gpt_neox"], tmp_path / "other", POST[:1], seed=4)
    assert first["layers.0/sae.safetensors"] != other["layers.0/sae.safetensors"]


def test_the_hookpoints_of_gpt2_go_by_its_own_names(model_folders, tmp_path):
    mlp = Hookpoint(HookpointKind.mlp_out, 1)
    files = _train(model_folders["gpt2"], tmp_path, [POST[0], mlp])
    assert {name.split("/")[0] for name in files} == {"h.0", "h.1.mlp"}
    assert load_dictionary(tmp_path / "h.1.mlp").d_in == 16


def test_training_is_silent_but_progress_is_heard(model_folders, tmp_path, capfd):
    steps: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        steps.append((done, of))
        if done == of:
            print("finished", file=sys.stderr)

    _train(model_folders["gpt_neox"], tmp_path, progress=progress)
    assert steps == [(step, 16) for step in range(1, 17)]
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("", "finished\n")


def test_every_step_has_the_same_size(model_folders, tmp_path):
    """100 tokens beyond the last whole step change nothing."""
    sae = TinySae(n_tokens=2048 + 100, batch_sequences=8, k=4)
    assert _train(model_folders["gpt_neox"], tmp_path / "a", sae=sae) == _train(
        model_folders["gpt_neox"], tmp_path / "b"
    )


@pytest.mark.parametrize("sae", [TinySae(k=33, n_tokens=2048), TinySae(k=4, n_tokens=100)])
def test_a_k_above_the_width_and_too_few_tokens_are_refused(model_folders, tmp_path, sae):
    with pytest.raises(
        ValueError, match=rf"sae.k at most the width.*got k={sae.k}, width=32, n_tokens={sae.n_tokens}"
    ):
        _train(model_folders["gpt_neox"], tmp_path, sae=sae)


def test_a_hookpoint_that_is_no_modules_output_is_refused(model_folders, tmp_path):
    with pytest.raises(ValueError, match=r"resid_pre\[1\]: expected the output of a module"):
        _train(model_folders["gpt_neox"], tmp_path, [Hookpoint(HookpointKind.resid_pre, 1)])


class Interrupted:
    """Progress that is heard up to a step, which ends the process."""

    def __init__(self, last: int | None = None) -> None:
        self.heard: list[int] = []
        self._last = last

    def __call__(self, done: int, of: int) -> None:
        self.heard.append(done)
        if done == self._last:
            raise SystemExit(1)


@pytest.fixture
def at_every_step(monkeypatch):
    """The state is written before each step but the first."""
    monkeypatch.setattr(training_state, "INTERVAL_S", 0.0)
    monkeypatch.setattr(training_state, "PAUSE_PER_WRITE", 0)


def test_a_training_interrupted_again_and_again_gives_the_same_bytes(model_folders, tmp_path, at_every_step):
    whole = _train(model_folders["gpt_neox"], tmp_path / "whole")
    checkpoint = tmp_path / "checkpoint"
    begun: list[int] = []
    for last in (1, 2, 9, 9, 16):
        interrupted = Interrupted(last)
        with pytest.raises(SystemExit):
            _train(
                model_folders["gpt_neox"], tmp_path / "killed", progress=interrupted, checkpoint=checkpoint
            )
        begun.append(interrupted.heard[0])
    rest = Interrupted()
    out = tmp_path / "resumed"
    assert _train(model_folders["gpt_neox"], out, progress=rest, checkpoint=checkpoint) == whole
    assert (begun, rest.heard) == ([1, 1, 2, 9, 9], [16])


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"hookpoints": POST[:1]}, {"sae": TinySae(n_tokens=2048, batch_sequences=8, k=5)}]
)
def test_a_training_of_other_settings_starts_from_zero(model_folders, tmp_path, at_every_step, caplog, other):
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(SystemExit):
        _train(model_folders["gpt_neox"], tmp_path / "a", progress=Interrupted(3), checkpoint=checkpoint)
    progress = Interrupted()
    files = _train(
        model_folders["gpt_neox"], tmp_path / "b", progress=progress, checkpoint=checkpoint, **other
    )
    assert progress.heard[0] == 1 and "is not used: it is of a training with other settings" in caplog.text
    assert files == _train(model_folders["gpt_neox"], tmp_path / "c", **other)
