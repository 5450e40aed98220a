"""Training ReLU dictionaries with an L1 penalty: all hookpoints of a model in one pass.

The loss is that of Conerly, Templeton, Bricken, Marcus and Henighan, "Update on how we train SAEs"
(Anthropic, Circuits Updates, April 2024). Of a token x, in units of the scale s below,

    z = relu((x - b_dec) W_enc + b_enc)        y = z W_dec + b_dec
    loss = |x - y|^2 + c sum_i |z_i| |W_dec,i|

in the mean over the tokens of a step. Norms of decoder directions are free; shrinking one and growing its
latent changes nothing. As there: Adam, gradients clipped to norm 1, c from 0 up linearly, the rate down to
0 over the last fifth of the steps, no resampling of dead latents.

Departures, for trainings that are short: directions start with norm 1 (there .05 to 1), b_dec at the mean of
the first step and subtracted before encoding (Bricken et al. 2023), s by the median distance from that mean
(there the mean norm), which tokens of huge norm do not move; the rate is that of Gao et al. 2024
(arXiv 2406.04093), 2e-4 / sqrt(width / 2^14); the warm-up of c is sae.warmup_steps (there 5 %).
"""

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from saeuniv.adapters.training_run import TrainingRun
from saeuniv.hookpoints import Hookpoint

_log = logging.getLogger(__name__)

_RATE, _RATE_WIDTH = 2e-4, 2**14
_DECAYING_SHARE = 0.2
_MAX_GRADIENT_NORM = 1.0
_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


class StepResult(NamedTuple):
    """What a step found on its tokens, before it changed the dictionary."""

    loss: float
    fvu: float
    """Fraction of variance unexplained."""

    l0: float
    """Active latents per token."""


class L1Coder:
    """A ReLU dictionary in training, with its optimizer."""

    def __init__(self, weights: dict[str, Tensor], scale: float) -> None:
        """`weights` are in units of `scale`, in which activations are divided by it."""
        self.weights = {name: weights[name].clone().requires_grad_() for name in _NAMES}
        self.scale = scale
        self._optimizer = torch.optim.Adam(self.weights.values())

    @classmethod
    def initial(cls, rows: Float[Tensor, "rows d_in"], width: int, seed: int) -> "L1Coder":
        """Random directions of norm 1, the encoder their transpose; offset and scale from `rows`.

        Raises:
            ValueError: half of the rows or more are equal: there is no scale.
        """
        mean = rows.mean(0)
        distance = float((rows - mean).norm(dim=1).median())
        if not distance > 0:
            raise ValueError(f"expected activations that vary, got {len(rows)} rows at distance {distance}.")
        scale = distance / math.sqrt(rows.shape[1])
        # On the CPU: the same start on every device.
        random = torch.randn(width, rows.shape[1], generator=torch.Generator().manual_seed(seed))
        directions = (random / random.norm(dim=1, keepdim=True)).to(rows.device)
        zeros = torch.zeros(width, device=rows.device)
        weights = (directions.T.contiguous(), zeros, directions, mean / scale)
        return cls(dict(zip(_NAMES, weights, strict=True)), scale)

    def learn(self, rows: Float[Tensor, "rows d_in"], *, coefficient: float, rate: float) -> StepResult:
        """Take one step of Adam on these activations."""
        with torch.enable_grad():
            w = self.weights
            x = rows / self.scale
            z = torch.relu(torch.addmm(w["b_enc"], x - w["b_dec"], w["W_enc"]))
            error = (torch.addmm(w["b_dec"], z, w["W_dec"]) - x).square().sum(1).mean()
            loss = error + coefficient * (z.mean(0) @ w["W_dec"].norm(dim=1))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), _MAX_GRADIENT_NORM)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        l0 = torch.count_nonzero(z.detach()) / len(rows)
        fvu = error.detach() / (x - x.mean(0)).square().sum(1).mean()
        return StepResult(float(loss.detach()), float(fvu), float(l0))

    def state(self) -> dict[str, Any]:
        """All that changes from step to step."""
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        return {"weights": weights, "scale": self.scale, "optimizer": self._optimizer.state_dict()}

    @classmethod
    def resumed(cls, state: dict[str, Any], device: torch.device) -> "L1Coder":
        """The dictionary whose `state` this is."""
        weights = {name: weight.to(device) for name, weight in state["weights"].items()}
        coder = cls(weights, state["scale"])
        coder._optimizer.load_state_dict(state["optimizer"])
        return coder

    def folded(self) -> dict[str, Float[Tensor, "..."]]:
        """The weights in the units of the activations, decoder directions of norm 1: the same function."""
        w = {name: weight.detach() for name, weight in self.weights.items()}
        # Not 0: a direction that shrank to nothing stays as it is.
        norms = w["W_dec"].norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        return {
            "W_enc": w["W_enc"] * norms,
            "b_enc": w["b_enc"] * norms * self.scale,
            "W_dec": w["W_dec"] / norms[:, None],
            "b_dec": w["b_dec"] * self.scale,
        }


