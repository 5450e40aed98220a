"""Activations are the raw ones of the Hugging Face modules, whatever reads them."""

import functools
import logging

import pytest
import torch

from saeuniv.adapters import language_model
from saeuniv.adapters.model_folders import load_hf_model
from saeuniv.config import ModelBackend
from saeuniv.hookpoints import Hookpoint, HookpointKind

KINDS = list(HookpointKind)
PARALLEL = ("gpt_neox",)
# Of the bridge and of the hooks; the last architecture is unknown to the bridge.
BRIDGED = ("gpt_neox", "gpt_neox_serial", "gpt2", "llama", "gemma2", "qwen2", "olmo2")
ARCHITECTURES = (*BRIDGED, "helium")
BOTH = [
    *((architecture, ModelBackend.bridge) for architecture in BRIDGED),
    *((architecture, ModelBackend.hf) for architecture in ARCHITECTURES),
]
IDS = torch.randint(0, 257, (2, 12), generator=torch.Generator().manual_seed(0))
KEEP = torch.ones(2, 12, dtype=torch.bool)

# The modules of a block, written out: what attention adds is the output of the first, what the MLP adds that
# of the second, neurons are the input of the third.
MODULES = {
    "gpt_neox": ("layers.{}.attention", "layers.{}.mlp", "layers.{}.mlp.dense_4h_to_h"),
    "gpt_neox_serial": ("layers.{}.attention", "layers.{}.mlp", "layers.{}.mlp.dense_4h_to_h"),
    "gpt2": ("h.{}.attn", "h.{}.mlp", "h.{}.mlp.c_proj"),
    "llama": ("layers.{}.self_attn", "layers.{}.mlp", "layers.{}.mlp.down_proj"),
    "qwen2": ("layers.{}.self_attn", "layers.{}.mlp", "layers.{}.mlp.down_proj"),
    "helium": ("layers.{}.self_attn", "layers.{}.mlp", "layers.{}.mlp.down_proj"),
    **dict.fromkeys(
        ("gemma2", "olmo2"),
        (
            "layers.{}.post_attention_layernorm",
            "layers.{}.post_feedforward_layernorm",
            "layers.{}.mlp.down_proj",
        ),
    ),
}


@functools.cache
def _load(folder, backend: ModelBackend = ModelBackend.auto) -> language_model.LanguageModel:
    return language_model.load_language_model(str(folder), backend=backend)


def _hookpoints(architecture: str) -> list[Hookpoint]:
    kinds = [kind for kind in KINDS if architecture not in PARALLEL or kind is not HookpointKind.resid_mid]
    return [Hookpoint(kind, layer) for layer in range(3) for kind in kinds]


def _first(value: object) -> torch.Tensor:
    return value[0] if isinstance(value, tuple) else value


def _by_hugging_face(folder, architecture: str) -> dict[Hookpoint, torch.Tensor]:
    """From the stream that Hugging Face gives itself, and from hooks on the modules written out above."""
    model = load_hf_model(str(folder), attention="eager")
    seen: dict[str, torch.Tensor] = {}
    for layer in range(3):
        attention, mlp, down = (name.format(layer) for name in MODULES[architecture])
        for name in (attention, mlp):
            module = model.base_model.get_submodule(name)
            module.register_forward_hook(lambda _m, _i, out, n=name: seen.__setitem__(n, _first(out)))
        module = model.base_model.get_submodule(down)
        module.register_forward_pre_hook(lambda _m, args, n=down: seen.__setitem__(n, args[0]))
    with torch.inference_mode():
        stream = model(IDS, output_hidden_states=True).hidden_states
    found: dict[Hookpoint, torch.Tensor] = {}
    for layer in range(3):
        attention, mlp, down = (seen[name.format(layer)] for name in MODULES[architecture])
        found[Hookpoint(HookpointKind.resid_pre, layer)] = stream[layer]
        found[Hookpoint(HookpointKind.resid_mid, layer)] = stream[layer] + attention
        found[Hookpoint(HookpointKind.resid_post, layer)] = stream[layer] + attention + mlp
        found[Hookpoint(HookpointKind.mlp_out, layer)] = mlp
        found[Hookpoint(HookpointKind.attn_out, layer)] = attention
        found[Hookpoint(HookpointKind.neurons, layer)] = down
    final = found[Hookpoint(HookpointKind.resid_post, 2)]
    assert (final - stream[3]).abs().max() > 0.1, "the last of hidden_states is after the final norm"
    return found


