"""Every format, read from files written by hand, against its published formula in plain numpy."""

import json
import math
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_torch

from saeuniv.adapters import formats
from saeuniv.adapters.encoding import Dictionary, load_dictionary
from saeuniv.adapters.formats.arrays import npz_arrays, npz_shapes, safetensors_arrays
from tests.adapters.formats.writing import (
    D_IN,
    RNG,
    WIDTH,
    arrays,
    relu,
    rows,
    thresholds,
    top,
    write_dictionary_learning,
    write_gemma_scope,
    write_gemma_scope_2,
    write_llama_scope,
    write_sae_lens,
)


def _dense(loaded: Dictionary, x: np.ndarray) -> np.ndarray:
    encoded = loaded.encode(torch.from_numpy(x))
    dense = np.zeros((len(x), loaded.width), dtype=np.float32)
    dense[np.repeat(np.arange(len(x)), encoded.counts), encoded.indices] = encoded.values
    return dense


def _agrees(
    folder: Path, latents: np.ndarray, reconstruction: np.ndarray, x: np.ndarray | None = None
) -> None:
    """The dictionary in a folder gives these latents and this reconstruction, and some of each are 0."""
    x = rows() if x is None else x
    loaded = load_dictionary(folder)
    assert (loaded.d_in, loaded.width) == (D_IN, WIDTH)
    dense = _dense(loaded, x)
    assert 0 < (latents > 0).mean() < 1
    np.testing.assert_array_equal(dense > 0, latents > 0)
    np.testing.assert_allclose(dense, latents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loaded.reconstruct(torch.from_numpy(x)), reconstruction, rtol=1e-4, atol=1e-4)


def test_gemma_scope_is_jumprelu_of_the_input_itself(tmp_path):
    p, x, theta = arrays(3), rows(), thresholds()
    pre = x @ p["W_enc"] + p["b_enc"]
    z = relu(pre) * (pre > theta)
    assert ((pre > 0) & (pre <= theta)).any(), "thresholds matter"
    _agrees(write_gemma_scope(tmp_path, 3, 82), z, z @ p["W_dec"] + p["b_dec"])


def test_gemma_scope_2_is_the_same_in_safetensors(tmp_path):
    p, x, theta = arrays(), rows(), thresholds()
    pre = x @ p["W_enc"] + p["b_enc"]
    z = relu(pre) * (pre > theta)
    folder = write_gemma_scope_2(tmp_path, "resid_post", "layer_12_width_16k_l0_medium")
    _agrees(folder, z, z @ p["W_dec"] + p["b_dec"])


def _hook(old: bool) -> dict[str, object]:
    name = "blocks.3.hook_resid_pre"
    return {"hook_point": name} if old else {"metadata": {"hook_name": name, "sae_lens_version": "6.5.0"}}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("subtracts", [True, False])
def test_sae_lens_standard_subtracts_the_decoder_bias_where_it_says_so(tmp_path, old, subtracts):
    p, x = arrays(), rows()
    z = relu((x - p["b_dec"] * subtracts) @ p["W_enc"] + p["b_enc"])
    kind = {"activation_fn_str": "relu"} if old else {"architecture": "standard"}
    cfg = {"apply_b_dec_to_input": subtracts, "normalize_activations": False if old else "none"}
    _agrees(write_sae_lens(tmp_path / "d", p, **kind, **cfg, **_hook(old)), z, z @ p["W_dec"] + p["b_dec"])


