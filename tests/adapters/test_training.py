"""Dictionaries trained here, by sparsify's Trainer and by ours."""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from saeuniv.adapters import training, training_state
from saeuniv.adapters.dictionary import load_dictionary
from saeuniv.adapters.language_model import load_language_model
from saeuniv.adapters.model_folders import load_hf_model, load_tokenizer
from saeuniv.adapters.token_stream import training_sequences
from saeuniv.adapters.training import train_dictionaries
from saeuniv.adapters.training_run import add_taps
from saeuniv.config import Bos, SaeActivation, SaeTrainer, TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind

STREAM = np.random.default_rng(0).integers(0, 257, 3000).astype(np.int32)
SAE = TinySae(n_tokens=2048, batch_sequences=8, k=4)
L1 = TinySae(trainer=SaeTrainer.l1, l1_coefficient=0.5, n_tokens=2048, batch_sequences=8, warmup_steps=4)
POST = [Hookpoint(HookpointKind.resid_post, layer) for layer in range(3)]


def _train(
    folder,
    out,
    hookpoints=POST,
    *,
    seed=3,
    sae=SAE,
    progress=lambda _done, _all: None,
    checkpoint=None,
    **options,
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
        **options,
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


@pytest.mark.parametrize("sae", [SAE, L1], ids=["sparsify", "l1"])
def test_a_dictionary_trained_alone_equals_the_one_trained_with_others(model_folders, tmp_path, sae):
    together = _train(model_folders["gpt_neox"], tmp_path / "together", sae=sae)
    for hookpoint in POST:
        alone = _train(model_folders["gpt_neox"], tmp_path / str(hookpoint), [hookpoint], sae=sae)
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


@pytest.mark.parametrize("sae", [SAE, L1], ids=["sparsify", "l1"])
def test_another_seed_gives_another_dictionary(model_folders, tmp_path, sae):
    first = _train(model_folders["gpt_neox"], tmp_path / "first", POST[:1], sae=sae)
    other = _train(model_folders["gpt_neox"], tmp_path / "other", POST[:1], seed=4, sae=sae)
    assert {name for name in first if first[name] != other[name]} == set(first) - {"layers.0/cfg.json"}


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


def test_by_default_the_embedded_dictionaries_are_what_sparsifys_trainer_makes_of_them(
    model_folders, tmp_path
):
    """Options that came later (groupmax, excluded tokens, other hookpoints, float32) change no byte."""
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    sequences = training_sequences(STREAM, n_tokens=SAE.n_tokens, context_length=16, seed=3)
    config = TrainConfig(
        SparseCoderConfig(num_latents=32, k=4),
        batch_size=8,
        hookpoints=["layers.0", "layers.2"],
        init_seeds=[3],
        log_to_wandb=False,
        save_dir=str(tmp_path),
        run_name="by_hand",
    )
    windows: Any = [{"input_ids": torch.from_numpy(ids).long()} for ids in sequences]
    Trainer(config, windows, load_hf_model(str(model_folders["gpt_neox"]))).fit()
    files = _train(model_folders["gpt_neox"], tmp_path / "ours", [POST[0], POST[2]])
    assert files == {name: (tmp_path / "by_hand" / name).read_bytes() for name in files}
    assert len(files) == 4
    # Their artifact keys are those of old, too.
    assert TinySae().recipe() == {
        "trainer": "sparsify/signum",
        "k": 8,
        "n_tokens": 300_000,
        "batch_sequences": 16,
        "warmup_steps": 20,
    }


@pytest.mark.parametrize("sae", [SAE, L1], ids=["sparsify", "l1"])
def test_special_tokens_are_left_out_of_training(model_folders, tmp_path, sae, monkeypatch):
    """The last token of a sequence changes no activation but its own: left out, it does not matter which."""
    ids = np.where(np.isin(STREAM, (0, 7)), 1, STREAM)
    found: dict[tuple[bool, int], dict[str, bytes]] = {}
    for special in (0, 7):
        ids[15::16] = special
        monkeypatch.setattr(sys.modules[__name__], "STREAM", ids)
        for excluded in (False, True):
            with monkeypatch.context() as patch:
                if special == 7:
                    patch.setattr(training, "_special_ids", lambda _tokenizer: (0, 7))
                out = tmp_path / f"{special}{excluded}"
                recipe = replace(sae, exclude_special=excluded)
                found[excluded, special] = _train(model_folders["gpt_neox"], out, POST[:1], sae=recipe)
    assert found[True, 0] == found[True, 7]
    assert len({str(files) for files in found.values()}) == 3


def test_the_special_tokens_are_bos_eos_and_pad(model_folders):
    tokenizer = load_tokenizer(str(model_folders["gpt2"]))
    assert training._special_ids(tokenizer) == (0,)
    tokenizer.bos_token, tokenizer.pad_token = "a", None
    assert training._special_ids(tokenizer) == (0, tokenizer.convert_tokens_to_ids("a"))


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({}, False),
        ({"bos": Bos.always}, True),
        ({"template_begins": True}, True),
        ({"bos": Bos.never, "template_begins": True}, False),
    ],
)
def test_sequences_begin_as_those_do_that_are_compared_on(
    model_folders, tmp_path, monkeypatch, options, begins
):
    """The embedded tokenizer has a BOS, its end-of-text, which it does not write of itself."""
    seen: list[np.ndarray] = []

    def trained(run, _out):
        seen.append(run.sequences)

    monkeypatch.setattr(training, "train_with_sparsify", trained)
    stream = np.where(STREAM == 0, 1, STREAM)
    monkeypatch.setattr(sys.modules[__name__], "STREAM", stream)
    _train(model_folders["gpt2"], tmp_path, **options)
    assert seen[0].shape == (128, 16)
    assert (seen[0] == 0).any(axis=0).tolist() == [begins] + [False] * 15
    assert np.all(seen[0][:, 0] == 0) == begins


