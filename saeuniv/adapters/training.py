"""Training dictionaries with sparsify's Trainer: all hookpoints of a model in one pass."""

import contextlib
import hashlib
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from saeuniv.adapters.model_folders import load_hf_model
from saeuniv.adapters.tokens import training_sequences
from saeuniv.adapters.training_state import TrainingState
from saeuniv.config import TrainedSae
from saeuniv.hookpoints import Hookpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

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
    checkpoint: Path | None = None,
) -> None:
    """Train one dictionary per hookpoint, into `out/<hookpoint as sparsify names it>` (layers.0, ...).

    `seed` decides both the initial dictionaries and the order of the windows. A dictionary trained alone
    equals, byte for byte, the one trained together with others (on one thread). `progress` is called
    with the steps begun and the steps in all. In the folder `checkpoint` the state is kept from which the
    same call goes on after it was killed, to the same bytes; removing it is the caller's.

    Raises:
        ValueError: k exceeds the width, too few tokens for a step, or a hookpoint that is no module's output.
    """
    sequences = training_sequences(stream, n_tokens=sae.n_tokens, context_length=context_length, seed=seed)
    sequences = sequences[
        : len(sequences) // sae.batch_sequences * sae.batch_sequences
    ]  # no smaller last step
    if sae.k > width or not len(sequences):
        raise ValueError(
            f"expected sae.k at most the width and sae.n_tokens of at least one step ("
            f"{sae.batch_sequences * context_length}), got k={sae.k}, width={width}, n_tokens={sae.n_tokens}."
        )
    model = load_hf_model(model_folder, revision=revision, device=device)
    model.config.use_cache = False
    names = [hookpoint.sparsify(model.config.model_type) for hookpoint in hookpoints]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch, torch.random.fork_rng():
        windows = _Windows(sequences, sae.batch_sequences, progress)
        settings = {"dictionaries": sorted(names), "width": width, "seed": seed, "device": device}
        state = TrainingState(checkpoint, {**settings, **_settings(sae, sequences)})
        _fit(model, windows, sae, names, width=width, seed=seed, scratch=scratch, state=state)
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
        self.before_step: Callable[[int], None] = lambda _step: None
        """Called with the number of steps done, when the Trainer is about to begin the next."""

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index % self._per_step == 0:
            out, err = self._streams
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                self.before_step(index // self._per_step)
                self._progress(index // self._per_step + 1, len(self) // self._per_step)
        return {"input_ids": self._ids[index]}

    def select(self, indices: range) -> "torch.utils.data.Subset[dict[str, Tensor]]":
        """What the Trainer asks for when it does not begin with the first step."""
        return torch.utils.data.Subset(self, indices)


def _settings(sae: TrainedSae, sequences: Int[np.ndarray, "sequences context"]) -> dict[str, object]:
    digest = hashlib.sha256(sequences.tobytes()).hexdigest()
    recipe = {name: getattr(sae, name) for name in ("k", "batch_sequences", "warmup_steps")}
    return {**recipe, "sequences": [*sequences.shape, digest]}


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
    state: TrainingState,
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
    resumed = state.read()
    if resumed is not None:
        _log.info("dictionaries: going on after step %d", resumed["step"])
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer = Trainer(config, dataset, model)
            if resumed is not None:
                _restore(trainer, resumed)
            windows.before_step = lambda step: state.write(lambda: _state(trainer)) if step else None
            trainer.fit()
    finally:
        # The Trainer lets matrix products be rounded (TF32) for the whole process.
        torch.set_float32_matmul_precision(precision)


# The Trainer's own save and load_state are not exact: they pass through the optimizer's averaged weights,
# which rounds, and load those as the weights that are stepped from. The loop draws no random numbers.
def _state(trainer: Any) -> dict[str, Any]:
    """All that changes from step to step; between two steps, nothing else is in flight."""
    return {
        "step": trainer.global_step,
        "saes": {name: sae.state_dict() for name, sae in trainer.saes.items()},
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in trainer.lr_schedulers],
        "num_tokens_since_fired": trainer.num_tokens_since_fired,
    }


def _restore(trainer: Any, state: dict[str, Any]) -> None:
    trainer.global_step = state["step"]
    for name, sae in trainer.saes.items():
        sae.load_state_dict(state["saes"][name])
        trainer.num_tokens_since_fired[name].copy_(state["num_tokens_since_fired"][name])
    for optimizer, each in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(each)
    for scheduler, each in zip(trainer.lr_schedulers, state["schedulers"], strict=True):
        scheduler.load_state_dict(each)