@pytest.mark.parametrize(("architecture", "backend"), BOTH)
def test_activations_equal_those_of_hugging_face(model_folders, architecture, backend):
    folder = model_folders[architecture]
    expected = _by_hugging_face(folder, architecture)
    wanted = _hookpoints(architecture)
    got = _load(folder, backend).activations(IDS, wanted)
    assert list(got) == wanted
    for hookpoint, activation in got.items():
        scale = max(expected[hookpoint].abs().max().item(), 1.0)
        assert activation.shape == expected[hookpoint].shape
        assert (activation - expected[hookpoint]).abs().max() <= 1e-5 * scale, hookpoint


@pytest.mark.parametrize(("architecture", "backend"), BOTH)
def test_a_model_says_how_large_it_is(model_folders, architecture, backend):
    from saeuniv.adapters import folders
    from saeuniv.config import LocalModel

    model = _load(model_folders[architecture], backend)
    facts = folders.model_facts(LocalModel(path=str(model_folders[architecture])), key="a")
    assert (model.n_layers, model.d_model, model.architecture) == (3, 16, facts.architecture)
    assert (model.n_neurons, model.device) == (facts.d_ff, torch.device("cpu"))
    for hookpoint, activation in model.activations(IDS, _hookpoints(architecture)).items():
        assert activation.shape[-1] == facts.width_at(hookpoint.kind)


def test_the_bridge_reads_what_it_knows_and_hooks_read_the_rest(model_folders, caplog):
    with caplog.at_level(logging.INFO, "saeuniv"):
        language_model.load_language_model(str(model_folders["llama"]))
        assert "llama is read by TransformerBridge" in caplog.text
        caplog.clear()
        model = language_model.load_language_model(str(model_folders["helium"]))
    assert "helium is read by Hugging Face's modules" in caplog.text
    assert model.activations(IDS, [Hookpoint(HookpointKind.resid_post, 1)])
    with pytest.raises(ValueError, match="helium: expected an architecture that TransformerBridge takes"):
        language_model.load_language_model(str(model_folders["helium"]), backend=ModelBackend.bridge)


def test_resid_post_is_resid_pre_of_the_next_layer_and_not_of_its_own(model_folders):
    model = _load(model_folders["gpt_neox"])
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


@pytest.mark.parametrize("backend", [ModelBackend.bridge, ModelBackend.hf])
def test_one_forward_pass_stops_after_the_highest_hookpoint(model_folders, backend):
    model = language_model.load_language_model(str(model_folders["gpt_neox"]), backend=backend)
    inner = model._backend.model
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


@pytest.mark.parametrize("backend", [ModelBackend.bridge, ModelBackend.hf])
def test_a_pass_that_stopped_leaves_the_next_one_unchanged(model_folders, backend):
    model = _load(model_folders["llama"], backend)
    last, first = Hookpoint(HookpointKind.resid_post, 2), Hookpoint(HookpointKind.mlp_out, 0)
    before = model.activations(IDS, [last])[last].clone()
    model.activations(IDS, [first])
    assert torch.equal(model.activations(IDS, [last])[last], before)


