"""Activations by way of TransformerLens are the raw ones of the Hugging Face modules."""

import filecmp

import pytest
import torch

from saeuniv.adapters import language_model, tiny
from saeuniv.hookpoints import Hookpoint, HookpointKind

KINDS = list(HookpointKind)
ARCHITECTURES = ("gpt_neox", "gpt2", "llama")
IDS = torch.randint(0, 257, (2, 12), generator=torch.Generator().manual_seed(0))


def _output(outputs: object) -> torch.Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _by_hugging_face(folder, architecture: str) -> dict[Hookpoint, torch.Tensor]:
    """What hooks on the modules named by the hookpoint table see, and the inputs of the blocks."""
    model = language_model.load_hf_model(str(folder))
    seen: dict[Hookpoint, torch.Tensor] = {}
    for layer in range(3):
        for kind in (HookpointKind.resid_post, HookpointKind.mlp_out, HookpointKind.attn_out):
            hookpoint = Hookpoint(kind, layer)
            module = model.base_model.get_submodule(hookpoint.sparsify(architecture))
            module.register_forward_hook(lambda _m, _i, out, h=hookpoint: seen.__setitem__(h, _output(out)))
        block = model.base_model.get_submodule(
            Hookpoint(HookpointKind.resid_post, layer).sparsify(architecture)
        )
        pre = Hookpoint(HookpointKind.resid_pre, layer)
        block.register_forward_pre_hook(
            lambda _m, args, kwargs, h=pre: seen.__setitem__(h, args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
    with torch.inference_mode():
        model(IDS)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_equal_what_hooks_on_hugging_face_modules_see(model_folders, architecture):
    folder = model_folders[architecture]
    expected = _by_hugging_face(folder, architecture)
    got = language_model.load_language_model(str(folder)).activations(IDS, list(expected))
    assert list(got) == list(expected) and len(got) == 12
    for hookpoint, activation in got.items():
        scale = expected[hookpoint].abs().max()
        assert (activation - expected[hookpoint]).abs().max() <= 1e-6 * max(scale, 1), hookpoint


def test_resid_post_is_resid_pre_of_the_next_layer_and_not_of_its_own(model_folders):
    model = language_model.load_language_model(str(model_folders["gpt_neox"]))
    pre0, pre1, post0 = (
        Hookpoint(kind, layer)
        for kind, layer in (
            (HookpointKind.resid_pre, 0),
            (HookpointKind.resid_pre, 1),
            (HookpointKind.resid_post, 0),
        )
    )
    got = model.activations(IDS, [pre0, pre1, post0])
    assert torch.equal(got[post0], got[pre1])
    assert not torch.allclose(got[post0], got[pre0], rtol=0.1)


def test_one_forward_pass_stops_after_the_highest_hookpoint(model_folders):
    model = language_model.load_language_model(str(model_folders["gpt_neox"]))
    inner = model._bridge.original_model
    ran: list[str] = []
    assert {"lm_head", "embed_out"} & {name for name, _ in inner.named_modules()}
    for name, module in inner.named_modules():
        if (
            name.endswith(("mlp", "lm_head", "embed_out", "final_layer_norm"))
            or name.split(".")[-1].isdecimal()
        ):
            module.register_forward_pre_hook(lambda *_a, n=name: ran.append(n))
    post = [Hookpoint(HookpointKind.resid_post, layer) for layer in range(3)]
    model.activations(IDS, post[:2])
    assert ran and not any("layers.2" in name for name in ran)
    ran.clear()
    model.activations(IDS, post)
    assert any("layers.2" in name for name in ran)
    assert not any(name.endswith(("lm_head", "embed_out", "final_layer_norm")) for name in ran)
    assert len(ran) == len(set(ran)), "each module ran once"


def test_a_pass_that_stopped_leaves_the_next_one_unchanged(model_folders):
    model = language_model.load_language_model(str(model_folders["llama"]))
    last, first = Hookpoint(HookpointKind.resid_post, 2), Hookpoint(HookpointKind.mlp_out, 0)
    before = model.activations(IDS, [last])[last].clone()
    model.activations(IDS, [first])
    assert torch.equal(model.activations(IDS, [last])[last], before)


def test_a_hookpoint_the_model_lacks_is_named(model_folders):
    model = language_model.load_language_model(str(model_folders["gpt2"]))
    with pytest.raises(ValueError, match=r"3 layers \(0\.\.2\), got resid_post\[3\]"):
        model.activations(IDS, [Hookpoint(HookpointKind.resid_post, 3)])


def test_pickled_weights_are_never_read(model_folders, tmp_path):
    source = model_folders["gpt2"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        language_model.load_language_model(str(tmp_path))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_are_decided_by_the_seed_and_keep_config_and_tokenizer(
    model_folders, tmp_path, architecture
):
    source = str(model_folders[architecture])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        language_model.save_initial_weights(source, tmp_path / name, seed=seed)
    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[0] == files
    assert "model.safetensors" in filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)[1]
    assert "model.safetensors" in filecmp.cmpfiles(tmp_path / "a", source, files, shallow=False)[1]
    language_model.load_language_model(str(tmp_path / "a"))


def test_initial_weights_of_a_saved_tiny_model_are_those_of_its_seed(tmp_path):
    from saeuniv.config import TinyModel

    model = tiny.initial_model(TinyModel(seed=4, d_model=16, n_layers=2))
    tiny.save(model, tmp_path / "saved")
    language_model.save_initial_weights(str(tmp_path / "saved"), tmp_path / "again", seed=4)
    assert (tmp_path / "saved/model.safetensors").read_bytes() == (
        tmp_path / "again/model.safetensors"
    ).read_bytes()
