"""Training dictionaries with sparsify's Trainer: all hookpoints of a model in one pass."""

import contextlib
import io
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saeuniv.adapters.training_run import TrainingRun

_log = logging.getLogger(__name__)

_FILES = ("cfg.json", "sae.safetensors")


def train_with_sparsify(run: TrainingRun, out: Path) -> None:
    """Write `cfg.json` and `sae.safetensors` of each dictionary into its folder below `out`.

    k latents per token are active; the loss is the fraction of variance unexplained. Decoder directions
    have unit norm.
    """
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        _fit(run, scratch)
        for name, folder in run.folders(out).items():
            _move(Path(scratch, "run", name), folder)


def _move(trained: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in _FILES:
        (trained / file).replace(folder / file)
    # safetensors makes files that only their owner can read; a store may be shared.
    (folder / _FILES[1]).chmod((folder / _FILES[0]).stat().st_mode)


class _Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The sequences as the Trainer reads them, in order; tells progress once per step."""

    def __init__(self, run: TrainingRun) -> None:
        self._ids = torch.from_numpy(run.sequences).long()
        self._per_step = run.sae.batch_sequences
        self._progress = run.progress
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


def _fit(run: TrainingRun, scratch: str) -> None:
    windows = _Windows(run)
    precision = torch.get_float32_matmul_precision()
    resumed = run.state.read()
    if resumed is not None:
        _log.info("dictionaries: going on after step %d", resumed["step"])
    try:
        # The Trainer has no switch for its prints and its bar.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer = _trainer(run, windows, scratch)
            if resumed is not None:
                _restore(trainer, resumed)

            def before_step(step: int) -> None:
                # The Trainer lets matrix products be rounded (TF32), for the whole process.
                torch.set_float32_matmul_precision(precision)
                if step:
                    run.state.write(lambda: _state(trainer))

            windows.before_step = before_step
            trainer.fit()
    finally:
        torch.set_float32_matmul_precision(precision)


def _trainer(run: TrainingRun, windows: _Windows, scratch: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # sparsify prints when it is imported
        from sparsify import SparseCoder, SparseCoderConfig, TrainConfig, Trainer

    sae = run.sae
    activation: Any = sae.activation.value
    config = TrainConfig(
        SparseCoderConfig(activation=activation, num_latents=run.width, k=sae.k),
        batch_size=sae.batch_sequences,
        optimizer="signum",
        lr_warmup_steps=sae.warmup_steps,
        exclude_tokens=list(run.excluded),
        hookpoints=list(run.taps),
        init_seeds=[run.seed],
        log_to_wandb=False,
        save_dir=scratch,
        run_name="run",
        save_every=sys.maxsize,  # only at the end: it saves the optimizer's state as well
    )
    # The Trainer asks of a dataset no more than a length and items.
    dataset: Any = windows
    trainer: Any = Trainer(config, dataset, run.model)
    forward: Any = SparseCoder.forward
    for coder in trainer.saes.values():
        # Without the decorator, which computes in bfloat16 where CUDA has it.
        coder.forward = forward.__wrapped__.__get__(coder)
    return trainer


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
