"""Training dictionaries: all hookpoints of a model in one pass over a stream of tokens."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from saeuniv.adapters.l1_training import train_with_l1
from saeuniv.adapters.model_folders import load_hf_model, load_tokenizer
from saeuniv.adapters.sparsify_training import train_with_sparsify
from saeuniv.adapters.token_stream import training_sequences
from saeuniv.adapters.tokenization import bos_id
from saeuniv.adapters.training_run import TrainingRun, add_taps
from saeuniv.adapters.training_state import TrainingState
from saeuniv.config import Bos, SaeActivation, SaeTrainer, TrainedSae
from saeuniv.hookpoints import Hookpoint


def train_dictionaries(
    model_folder: str,
    stream: Int[np.ndarray, " tokens"],
    hookpoints: Sequence[Hookpoint],
    sae: TrainedSae,
    *,
    width: int,
    seed: int,
    context_length: int,
    out: Path,
    progress: Callable[[int, int], None],
    revision: str | None = None,
    bos: Bos = Bos.auto,
    template_begins: bool = False,
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> None:
    """Train one dictionary per hookpoint, into `out/<Hookpoint.dictionary_folder>` (layers.0, ...).

    `seed` decides both the initial dictionaries and the order of the sequences. A dictionary trained alone
    equals, byte for byte, the one trained together with others (on one thread). Sequences begin as those do
    that are compared on: with BOS where `bos` and the tokenizer, or the text's chat template
    (`template_begins`), say so. `progress` is called with the steps begun and the steps in all. In the
    folder `checkpoint` the state is kept from which the same call goes on after it was killed, to the same
    bytes; removing it is the caller's. All is computed in float32, on `device`.

    Raises:
        ValueError: k exceeds the width or (groupmax) does not divide it, too few tokens for a step, a step
            with nothing but special tokens, or a hookpoint that the model lacks.
    """
    tokenizer: Any = load_tokenizer(model_folder, revision)
    sequences = training_sequences(
        stream,
        n_tokens=sae.n_tokens,
        context_length=context_length,
        seed=seed,
        bos=bos_id(tokenizer, bos, template_begins=template_begins),
    )
    # No smaller last step.
    sequences = sequences[: len(sequences) // sae.batch_sequences * sae.batch_sequences]
    excluded = _special_ids(tokenizer) if sae.exclude_special else ()
    _refuse(sae, width, sequences, excluded, context_length)
    model = load_hf_model(model_folder, revision=revision, device=device)
    model.requires_grad_(False)
    model.config.use_cache = False
    taps = add_taps(model, hookpoints)
    settings = {"dictionaries": sorted(taps), "width": width, "seed": seed, "device": device}
    digest = hashlib.sha256(sequences.tobytes()).hexdigest()
    settings |= {**sae.recipe(), "excluded": excluded, "sequences": [*sequences.shape, digest]}
    state = TrainingState(checkpoint, settings)
    run = TrainingRun(model, taps, sequences, excluded, sae, width, seed, progress, state)
    out.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        (train_with_l1 if sae.trainer is SaeTrainer.l1 else train_with_sparsify)(run, out)


def _special_ids(tokenizer: Any) -> tuple[int, ...]:
    """The ids of bos, eos and pad, as many as the tokenizer has."""
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return tuple(sorted({int(each) for each in ids if each is not None}))


def _refuse(
    sae: TrainedSae,
    width: int,
    sequences: Int[np.ndarray, "sequences context"],
    excluded: tuple[int, ...],
    context_length: int,
) -> None:
    per_step = sae.batch_sequences * context_length
    topk = sae.trainer is SaeTrainer.sparsify
    if (topk and sae.k > width) or not len(sequences):
        raise ValueError(
            f"expected sae.k at most the width and sae.n_tokens of at least one step ("
            f"{per_step}), got k={sae.k}, width={width}, n_tokens={sae.n_tokens}."
        )
    if topk and sae.activation is SaeActivation.groupmax and width % sae.k:
        raise ValueError(
            f"expected a width that sae.k={sae.k} groups share evenly (groupmax), got width={width}."
        )
    trained_on = np.isin(sequences, excluded, invert=True).reshape(-1, per_step)
    n_empty = len(trained_on) - int(np.count_nonzero(trained_on.any(axis=1)))
    if n_empty:
        raise ValueError(
            f"expected tokens to train on in every step, got nothing but special tokens (ids "
            f"{', '.join(map(str, excluded))}) in {n_empty} of {len(trained_on)} steps. Check the text, "
            f"or set sae.exclude_special=false."
        )
