"""Exactly the parameters that are meant are drawn anew, by the type of their module."""

import pytest
import torch

from saeuniv.adapters.model_folders import load_hf_model
from saeuniv.adapters.randomize import rerandomize, save_rerandomized

ARCHITECTURES = ("gpt_neox", "gpt2", "llama", "gemma2", "qwen2", "olmo2", "helium")
# Written out by name, as a check on the dispatch by type: D21 of earlier code kept GPT-NeoX's projection
# `embed_out` for its name, and drew Gemma's final `norm`.
EMBEDDINGS = {
    "gpt_neox": {"gpt_neox.embed_in.weight", "lm_head.weight", "embed_out.weight"},
    "gpt2": {"transformer.wte.weight", "transformer.wpe.weight"},
    **{
        name: {"model.embed_tokens.weight", "lm_head.weight"}
        for name in ("llama", "olmo2", "helium", "qwen2")
    },
    "gemma2": {"model.embed_tokens.weight"},
}
NORMS = ("layernorm", "layer_norm", ".ln_1.", ".ln_2.", ".ln_f.", ".norm.", "q_norm", "k_norm")


def _parameters(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("keep_embeddings", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_projections_are_drawn_norms_are_kept_and_embeddings_as_asked(
    model_folders, architecture, keep_embeddings
):
    model = load_hf_model(str(model_folders[architecture]))
    before = _parameters(model)
    drawn = rerandomize(model, seed=0, keep_embeddings=keep_embeddings)
    after = _parameters(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    norms = {name for name in before if any(each in f".{name}" for each in NORMS)}
    embeddings = EMBEDDINGS[architecture] & before.keys()
    assert norms and embeddings and not norms & embeddings
    assert changed == before.keys() - norms - (embeddings if keep_embeddings else set())
    assert set(drawn) == changed and len(drawn) == len(changed)
    for name in changed:
        assert not (before[name] == after[name]).any(), "every number is drawn"


def test_mean_and_spread_of_each_tensor_are_kept():
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=500,
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.mul_(1 + number).add_(0.1 * number)
    before = _parameters(model)
    for name in rerandomize(model, seed=3, keep_embeddings=False):
        old, new = before[name], model.get_parameter(name)
        assert abs(new.std() / old.std() - 1) < 0.05, name
        assert abs(new.mean() - old.mean()) < 0.05 * old.std(), name
        correlation = torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1]
        assert abs(correlation) < 0.05, name


def test_a_tied_unembedding_follows_its_embedding(model_folders):
    model = load_hf_model(str(model_folders["gpt2"]))
    assert model.lm_head.weight is model.transformer.wte.weight
    drawn = rerandomize(model, seed=0, keep_embeddings=False)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert "transformer.wte.weight" in drawn and "lm_head.weight" not in drawn


def test_the_seed_decides_and_the_folder_is_a_model_again(model_folders, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_rerandomized(str(model_folders["qwen2"]), tmp_path / name, seed=seed, keep_embeddings=True)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    assert load_hf_model(str(tmp_path / "a")).config.model_type == "qwen2"
    tokenizers = [(folder / "tokenizer.json").read_text() for folder in (tmp_path / "a", tmp_path / "c")]
    assert tokenizers[0] == tokenizers[1]


def test_a_parameter_of_an_unknown_kind_of_module_is_refused(model_folders):
    model = load_hf_model(str(model_folders["llama"]))
    model.model.layers[0].mlp.scale = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(
        ValueError, match=r"mlp\.scale: expected parameters of projections, embeddings and norm"
    ):
        rerandomize(model, seed=0, keep_embeddings=True)