INPUTS = [Hookpoint(HookpointKind.resid_pre, 1), Hookpoint(HookpointKind.neurons, 0)]


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
@pytest.mark.parametrize("sae", [SAE, L1], ids=["sparsify", "l1"])
def test_what_is_no_modules_output_can_be_trained_on(model_folders, tmp_path, architecture, sae):
    """resid_pre[1] is resid_post[0]; neurons are as wide as the MLP is inside."""
    folder = model_folders[architecture]
    block = "h" if architecture == "gpt2" else "layers"
    mid = [] if architecture == "gpt_neox" else [Hookpoint(HookpointKind.resid_mid, 2)]
    places = [POST[0], *INPUTS, *mid]
    together = _train(folder, tmp_path / "together", places, sae=sae)
    names = {
        f"{block}.0",
        f"{block}.1.resid_pre",
        f"{block}.0.neurons",
        *(f"{block}.2.resid_mid" for _ in mid),
    }
    assert {name.split("/")[0] for name in together} == names
    weights = next(name for name in together if name.startswith(f"{block}.0/") and "safetensors" in name)
    assert together[weights] == together[weights.replace(f"{block}.0/", f"{block}.1.resid_pre/")]
    neurons = json.loads(together[f"{block}.0.neurons/cfg.json"])
    assert neurons["d_in"] == (64 if architecture == "gpt2" else 32)
    for each in places:
        alone = _train(folder, tmp_path / str(each), [each], sae=sae)
        assert len(alone) == 2 and alone.items() <= together.items()


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_taps_read_what_the_encoder_of_latents_reads(model_folders, architecture):
    """Dictionaries see in training what they are given afterwards, whatever the hookpoint."""
    folder = str(model_folders[architecture])
    places = [Hookpoint(kind, layer) for kind in HookpointKind for layer in (0, 2)]
    model = load_hf_model(folder)
    seen: dict[Hookpoint, torch.Tensor] = {}
    for name, place in add_taps(model, places).items():

        def hook(_module, _inputs, output, place=place):
            seen[place] = output[0] if isinstance(output, tuple) else output

        model.base_model.get_submodule(name).register_forward_hook(hook)
    ids = torch.from_numpy(STREAM[:32]).long()[None]
    with torch.inference_mode():
        model(ids)
    expected = load_language_model(folder).activations(ids, places)
    assert seen.keys() == expected.keys() and len(seen) == 12
    for place in places:
        torch.testing.assert_close(seen[place], expected[place], rtol=1e-5, atol=1e-5, msg=str(place))


def test_a_hookpoint_that_the_model_lacks_is_refused(model_folders, tmp_path):
    with pytest.raises(
        ValueError, match=r"resid_post\[3\], for which it has no module layers.3. Choose layers"
    ):
        _train(model_folders["gpt_neox"], tmp_path, [Hookpoint(HookpointKind.resid_post, 3)])


def test_groupmax_keeps_one_latent_of_each_group(model_folders, tmp_path):
    sae = replace(SAE, activation=SaeActivation.groupmax)
    files = _train(model_folders["gpt_neox"], tmp_path, POST[:1], sae=sae)
    assert json.loads(files["layers.0/cfg.json"])["activation"] == "groupmax"
    encoded = load_dictionary(tmp_path / "layers.0").encode(torch.randn(50, 16))
    rows = np.repeat(np.arange(50), encoded.counts)
    assert len(set(zip(rows, encoded.indices // 8, strict=True))) == len(rows) > 50
    with pytest.raises(
        ValueError, match=r"a width that sae.k=5 groups share evenly \(groupmax\), got width=32"
    ):
        _train(model_folders["gpt_neox"], tmp_path, POST[:1], sae=replace(sae, k=5))


def test_a_step_of_nothing_but_special_tokens_is_refused(model_folders, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.adapters.test_training.STREAM", np.zeros(3000, np.int32))
    with pytest.raises(ValueError, match=r"nothing but special tokens \(ids 0\) in 16 of 16 steps"):
        _train(model_folders["gpt_neox"], tmp_path, sae=replace(SAE, exclude_special=True))


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


@pytest.mark.parametrize("sae", [SAE, L1], ids=["sparsify", "l1"])
def test_a_training_interrupted_again_and_again_gives_the_same_bytes(
    model_folders, tmp_path, at_every_step, sae
):
    whole = _train(model_folders["gpt_neox"], tmp_path / "whole", sae=sae)
    checkpoint = tmp_path / "checkpoint"
    begun: list[int] = []
    for last in (1, 2, 9, 9, 16):
        interrupted = Interrupted(last)
        with pytest.raises(SystemExit):
            _train(
                model_folders["gpt_neox"],
                tmp_path / "killed",
                sae=sae,
                progress=interrupted,
                checkpoint=checkpoint,
            )
        begun.append(interrupted.heard[0])
    rest = Interrupted()
    out = tmp_path / "resumed"
    assert _train(model_folders["gpt_neox"], out, sae=sae, progress=rest, checkpoint=checkpoint) == whole
    assert (begun, rest.heard) == ([1, 1, 2, 9, 9], [16])


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"hookpoints": POST[:1]},
        {"sae": replace(SAE, k=5)},
        {"sae": replace(SAE, activation=SaeActivation.groupmax)},
        {"sae": replace(SAE, exclude_special=True)},
        {"sae": L1},
    ],
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
