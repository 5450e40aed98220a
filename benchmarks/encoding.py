"""Encoding: tokens a second against a plain forward pass of the same model, memory over many batches."""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.section import Section

# Of Pythia 70M.
_D_MODEL, _N_LAYERS, _N_HEADS, _VOCABULARY = 512, 6, 8, 50304
_WIDTH, _K = 32768, 32
_SEQUENCES, _CONTEXT, _SKIPPED = 16, 128, 4

_MAX_CAPTURED, _MAX_ENCODED = 1.5, 3.0
# Batches over which memory must not grow, and by how much it may by chance.
_BATCHES, _WARM, _GROWTH = 200, 20, 1.03


class Rates(NamedTuple):
    """Tokens per CPU-second of one thread."""

    plain: float
    """Hugging Face's forward pass to the logits."""

    captured: float
    """All layers captured."""

    encoded: float
    """All layers captured, encoded, reconstructed and measured."""


def measure() -> Rates:
    """The rates of a model of Pythia 70M's shape with dictionaries of 32k latents at every layer."""
    import torch

    from saeuniv.adapters import quality
    from saeuniv.adapters.language_model import load_hf_model, load_language_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _write(folder, _D_MODEL, _N_LAYERS, _N_HEADS, _VOCABULARY)
        plain, model = load_hf_model(folder), load_language_model(folder)
    ids, keep = _tokens(_SEQUENCES)
    dictionaries = {hookpoint: _dictionary(_WIDTH, _D_MODEL) for hookpoint in _hookpoints(_N_LAYERS)}

    def forward() -> None:
        with torch.inference_mode():
            plain(torch.from_numpy(ids).long())

    def encode() -> None:
        quality.encode_rows(model, dictionaries, ids, keep, bound=np.inf, batch_sequences=_SEQUENCES)

    runs = (forward, lambda: model.activations(ids, list(dictionaries)), encode)
    return Rates(*(ids.size / _cpu_seconds(run) for run in runs))


def growth() -> float:
    """Peak memory after 200 batches over that after 20, of a small model; 1 is flat."""
    import torch

    from saeuniv.adapters import quality
    from saeuniv.adapters.language_model import load_language_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _write(folder, 64, 2, 4, 257)
        model = load_language_model(folder)
    ids, keep = _tokens(8, n_ids=257)
    dictionaries = {hookpoint: _dictionary(4096, 64) for hookpoint in _hookpoints(2)}
    peaks: list[int] = []
    for batch in range(_BATCHES):
        quality.encode_rows(model, dictionaries, ids, keep, bound=np.inf, batch_sequences=8)
        if batch in (_WARM, _BATCHES - 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peaks[1] / peaks[0]


def section() -> Section:
    """The ratios against a plain forward pass, and whether memory is flat."""
    flat = growth()  # before the large model: a peak is for the life of a process
    rates = measure()
    captured, encoded = rates.plain / rates.captured, rates.plain / rates.encoded
    body = (
        f"a model of Pythia 70M's shape, float32, one thread: {rates.plain:.0f} tokens/s plainly",
        f"all {_N_LAYERS} layers captured: {rates.captured:.0f} tokens/s, {captured:.2f} times",
        f"with {_WIDTH} latents a layer, k = {_K}: {rates.encoded:.0f} tokens/s, {encoded:.2f} times",
        f"peak memory after {_BATCHES} batches over that after {_WARM}: {flat:.3f}",
    )
    bounds = (
        (captured, _MAX_CAPTURED, "times a plain forward pass with all layers captured"),
        (encoded, _MAX_ENCODED, "times a plain forward pass with dictionaries"),
        (flat, _GROWTH, "of the peak memory after the first batches"),
    )
    faults = tuple(
        f"expected at most {bound} {what}, got {got:.2f}" for got, bound, what in bounds if got > bound
    )
    return Section("encoding", body, faults)


def _hookpoints(n_layers: int) -> list[Any]:
    from saeuniv.hookpoints import Hookpoint, HookpointKind

    return [Hookpoint(HookpointKind.resid_post, layer) for layer in range(n_layers)]


def _write(folder: str, d_model: int, n_layers: int, n_heads: int, n_ids: int) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from saeuniv.adapters.model_folders import save_model_folder
    from saeuniv.adapters.tiny import byte_tokenizer

    config = GPTNeoXConfig(
        vocab_size=n_ids,
        hidden_size=d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=4 * d_model,
        max_position_embeddings=2 * _CONTEXT,
    )
    save_model_folder(GPTNeoXForCausalLM(config), byte_tokenizer(_CONTEXT), Path(folder))


def _dictionary(width: int, d_in: int) -> Any:
    from saeuniv.adapters.encoding import Dictionary
    from saeuniv.adapters.formats.weights import Activation, DictionaryWeights

    directions = np.random.default_rng(0).standard_normal((width, d_in)).astype(np.float32)
    zeros = np.zeros(width, np.float32)
    return Dictionary(DictionaryWeights(directions, zeros, directions, zeros[:d_in], Activation.topk, _K))


def _tokens(n_sequences: int, *, n_ids: int = _VOCABULARY) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(1).integers(0, n_ids, (n_sequences, _CONTEXT)).astype(np.int32)
    keep = np.ones(ids.shape, dtype=bool)
    keep[:, :_SKIPPED] = False
    return ids, keep


def _cpu_seconds(run: Callable[[], object]) -> float:
    """The least of three, after one that is not counted."""
    run()
    best = np.inf
    for _ in range(3):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return float(best)
