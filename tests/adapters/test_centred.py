"""Dictionaries of models whose weights TransformerLens had processed read activations less their mean."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from saeuniv.adapters import formats, language_model
from saeuniv.adapters.encoding import Dictionary
from saeuniv.adapters.model_folders import load_tokenizer
from saeuniv.hookpoints import Hookpoint, HookpointKind

IDS = np.random.default_rng(0).integers(0, 257, (4, 16)).astype(np.int32)
KINDS = (HookpointKind.resid_pre, HookpointKind.resid_post, HookpointKind.mlp_out, HookpointKind.attn_out)


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox"])
def both(request, model_folders):
    """Activations of a model by hookpoint: as they are, and of its weights processed by TransformerLens."""
    from transformer_lens.model_bridge import TransformerBridge

    folder = str(model_folders[request.param])
    hookpoints = [Hookpoint(kind, layer) for kind in KINDS for layer in range(3)]
    raw = language_model.load_language_model(folder).activations(IDS, hookpoints)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    bridge = TransformerBridge.boot_transformers(
        folder, hf_model=model, tokenizer=load_tokenizer(folder), device="cpu", dtype=torch.float32
    )
    bridge.enable_compatibility_mode(disable_warnings=True)
    names = {hookpoint: hookpoint.transformer_lens for hookpoint in hookpoints}
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(torch.from_numpy(IDS).long())
    return raw, {hookpoint: cache[name] for hookpoint, name in names.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_processed_activations_are_raw_ones_less_their_mean(both, kind):
    raw, processed = both
    for layer in range(3):
        x, expected = raw[Hookpoint(kind, layer)], processed[Hookpoint(kind, layer)]
        centred = x - x.mean(-1, keepdim=True)
        torch.testing.assert_close(centred, expected, atol=2e-5, rtol=1e-4)
        assert (x - expected).abs().max() > 1e-3, "processing matters here"


def test_a_centred_dictionary_encodes_raw_activations_as_processed_ones(both, tmp_path, write_dictionary):
    raw, processed = both
    weights = formats.read(write_dictionary(tmp_path / "d", k=8))
    place = Hookpoint(HookpointKind.resid_pre, 2)
    x, y = (each[place].flatten(0, 1) for each in (raw, processed))
    centred, plain = Dictionary(weights._replace(centred=True)), Dictionary(weights)
    one, other = centred.encode(x), plain.encode(y)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-4)
    mean = x.mean(-1, keepdim=True)
    torch.testing.assert_close(centred.reconstruct(x), plain.reconstruct(y) + mean, atol=1e-3, rtol=1e-3)