@pytest.mark.parametrize("backend", [ModelBackend.bridge, ModelBackend.hf])
def test_a_hookpoint_the_model_lacks_is_named(model_folders, backend):
    with pytest.raises(ValueError, match=r"3 layers \(0\.\.2\), got resid_post\[3\]"):
        _load(model_folders["gpt2"], backend).activations(IDS, [Hookpoint(HookpointKind.resid_post, 3)])
    middle = [Hookpoint(kind, 0) for kind in (HookpointKind.resid_pre, HookpointKind.resid_mid)]
    expected = (
        r"sae\.hookpoint=resid_mid: expected .* gpt_neox models .* do not have\. "
        r"Choose one of resid_pre, resid_post, mlp_out, attn_out, neurons\."
    )
    parallel = _load(model_folders["gpt_neox"], backend)
    with pytest.raises(ValueError, match=expected):
        parallel.activations(IDS, middle)
    with pytest.raises(ValueError, match=expected):
        parallel.mean_loss(IDS, KEEP, replace={middle[1]: lambda x: x})


@pytest.mark.parametrize(("architecture", "backend"), BOTH)
def test_the_loss_is_hugging_faces_and_replacing_by_the_same_leaves_it(model_folders, architecture, backend):
    folder = model_folders[architecture]
    model = _load(folder, backend)
    with torch.inference_mode():
        expected = load_hf_model(str(folder), attention="eager")(IDS, labels=IDS).loss.item()
    loss = model.mean_loss(IDS, KEEP)
    assert abs(loss - expected) <= 1e-5
    for hookpoint in _hookpoints(architecture):
        assert abs(model.mean_loss(IDS, KEEP, replace={hookpoint: lambda x: x}) - loss) <= 1e-6, hookpoint


