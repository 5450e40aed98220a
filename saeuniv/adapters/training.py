"""Training dictionaries with sparsify's Trainer: all hookpoints of a model in one pass."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from saeuniv.adapters.language_model import load_hf_model
from saeuniv.adapters.tokens import training_sequences
from saeuniv.config import TrainedSae
from saeuniv.hookpoints import Hookpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FILES = ("cfg.json", "sae.safetensors")


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
    device: str = "cpu",
) -> None:
    """Train one dictionary per hookpoint, into `out/<hookpoint as sparsify names it>` (layers.0, ...).

    `seed` decides both the initial dictionaries and the order of the windows. A dictionary trained alone
    equals, byte for byte, the one trained together with others (on one thread). `progress` is called
    with the steps begun and the steps in all.

    Raises:
        ValueError: k exceeds the width, too few tokens for a step, or a hookpoint that is no module's output.
    """
    sequences = training_sequences(stream, n_tokens=sae.n_tokens, context_length=context_length, seed=seed)
    n_steps = len(sequences) // sae.batch_sequences
    if sae.k > width or not n_steps:
        raise ValueError(
            f"expected sae.k at most the width and sae.n_tokens of at least one step ("
            f"{sae.batch_sequences * context_length}), got k={sae.k}, width={width}, n_tokens={sae.n_tokens}."
        )
    model = load_hf_model(model_folder, revision=revision, device=device)
    model.config.use_cache = False
    names = [hookpoint.sparsify(model.config.model_type) for hookpoint in hookpoints]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch, torch.random.fork_rng():
        whole = sequences[: n_steps * sae.batch_sequences]  # no smaller last step
        windows = _Windows(whole, sae.batch_sequences, progress)
        _fit(model, windows, sae, names, width=width, seed=seed, scratch=scratch)
        for name in names:
            _move(Path(scratch, "run", name), out / name)


class _Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The sequences as the Trainer reads them, in order; tells progress once per step."""

    def __init__(
        self,
        sequences: Int[np.ndarray, "sequences context"],
        per_step: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._ids = torch.from_numpy(sequences.astype(np.int64))
        self._per_step = per_step
        self._progress = progress
        # The Trainer runs with its prints swallowed; progress is shown where it would be without.
        self._streams = sys.stdout, sys.stderr

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index % self._per_step == 0:
            out, err = self._streams
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                self._progress(index // self._per_step + 1, len(self) // self._per_step)
        return {"input_ids": self._ids[index]}


def _move(trained: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in _FILES:
        (trained / file).replace(folder / file)
    # safetensors makes files that only their owner can read; a store may be shared.
    (folder / _FILES[1]).chmod((folder / _FILES[0]).stat().st_mode)


def _fit(
    model: "PreTrainedModel",
    windows: _Windows,
    sae: TrainedSae,
    names: list[str],
    *,
    width: int,
    seed: int,
    scratch: str,
) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # sparsify prints when it is imported
        from sparsify import SparseCoderConfig, TrainConfig, Trainer

    config = TrainConfig(
        SparseCoderConfig(num_latents=width, k=sae.k),
        batch_size=sae.batch_sequences,
        optimizer="signum",
        lr_warmup_steps=sae.warmup_steps,
        hookpoints=list(names),
        init_seeds=[seed],
        log_to_wandb=False,
        save_dir=scratch,
        run_name="run",
        save_every=sys.maxsize,  # only at the end: it saves the optimizer's state as well
    )
    # The Trainer asks of a dataset no more than a length and items; it has no switch for its prints and bar.
    dataset: Any = windows
    precision = torch.get_float32_matmul_precision()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            Trainer(config, dataset, model).fit()
    finally:
        # The Trainer lets matrix products be rounded (TF32) for the whole process.
        torch.set_float32_matmul_precision(precision)
