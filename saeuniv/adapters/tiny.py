"""The embedded language model: a byte-level GPT-NeoX small enough to train at first use."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int

from saeuniv.adapters.checkpoints import END_OF_TEXT, byte_tokenizer_json
from saeuniv.adapters.language_model import save_model_folder
from saeuniv.config import TinyModel

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

_WARMUP_STEPS = 30
# The cosine ends at this fraction of the peak rate.
_FINAL_RATE = 0.05
_BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.05
_MAX_GRADIENT_NORM = 1.0


def byte_tokenizer(context_length: int) -> "PreTrainedTokenizerFast":
    """The embedded tokenizer: 257 ids, end-of-text and one per byte of UTF-8."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(byte_tokenizer_json())),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=context_length,
    )


def initial_model(spec: TinyModel) -> "GPTNeoXForCausalLM":
    """The model after zero steps: what `spec.seed` alone decides. The global generator is left as it was."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=len(byte_tokenizer_json()["model"]["vocab"]),
        hidden_size=spec.d_model,
        num_hidden_layers=spec.n_layers,
        num_attention_heads=spec.n_heads,
        intermediate_size=4 * spec.d_model,
        max_position_embeddings=spec.context_length,
        use_parallel_residual=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        return GPTNeoXForCausalLM(config).eval()


def train_model(
    model: "GPTNeoXForCausalLM",
    stream: Int[np.ndarray, " tokens"],
    spec: TinyModel,
    progress: Callable[[int, int], None],
) -> None:
    """Train in place for `spec.steps` steps on windows drawn from `stream` by `spec.seed`.

    AdamW, linear warm-up over 30 steps, cosine to 5 % of the peak rate, gradients clipped to norm 1.
    `progress` is called with the steps done and the steps in all.

    Raises:
        ValueError: the stream is shorter than one sequence.
    """
    context = spec.context_length
    if len(stream) <= context:
        raise ValueError(
            f"expected more than {context} training tokens (one sequence), got {len(stream)}. "
            f"Lower data.held_out or give more text."
        )
    windows = torch.from_numpy(stream.astype(np.int64)).unfold(0, context, 1)
    generator = torch.Generator().manual_seed(spec.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=spec.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, spec.steps))
    model.train()
    for step in range(spec.steps):
        ids = windows[torch.randint(len(windows), (spec.batch_sequences,), generator=generator)]
        logits = model(ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        progress(step + 1, spec.steps)
    model.eval()


def save(model: "GPTNeoXForCausalLM", folder: Path) -> None:
    """Write an ordinary Hugging Face folder: config.json, model.safetensors, tokenizer.json.

    The bytes depend on the weights and the library versions only.
    """
    save_model_folder(model, byte_tokenizer(model.config.max_position_embeddings), folder)


def _rate(step: int, n_steps: int) -> float:
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * step / n_steps))
    return warmup * (_FINAL_RATE + (1 - _FINAL_RATE) * cosine)
