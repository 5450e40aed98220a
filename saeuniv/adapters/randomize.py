"""Counterparts of a trained model: weights drawn anew, with the mean and spread of the trained ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saeuniv.adapters.model_folders import load_hf_model, load_tokenizer, save_model_folder


def save_rerandomized(
    folder: str, out: Path, *, seed: int, keep_embeddings: bool, revision: str | None = None
) -> None:
    """Write a folder's or hub repository's model with its weights drawn anew; see `rerandomize`."""
    model = load_hf_model(folder, revision=revision)
    rerandomize(model, seed=seed, keep_embeddings=keep_embeddings)
    save_model_folder(model, load_tokenizer(folder, revision), out)


def rerandomize(model: Any, *, seed: int, keep_embeddings: bool) -> tuple[str, ...]:
    """The names of the parameters of Hugging Face's `model` that were drawn anew, in place.

    Every number of a projection, weights and biases, becomes a draw of the normal distribution with the mean
    and the standard deviation of its tensor (Heap et al. 2025, "Sparse autoencoders can interpret randomly
    initialized transformers"). Norms are kept. With `keep_embeddings` so are embeddings and unembedding, and
    with them what two models share of token identity; else both are drawn, once where they are tied.
    What a parameter is for is told by the type of its module, never by its name.

    Raises:
        ValueError: a parameter of a module of another type.
    """
    generator = torch.Generator().manual_seed(seed)
    output = model.get_output_embeddings()
    kept = {id(parameter) for parameter in output.parameters()} if output and keep_embeddings else set[int]()
    drawn: list[str] = []
    for name, module, parameter in _parameters(model):
        is_embedding = isinstance(module, nn.Embedding)
        if _is_norm(module) or id(parameter) in kept or (is_embedding and keep_embeddings):
            continue
        if not is_embedding and not _is_projection(module):
            raise ValueError(
                f"{name}: expected parameters of projections, embeddings and norms only, got one of "
                f"{type(module).__name__} in a {model.config.model_type} model. Choose control=untrained."
            )
        kept.add(id(parameter))  # a tied one is met again
        drawn.append(name)
        _draw(parameter.data, generator)
    return tuple(drawn)


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Every parameter with the module that it belongs to; a shared one as often as it is used."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield (f"{prefix}.{name}" if prefix else name), module, parameter


def _is_projection(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D  # GPT-2's

    return isinstance(module, nn.Linear | Conv1D)


def _is_norm(module: nn.Module) -> bool:
    # Hugging Face's RMS norms have no class in common but a name.
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) or type(module).__name__.endswith("Norm")


def _draw(tensor: Tensor, generator: torch.Generator) -> None:
    wide = tensor.double()
    fresh = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    tensor.copy_(wide.mean() + wide.std(correction=0) * fresh)