@pytest.mark.parametrize("old", [True, False])
def test_sae_lens_topk_keeps_k(tmp_path, old):
    p, x = arrays(), rows()
    z = top((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 3)
    kind = (
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
        if old
        else {"architecture": "topk", "k": 3}
    )
    _agrees(write_sae_lens(tmp_path / "d", p, **kind, **_hook(old)), z, z @ p["W_dec"] + p["b_dec"])


def test_sae_lens_topk_chooses_by_latents_times_decoder_norms_where_it_says_so(tmp_path):
    p, x = arrays(), rows()
    norms = np.linalg.norm(p["W_dec"], axis=1)
    z = top(((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * norms, 3)
    cfg = {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True}
    _agrees(
        write_sae_lens(tmp_path / "d", p, **cfg, **_hook(False)), z, (z / norms) @ p["W_dec"] + p["b_dec"]
    )


def test_sae_lens_jumprelu_has_a_threshold_a_latent(tmp_path):
    p, x, theta = arrays(), rows(), thresholds()
    pre = x @ p["W_enc"] + p["b_enc"]
    z = relu(pre) * (pre > theta)
    cfg = {"architecture": "jumprelu", "apply_b_dec_to_input": False, **_hook(False)}
    _agrees(write_sae_lens(tmp_path / "d", {**p, "threshold": theta}, **cfg), z, z @ p["W_dec"] + p["b_dec"])


def test_sae_lens_gated_has_a_gate_and_a_magnitude(tmp_path):
    p, x = arrays(), rows()
    gates = {
        name: RNG(i).normal(size=WIDTH).astype(np.float32)
        for i, name in enumerate(("b_gate", "b_mag", "r_mag"))
    }
    read = x - p["b_dec"]
    z = relu(read @ (p["W_enc"] * np.exp(gates["r_mag"])) + gates["b_mag"]) * (
        read @ p["W_enc"] + gates["b_gate"] > 0
    )
    tensors = {name: each for name, each in {**p, **gates}.items() if name != "b_enc"}
    cfg = {"architecture": "gated", **_hook(False)}
    _agrees(write_sae_lens(tmp_path / "d", tensors, **cfg), z, z @ p["W_dec"] + p["b_dec"])


def test_sae_lens_layer_norm_is_undone_after_decoding(tmp_path):
    p, x = arrays(), rows()
    mean = x.mean(1, keepdims=True)
    deviation = x.std(1, ddof=1, keepdims=True)
    z = relu(((x - mean) / (deviation + 1e-5) - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    cfg = {"architecture": "standard", "normalize_activations": "layer_norm", **_hook(False)}
    _agrees(write_sae_lens(tmp_path / "d", p, **cfg), z, (z @ p["W_dec"] + p["b_dec"]) * deviation + mean)


def test_sae_lens_constant_norm_rescale_is_undone_after_decoding(tmp_path):
    p, x = arrays(), rows()
    factor = math.sqrt(D_IN) / np.linalg.norm(x, axis=1, keepdims=True)
    z = relu((x * factor - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    cfg = {"architecture": "standard", "normalize_activations": "constant_norm_rescale", **_hook(False)}
    _agrees(write_sae_lens(tmp_path / "d", p, **cfg), z, (z @ p["W_dec"] + p["b_dec"]) / factor)


@pytest.mark.parametrize("subtracts", [True, False])
def test_sae_lens_checkpoints_read_the_input_times_the_factor_beside_them(tmp_path, subtracts):
    p, x, factor = arrays(), rows(), 0.37
    z = relu((x * factor - p["b_dec"] * subtracts) @ p["W_enc"] + p["b_enc"])
    cfg = {"normalize_activations": "expected_average_only_in", "apply_b_dec_to_input": subtracts}
    folder = write_sae_lens(tmp_path / "d", p, architecture="standard", **cfg, **_hook(False))
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    _agrees(folder, z, (z @ p["W_dec"] + p["b_dec"]) / factor)


@pytest.mark.parametrize("used", [True, False])
def test_sae_lens_finetuned_scales_concern_the_decoder_alone(tmp_path, used):
    p, x = arrays(), rows()
    scale = RNG(5).uniform(0.5, 2, WIDTH).astype(np.float32) if used else np.ones(WIDTH, np.float32)
    z = relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    tensors = {**p, "scaling_factor": scale}
    cfg = {"finetuning_scaling_factor": used, **_hook(True)}
    _agrees(write_sae_lens(tmp_path / "d", tensors, **cfg), z, (z * scale) @ p["W_dec"] + p["b_dec"])


def test_sae_lens_scales_that_cfg_json_does_not_speak_of_are_refused(tmp_path):
    tensors = {**arrays(), "scaling_factor": np.full(WIDTH, 2, np.float32)}
    with pytest.raises(ValueError, match="finetuning_scaling_factor=true, got one that is not 1"):
        load_dictionary(write_sae_lens(tmp_path / "d", tensors, **_hook(True)))


def test_sae_lens_of_a_centred_model_reads_activations_less_their_mean(tmp_path):
    p, x = arrays(), rows()
    mean = x.mean(1, keepdims=True)
    z = relu((x - mean - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    about = {
        "hook_name": "blocks.3.hook_resid_pre",
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
    }
    folder = write_sae_lens(tmp_path / "d", p, architecture="standard", metadata=about)
    _agrees(folder, z, z @ p["W_dec"] + p["b_dec"] + mean)


def test_llama_scope_is_its_training_formula_in_units_of_the_input(tmp_path):
    """In training: x sqrt(d) / (mean norm); latents times decoder norms, JumpReLU, decoder rows of norm 1.

    For inference latents are divided by the factor of the input; the threshold is for these.
    """
    p, x = arrays(), rows()
    factor, norms = math.sqrt(D_IN) / 5.0, np.linalg.norm(p["W_dec"], axis=1)
    pre = ((x * factor) @ p["W_enc"] + p["b_enc"]) * norms / factor
    z = relu(pre) * (pre > 0.7)
    assert ((pre > 0) & (pre <= 0.7)).any()
    y = ((z * factor) @ (p["W_dec"] / norms[:, None]) + p["b_dec"]) / factor
    _agrees(write_llama_scope(tmp_path / "Llama3_1-8B-Base-L3R-8x", p), z, y)


def test_llama_scope_topk_without_a_threshold_keeps_k(tmp_path):
    p, x = arrays(), rows()
    factor = math.sqrt(D_IN) / 5.0
    z = top((x * factor) @ p["W_enc"] + p["b_enc"], 2) / factor
    changes = {
        "act_fn": "topk",
        "jump_relu_threshold": 0.0,
        "top_k": 2,
        "sparsity_include_decoder_norm": False,
    }
    _agrees(write_llama_scope(tmp_path / "L3R-8x", p, **changes), z, z @ p["W_dec"] + p["b_dec"] / factor)


def _torch_layout(p: dict[str, np.ndarray], bias: str = "b_dec") -> dict[str, np.ndarray]:
    return {
        "encoder.weight": p["W_enc"].T.copy(),
        "encoder.bias": p["b_enc"],
        "decoder.weight": p["W_dec"].T.copy(),
        bias: p["b_dec"],
    }


def test_dictionary_learning_standard(tmp_path):
    p, x = arrays(), rows()
    z = relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    folder = write_dictionary_learning(tmp_path / "d", _torch_layout(p, "bias"), "AutoEncoder")
    _agrees(folder, z, z @ p["W_dec"] + p["b_dec"])


def test_dictionary_learning_topk_keeps_k_whatever_threshold_it_has(tmp_path):
    p, x = arrays(), rows()
    z = top((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 3)
    state = {**_torch_layout(p), "k": np.array(3), "threshold": np.float32(9)}
    folder = write_dictionary_learning(tmp_path / "d", state, "AutoEncoderTopK", k=3)
    _agrees(folder, z, z @ p["W_dec"] + p["b_dec"])


@pytest.mark.parametrize("matryoshka", [False, True])
def test_dictionary_learning_batchtopk_uses_its_threshold(tmp_path, matryoshka):
    p, x = arrays(), rows()
    z = relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
    z = z * (z > 0.8)
    state = {**(p if matryoshka else _torch_layout(p)), "k": np.array(3), "threshold": np.float32(0.8)}
    name = "MatryoshkaBatchTopKSAE" if matryoshka else "BatchTopKSAE"
    _agrees(write_dictionary_learning(tmp_path / "d", state, name, k=3), z, z @ p["W_dec"] + p["b_dec"])


def test_dictionary_learning_jumprelu_does_not_subtract_the_decoder_bias(tmp_path):
    p, x, theta = arrays(), rows(), thresholds()
    pre = x @ p["W_enc"] + p["b_enc"]
    z = relu(pre * (pre > theta))
    folder = write_dictionary_learning(tmp_path / "d", {**p, "threshold": theta}, "JumpReluAutoEncoder")
    _agrees(folder, z, z @ p["W_dec"] + p["b_dec"])


def test_dictionary_learning_gated(tmp_path):
    p, x = arrays(), rows()
    gate, magnitude, r = (RNG(i).normal(size=WIDTH).astype(np.float32) for i in range(3))
    shared = (x - p["b_dec"]) @ p["W_enc"]
    z = (shared + gate > 0) * relu(np.exp(r) * shared + magnitude)
    state = {name: each for name, each in _torch_layout(p, "decoder_bias").items() if name != "encoder.bias"}
    state |= {"gate_bias": gate, "mag_bias": magnitude, "r_mag": r}
    _agrees(
        write_dictionary_learning(tmp_path / "d", state, "GatedAutoEncoder"), z, z @ p["W_dec"] + p["b_dec"]
    )


def test_no_dictionary_gives_back_the_activation_from_its_positive_and_negative_parts():
    x = rows(20)
    loaded = Dictionary(formats.both_signs(D_IN))
    dense = _dense(loaded, x)
    np.testing.assert_array_equal(dense, np.hstack([relu(x), relu(-x)]))
    np.testing.assert_array_equal(loaded.reconstruct(torch.from_numpy(x)), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_other_types_become_float32(tmp_path, dtype):
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_torch({"x": values, "counts": torch.arange(4)}, tmp_path / "t.safetensors")
    read = safetensors_arrays(tmp_path / "t.safetensors")
    assert set(read) == {"x"} and read["x"].dtype == np.float32
    np.testing.assert_array_equal(read["x"], values.float().numpy())


def test_a_truncated_safetensors_file_is_refused(tmp_path, write_dictionary):
    folder = write_dictionary(tmp_path / "d")
    path = folder / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"it is damaged or was cut off"):
        formats.read(folder)


def test_an_npz_file_that_is_none_or_damaged_is_refused(tmp_path):
    folder = write_gemma_scope(tmp_path, 0, 10)
    path = folder / "params.npz"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="expected an npz file"):
        formats.read(folder)
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected an npz file"):
        npz_arrays(path)


class _Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "ran"))


def test_a_pickle_within_an_npz_file_is_refused_and_not_run(tmp_path):
    folder = write_gemma_scope(tmp_path, 0, 10)
    trap = np.array([_Trap(tmp_path / "ran")], dtype=object)
    np.savez(folder / "params.npz", **arrays(), threshold=trap)
    for read in (npz_shapes, npz_arrays, lambda path: formats.read(path.parent)):
        with pytest.raises(ValueError, match=r"got threshold.npy, which would be unpickled and can run code"):
            read(folder / "params.npz")
    assert zipfile.is_zipfile(folder / "params.npz") and not (tmp_path / "ran").exists()


def test_a_pickle_that_needs_more_than_tensors_is_refused_and_not_run(tmp_path):
    folder = write_dictionary_learning(tmp_path / "d", _torch_layout(arrays(), "bias"), "AutoEncoder")
    for content in (
        lambda file: torch.save({"x": _Trap(tmp_path / "ran")}, file),
        lambda file: pickle.dump(_Trap(tmp_path / "ran"), file, protocol=2),
    ):
        with (folder / "ae.pt").open("wb") as file:
            content(file)
        with pytest.raises(
            ValueError, match=r"expected a file of tensors alone, got one that is damaged or whose"
        ):
            formats.read(folder)
    assert not (tmp_path / "ran").exists()


def test_a_batchtopk_dictionary_whose_threshold_was_never_set_is_refused(tmp_path):
    state = {**_torch_layout(arrays()), "threshold": np.float32(-1)}
    with pytest.raises(ValueError, match=r"expected thresholds that training has set, got -1.0"):
        formats.read(write_dictionary_learning(tmp_path / "d", state, "BatchTopKSAE"))


def test_a_missing_tensor_is_named_with_those_there_are(tmp_path):
    p = arrays()
    del p["b_dec"]
    folder = write_sae_lens(tmp_path / "d", p, architecture="standard")
    with pytest.raises(ValueError, match=r"got no b_dec among W_dec, W_enc, b_enc"):
        formats.read(folder)
    with pytest.raises(ValueError, match=r"expected a dictionary .* got none of these files"):
        formats.read(tmp_path)


def test_what_is_not_published_twice_alike_is_one_form_in_memory(tmp_path):
    """The same parameters as Gemma Scope and as sae-lens have them."""
    theta = thresholds()
    gemma = formats.read(write_gemma_scope(tmp_path, 3, 10))
    cfg = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    lens = formats.read(write_sae_lens(tmp_path / "d", {**arrays(3), "threshold": theta}, **cfg))
    for name in gemma._fields:
        np.testing.assert_array_equal(getattr(gemma, name), getattr(lens, name), err_msg=name)
