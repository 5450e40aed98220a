"""Tiny random models and dictionaries as folders on disk, made once per session."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

torch.set_num_threads(1)

D_MODEL = 16
ARCHITECTURES = (
    "gpt_neox",
    "gpt_neox_serial",
    "gpt2",
    "llama",
    "gemma2",
    "qwen2",
    "olmo2",
    "helium",  # TransformerBridge does not know it
)
N_LAYERS = 3


def _model(name: str):
    import transformers as hf

    common = {"vocab_size": 257, "bos_token_id": 0, "eos_token_id": 0}
    block = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2}
    match name:
        case "gpt_neox":
            return hf.GPTNeoXForCausalLM(
                hf.GPTNeoXConfig(intermediate_size=32, max_position_embeddings=32, **block, **common)
            )
        case "gpt_neox_serial":
            serial = {"use_parallel_residual": False, "max_position_embeddings": 32}
            return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(intermediate_size=32, **serial, **block, **common))
        case "gemma2" | "qwen2" | "helium" | "olmo2":
            prefix = {"gemma2": "Gemma2", "qwen2": "Qwen2", "helium": "Helium", "olmo2": "Olmo2"}[name]
            own = {"head_dim": 8} if name in ("gemma2", "helium") else {}
            own |= {"sliding_window": 8} if name == "gemma2" else {}
            config = getattr(hf, f"{prefix}Config")(
                intermediate_size=48,
                max_position_embeddings=32,
                num_key_value_heads=1,
                **own,
                **block,
                **common,
            )
            return getattr(hf, f"{prefix}ForCausalLM")(config)
        case "gpt2":
            return hf.GPT2LMHeadModel(
                hf.GPT2Config(n_embd=D_MODEL, n_layer=N_LAYERS, n_head=2, n_positions=32, **common)
            )
        case _:
            return hf.LlamaForCausalLM(
                hf.LlamaConfig(intermediate_size=32, max_position_embeddings=32, **block, **common)
            )


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory) -> dict[str, Path]:
    """One folder per architecture; norms and biases are perturbed so that folding them would show."""
    from saeuniv.adapters import model_folders, tiny

    root = tmp_path_factory.mktemp("models")
    folders: dict[str, Path] = {}
    for name in ARCHITECTURES:
        torch.manual_seed(0)
        model = _model(name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3 if parameter.ndim == 2 else 1)
                parameter.add_(0.3 * torch.randn_like(parameter) if parameter.ndim == 1 else 0)
        folders[name] = root / name
        model_folders.save_model_folder(model, tiny.byte_tokenizer(32), folders[name])
    return folders


@pytest.fixture
def write_dictionary():
    """A function that writes a dictionary folder, identity-like or random, with any cfg.json entries."""

    def write(
        folder: Path, *, d_in: int = D_MODEL, width: int = 32, k: int = 4, dtype=torch.float32, **cfg
    ) -> Path:
        folder.mkdir(parents=True)
        generator = torch.Generator().manual_seed(width + d_in)
        tensors = {
            "encoder.weight": torch.randn(width, d_in, generator=generator),
            "encoder.bias": torch.randn(width, generator=generator),
            "W_dec": torch.randn(width, d_in, generator=generator),
            "b_dec": torch.randn(d_in, generator=generator),
        }
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / "sae.safetensors")
        known = {
            "expansion_factor": 32,
            "normalize_decoder": True,
            "num_latents": width,
            "k": k,
            "d_in": d_in,
        }
        (folder / "cfg.json").write_text(json.dumps({**known, **cfg}))
        return folder

    return write


@pytest.fixture
def write_identity():
    """A function that writes a dictionary that gives back its input: latents +x and -x of each dimension."""

    def write(folder: Path, *, d_in: int = D_MODEL, **cfg) -> Path:
        folder.mkdir(parents=True)
        both = torch.cat([torch.eye(d_in), -torch.eye(d_in)])
        tensors = {
            "encoder.weight": both,
            "encoder.bias": torch.zeros(2 * d_in),
            "W_dec": both.clone(),
            "b_dec": torch.zeros(d_in),
        }
        save_file(tensors, folder / "sae.safetensors")
        (folder / "cfg.json").write_text(
            json.dumps({"num_latents": 2 * d_in, "k": d_in, "d_in": d_in, **cfg})
        )
        return folder

    return write
