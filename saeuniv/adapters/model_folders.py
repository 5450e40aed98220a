"""Folders of language models and tokenizers in Hugging Face's format: read, and written."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from saeuniv.adapters.devices import device_map, require
from saeuniv.adapters.downloads import local_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def load_hf_model(
    folder: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    attention: str | None = None,
) -> "PreTrainedModel":
    """The model in a folder, or of a hub repository at a revision, in evaluation mode.

    `device` may name several GPUs, over which the model is spread: `cuda:0,cuda:1`. `attention` names what
    computes attention; unset, Hugging Face chooses what is right for the model.

    Raises:
        OSError: there are no safetensors weights (pickled weights are not read).
        ConfigError: the commit is neither in the cache nor to be had from the hub.
        ValueError: damaged weights; a device that torch cannot use here.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    devices = require(device)
    folder = _here(folder, revision, weights=True)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            **device_map(devices),
        )
    except SafetensorError as error:
        raise ValueError(
            f"{folder}: expected weights that can be read, got damaged safetensors ({error}). "
            f"Copy or fetch the files again."
        ) from error
    return (model.to(device) if len(devices) == 1 else model).eval()


def load_tokenizer(folder: str, revision: str | None = None) -> "PreTrainedTokenizerFast":
    """The tokenizer exactly as tokenizer.json has it.

    Not AutoTokenizer: where a class is named for the architecture, it rebuilds the tokenizer with settings
    of its own, and `ModelFacts.tokenizer` is the hash of the file.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(_here(folder, revision, weights=False))


def save_initial_weights(folder: str, out: Path, *, seed: int, revision: str | None = None) -> None:
    """Write the untrained counterpart of a model: its configuration and tokenizer, weights from `seed`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = _here(folder, revision, weights=False)
    config = AutoConfig.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    save_model_folder(model, load_tokenizer(folder), out)


def save_model_folder(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Write config.json, *.safetensors and tokenizer.json; the bytes depend on the arguments only."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # safetensors makes files that only their owner can read; a store may be shared.
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def _here(folder: str, revision: str | None, *, weights: bool) -> str:
    """The folder, or (there is a revision) the one that holds this commit of a hub repository."""
    return folder if revision is None else str(local_model(folder, revision, weights=weights))
