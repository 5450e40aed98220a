"""The embedded language model: a byte-level GPT-NeoX small enough to train at first use."""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int

from saeuniv.adapters.checkpoints import END_OF_TEXT, byte_tokenizer_json
from saeuniv.adapters.model_facts import TINY_D_FF
from saeuniv.adapters.model_folders import save_model_folder
from saeuniv.adapters.training_state import TrainingState
from saeuniv.config import TinyModel, plain

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

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
        intermediate_size=TINY_D_FF * spec.d_model,
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
    *,
    checkpoint: Path | None = None,
) -> None:
    """Train in place for `spec.steps` steps on windows drawn from `stream` by `spec.seed`.

    AdamW, linear warm-up over 30 steps, cosine to 5 % of the peak rate, gradients clipped to norm 1.
    `progress` is called with the steps done and the steps in all. In the folder `checkpoint` the state is
    kept from which the same call goes on after it was killed, to the same weights; removing it is the
    caller's.

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
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    digest = hashlib.sha256(stream.tobytes()).hexdigest()
    state = TrainingState(checkpoint, {**plain(spec), "stream": digest})
    first = _restore(parts, generator, resumed) if (resumed := state.read()) else 0
    model.train()
    for step in range(first, spec.steps):
        ids = windows[torch.randint(len(windows), (spec.batch_sequences,), generator=generator)]
        _step(model, optimizer, ids)
        schedule.step()
        state.write(partial(_state, parts, generator, step + 1))
        progress(step + 1, spec.steps)
    model.eval()


def save(model: "GPTNeoXForCausalLM", folder: Path) -> None:
    """Write an ordinary Hugging Face folder: config.json, model.safetensors, tokenizer.json.

    The bytes depend on the weights and the library versions only.
    """
    save_model_folder(model, byte_tokenizer(model.config.max_position_embeddings), folder)


def _step(
    model: "GPTNeoXForCausalLM", optimizer: torch.optim.Optimizer, ids: Int[torch.Tensor, "batch context"]
) -> None:
    logits = model(ids, use_cache=False).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
    optimizer.step()


def _state(parts: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Any]:
    """All that changes from step to step; nothing is drawn from the global generator."""
    states = {name: part.state_dict() for name, part in parts.items()}
    return {"step": step, "generator": generator.get_state(), **states}


def _restore(parts: dict[str, Any], generator: torch.Generator, state: dict[str, Any]) -> int:
    """The steps done."""
    for name, part in parts.items():
        part.load_state_dict(state[name])
    generator.set_state(state["generator"])
    _log.info("models: going on after step %d", state["step"])
    return state["step"]


def _rate(step: int, n_steps: int) -> float:
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    cosine = 0.5 * (1 + math.cos(math.pi * step / n_steps))
    return warmup * (_FINAL_RATE + (1 - _FINAL_RATE) * cosine)
