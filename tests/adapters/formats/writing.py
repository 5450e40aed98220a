"""Small dictionaries written by hand in the formats that are published, and what their formulas give."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

D_IN = 6
WIDTH = 10
RNG = np.random.default_rng


def arrays(seed: int = 0, d_in: int = D_IN, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Parameters in the layout of Gemma Scope and sae-lens: W_enc is d_in x latents."""
    rng = RNG(seed)
    drawn = {
        "W_enc": rng.normal(size=(d_in, width)),
        "b_enc": rng.normal(size=width),
        "W_dec": rng.normal(size=(width, d_in)),
        "b_dec": rng.normal(size=d_in),
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def thresholds(seed: int = 1, width: int = WIDTH) -> np.ndarray:
    """One for each latent, positive."""
    return RNG(seed).uniform(0.1, 1.5, width).astype(np.float32)


def rows(n: int = 40, d_in: int = D_IN) -> np.ndarray:
    """Activations whose mean over dimensions is not 0."""
    return (RNG(2).normal(size=(n, d_in)) * 2 + 1).astype(np.float32)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def top(x: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each row, if positive."""
    kept = np.zeros_like(x)
    for row, values in enumerate(x):
        best = np.argsort(-values)[:k]
        kept[row, best] = relu(values[best])
    return kept


def write_gemma_scope(root: Path, layer: int, l0: int, *, words: str = "16k", **changes: np.ndarray) -> Path:
    """`layer_3/width_16k/average_l0_82/params.npz`; the width of the arrays is small all the same."""
    folder = root / f"layer_{layer}/width_{words}/average_l0_{l0}"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{**arrays(layer), "threshold": thresholds(), **changes})
    return folder


def write_gemma_scope_2(root: Path, place: str, name: str, **config: object) -> Path:
    """`resid_post/layer_12_width_16k_l0_medium` with params.safetensors and config.json."""
    folder = root / place / name
    folder.mkdir(parents=True)
    given = arrays()
    named = {
        "w_enc": given["W_enc"],
        "w_dec": given["W_dec"],
        "b_enc": given["b_enc"],
        "b_dec": given["b_dec"],
    }
    save_file({**named, "threshold": thresholds()}, folder / "params.safetensors")
    known = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


def write_sae_lens(folder: Path, tensors: dict[str, np.ndarray], **cfg: object) -> Path:
    """cfg.json and sae_weights.safetensors."""
    folder.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(each) for name, each in tensors.items()},
        folder / "sae_weights.safetensors",
    )
    known = {"d_in": D_IN, "d_sae": WIDTH, "dtype": "float32"}
    (folder / "cfg.json").write_text(json.dumps({**known, **cfg}))
    return folder


def write_llama_scope(folder: Path, tensors: dict[str, np.ndarray], **changes: object) -> Path:
    """hyperparams.json and checkpoints/final.safetensors, in torch's layout."""
    (folder / "checkpoints").mkdir(parents=True)
    named = {
        "encoder.weight": tensors["W_enc"].T,
        "encoder.bias": tensors["b_enc"],
        "decoder.weight": tensors["W_dec"].T,
        "decoder.bias": tensors["b_dec"],
    }
    named = {name: np.ascontiguousarray(each) for name, each in named.items()}
    save_file(named, folder / "checkpoints/final.safetensors")
    known = {
        "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
        "d_model": D_IN,
        "d_sae": WIDTH,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.7,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 5.0, "out": 5.0},
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "top_k": 50,
    }
    (folder / "hyperparams.json").write_text(json.dumps({**known, **changes}))
    return folder


def write_dictionary_learning(
    folder: Path, state: dict[str, np.ndarray], dict_class: str, **trainer: object
) -> Path:
    """config.json and ae.pt, a state_dict."""
    import torch

    folder.mkdir(parents=True)
    torch.save({name: torch.tensor(each) for name, each in state.items()}, folder / "ae.pt")
    known = {
        "dict_class": dict_class,
        "activation_dim": D_IN,
        "dict_size": WIDTH,
        "layer": 3,
        "submodule_name": "resid_post_layer_3",
        "lm_name": "EleutherAI/pythia-70m-deduped",
    }
    (folder / "config.json").write_text(
        json.dumps({"trainer": {**known, **trainer}, "buffer": {"ctx_len": 128}})
    )
    return folder
