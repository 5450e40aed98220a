"""The names of one place in every library."""

import pytest

from saeuniv.hookpoints import Hookpoint, HookpointKind, ModulePlace, is_parallel

K = HookpointKind


@pytest.mark.parametrize(
    ("architecture", "kind", "module", "is_input"),
    [
        ("gpt_neox", K.resid_pre, "layers.2", True),
        ("gpt_neox", K.resid_post, "layers.2", False),
        ("gpt_neox", K.attn_out, "layers.2.attention", False),
        ("gpt_neox", K.neurons, "layers.2.mlp.dense_4h_to_h", True),
        ("gpt2", K.resid_mid, "h.2.ln_2", True),
        ("gpt2", K.neurons, "h.2.mlp.c_proj", True),
        ("llama", K.mlp_out, "layers.2.mlp", False),
        ("qwen2", K.neurons, "layers.2.mlp.down_proj", True),
        ("gemma2", K.mlp_out, "layers.2.post_feedforward_layernorm", False),
        ("gemma2", K.resid_mid, "layers.2.pre_feedforward_layernorm", True),
        ("an architecture to come", K.resid_mid, "layers.2.post_attention_layernorm", True),
    ],
)
def test_a_hookpoint_is_the_input_or_output_of_a_module(architecture, kind, module, is_input):
    hookpoint = Hookpoint(kind, 2)
    assert hookpoint.hugging_face(architecture) == ModulePlace(module, is_input)
    if is_input:
        with pytest.raises(ValueError, match=f"got the input of {module}"):
            hookpoint.sparsify(architecture)
    else:
        assert hookpoint.sparsify(architecture) == module


def test_attention_and_mlp_are_parallel_by_architecture_or_by_configuration():
    assert is_parallel("gpt_neox", {}) and is_parallel("gptj", {})
    assert not is_parallel("gpt_neox", {"use_parallel_residual": False})
    assert not is_parallel("stablelm", {}) and is_parallel("stablelm", {"use_parallel_residual": True})
    assert not is_parallel("llama", {"use_parallel_residual": True})


def test_neighbours_are_as_wide_as_the_hookpoint_itself():
    assert Hookpoint(K.neurons, 0).neighbours(3) == (Hookpoint(K.neurons, 1),)
    assert Hookpoint(K.neurons, 2).neighbours(3) == (Hookpoint(K.neurons, 1),)
    assert Hookpoint(K.mlp_out, 0).neighbours(3) == (Hookpoint(K.resid_pre, 0), Hookpoint(K.mlp_out, 1))
    assert Hookpoint(K.resid_pre, 0).neighbours(1) == ()