@pytest.mark.parametrize(("architecture", "backend"), BOTH)
def test_all_that_follows_reads_a_stream_that_was_replaced(model_folders, architecture, backend):
    """The stream of other text put in at any place gives the predictions for that text."""
    model = _load(model_folders[architecture], backend)
    others = torch.randint(0, 257, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = load_hf_model(str(model_folders[architecture]), attention="eager")(others).logits
    targets = IDS[:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets).item()
    assert abs(expected - model.mean_loss(IDS, KEEP)) > 1e-3
    streams = [each for each in _hookpoints(architecture) if each.kind.value.startswith("resid")]
    put = model.activations(others, streams)
    for hookpoint in streams:
        got = model.mean_loss(IDS, KEEP, replace={hookpoint: lambda _x, h=hookpoint: put[h]})
        assert abs(got - expected) <= 1e-5, hookpoint


@pytest.mark.parametrize("architecture", BRIDGED)
def test_both_ways_of_reading_give_the_same_loss_wherever_it_is_replaced(model_folders, architecture):
    bridge, hf = (_load(model_folders[architecture], each) for each in (ModelBackend.bridge, ModelBackend.hf))
    plain = hf.mean_loss(IDS, KEEP)
    for hookpoint in _hookpoints(architecture):
        losses = [each.mean_loss(IDS, KEEP, replace={hookpoint: torch.zeros_like}) for each in (bridge, hf)]
        assert abs(losses[0] - losses[1]) <= 1e-5 and abs(losses[0] - plain) > 1e-4, hookpoint


def test_an_mlp_whose_neurons_are_silent_adds_nothing(model_folders):
    model = _load(model_folders["llama"], ModelBackend.hf)
    neurons, out = (Hookpoint(kind, 1) for kind in (HookpointKind.neurons, HookpointKind.mlp_out))
    silent, nothing = (
        model.mean_loss(IDS, KEEP, replace={each: torch.zeros_like}) for each in (neurons, out)
    )
    assert abs(silent - nothing) <= 1e-6


@pytest.mark.parametrize("backend", [ModelBackend.bridge, ModelBackend.hf])
def test_a_model_computes_in_the_type_asked_for(model_folders, backend):
    post = Hookpoint(HookpointKind.resid_post, 2)
    model = language_model.load_language_model(str(model_folders["llama"]), dtype="bfloat16", backend=backend)
    got = model.activations(IDS, [post])[post]
    exact = _load(model_folders["llama"], backend).activations(IDS, [post])[post]
    assert (got.dtype, exact.dtype) == (torch.bfloat16, torch.float32)
    error = (got.float() - exact).norm() / exact.norm()
    assert 1e-4 < error < 0.05
    assert (
        abs(model.mean_loss(IDS, KEEP) - _load(model_folders["llama"], backend).mean_loss(IDS, KEEP)) < 0.05
    )


def test_only_kept_positions_with_a_next_token_count(model_folders):
    model = _load(model_folders["gpt2"])
    keep = torch.zeros(2, 12, dtype=torch.bool)
    keep[0, 3] = keep[1, 7] = keep[1, 11] = True
    logits = load_hf_model(str(model_folders["gpt2"]))(IDS).logits.log_softmax(-1)
    expected = -(logits[0, 3, IDS[0, 4]] + logits[1, 7, IDS[1, 8]]) / 2
    assert abs(model.mean_loss(IDS.numpy(), keep.numpy()) - expected.item()) <= 1e-5
    with pytest.raises(ValueError, match="expected a position kept that has a next token"):
        model.mean_loss(IDS, keep & (torch.arange(12) == 11))


def test_a_replacement_of_another_shape_is_refused(model_folders):
    post = Hookpoint(HookpointKind.resid_post, 1)
    expected = r"resid_post\[1\]: expected a function that keeps the shape \(2, 12, 16\), got \(2, 12, 8\)"
    with pytest.raises(ValueError, match=expected):
        _load(model_folders["gpt2"]).mean_loss(IDS, KEEP, replace={post: lambda x: x[..., :8]})


LENGTHS = torch.tensor([12, 7])
ATTENDED = torch.arange(12) < LENGTHS[:, None]


@pytest.mark.parametrize(("architecture", "backend"), BOTH)
def test_padding_is_hidden_from_attention_and_has_the_activations_hugging_face_gives_it(
    model_folders, architecture, backend
):
    folder, post = model_folders[architecture], Hookpoint(HookpointKind.resid_post, 1)
    model = _load(folder, backend)
    got = model.activations(IDS, [post], attended=ATTENDED)[post]
    # Bitwise: no token depends on what it is padded with.
    others = torch.where(ATTENDED, IDS, 5)
    assert torch.equal(
        model.activations(others, [post], attended=ATTENDED.numpy())[post][ATTENDED], got[ATTENDED]
    )
    # Nor on that there is padding: the same sequence alone.
    alone = model.activations(IDS[1:, :7], [post])[post]
    scale = max(alone.abs().max().item(), 1.0)
    assert (got[1, :7] - alone[0]).abs().max() <= 1e-5 * scale
    with torch.inference_mode():
        hugging_face = load_hf_model(str(folder), attention="eager")
        stream = hugging_face(IDS, attention_mask=ATTENDED.long(), output_hidden_states=True).hidden_states
    assert (got - stream[2]).abs().max() <= 1e-5 * scale
    # Padding that attended to padding would have others.
    shown = model.activations(IDS, [post])[post]
    assert (shown[1, 7:] - got[1, 7:]).abs().max() > 1e-3


@pytest.mark.parametrize("backend", [ModelBackend.bridge, ModelBackend.hf])
def test_padding_is_no_token_to_predict(model_folders, backend):
    model = _load(model_folders["gpt_neox"], backend)
    alone = [model.mean_loss(IDS[n : n + 1, :length], KEEP[:1, :length]) for n, length in enumerate(LENGTHS)]
    n_predicted = LENGTHS - 1
    expected = sum(loss * int(n) for loss, n in zip(alone, n_predicted, strict=True)) / int(n_predicted.sum())
    assert abs(model.mean_loss(IDS, KEEP, attended=ATTENDED) - expected) <= 1e-5
    assert abs(model.mean_loss(IDS, KEEP) - expected) > 1e-3