def train_with_l1(run: TrainingRun, out: Path) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` (sae-lens, standard) of each dictionary below `out`."""
    training = _L1Training(run)
    resumed = run.state.read()
    first = 0
    if resumed is not None:
        first = resumed["step"]
        training.restore(resumed)
        _log.info("dictionaries: going on after step %d", first)
    for step in range(first, run.n_steps):
        if step:
            run.state.write(lambda step=step: training.state(step))
        run.progress(step + 1, run.n_steps)
        training.take(step)
    for name, folder in run.folders(out).items():
        _save(training.coders[name], run.taps[name], folder)


class _L1Training:
    """The dictionaries of a run, by tap; each takes its step while the model computes the next layer."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self.coders: dict[str, L1Coder] = {}
        self._excluded = torch.tensor(run.excluded, dtype=torch.int64)

    def state(self, step: int) -> dict[str, Any]:
        """What `step` steps made."""
        return {"step": step, "coders": {name: coder.state() for name, coder in self.coders.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        device = self._run.model.device
        self.coders = {name: L1Coder.resumed(each, device) for name, each in state["coders"].items()}

    def take(self, step: int) -> None:
        """One step of every dictionary."""
        run, size = self._run, self._run.sae.batch_sequences
        ids = torch.from_numpy(run.sequences[step * size : (step + 1) * size]).long()
        kept = torch.isin(ids, self._excluded, invert=True).flatten().to(run.model.device)
        handles = [
            run.model.base_model.get_submodule(name).register_forward_hook(self._learning(name, step, kept))
            for name in run.taps
        ]
        try:
            with torch.no_grad():
                run.model.base_model(ids.to(run.model.device))
        finally:
            for handle in handles:
                handle.remove()

    def _learning(self, name: str, step: int, kept: Tensor) -> Any:
        run = self._run

        def hook(_module: object, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            activations = output[0] if isinstance(output, tuple) else output
            rows = activations.flatten(0, 1)[kept]
            if name not in self.coders:
                self.coders[name] = L1Coder.initial(rows, run.width, run.seed)
            coefficient, rate = coefficient_and_rate(run, step)
            found = self.coders[name].learn(rows, coefficient=coefficient, rate=rate)
            if step == run.n_steps - 1:
                at_end = (str(run.taps[name]), found.fvu, found.l0)
                _log.info("dictionaries: %s ends with FVU %.3f and %.1f active latents per token", *at_end)

        return hook


def coefficient_and_rate(run: TrainingRun, step: int) -> tuple[float, float]:
    """The weight of the penalty and the learning rate in a step, the first of which is 0."""
    risen = min(1.0, step / run.sae.warmup_steps) if run.sae.warmup_steps else 1.0
    left = min(1.0, (run.n_steps - step) / (_DECAYING_SHARE * run.n_steps))
    return run.sae.l1_coefficient * risen, left * _RATE / math.sqrt(run.width / _RATE_WIDTH)


def _save(coder: L1Coder, hookpoint: Hookpoint, folder: Path) -> None:
    weights = {name: weight.cpu().contiguous() for name, weight in coder.folded().items()}
    d_in, width = weights["W_enc"].shape
    cfg = {
        "architecture": "standard",
        "d_in": d_in,
        "d_sae": width,
        "hook_name": hookpoint.transformer_lens,
        "hook_layer": hookpoint.layer,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "dtype": "float32",
    }
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(weights, folder / "sae_weights.safetensors")
    # safetensors makes files that only their owner can read; a store may be shared.
    (folder / "sae_weights.safetensors").chmod((folder / "cfg.json").stat().st_mode)
