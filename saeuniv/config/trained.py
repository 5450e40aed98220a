"""Dictionaries trained here: the schemas of sae=train and sae=tiny, and the rules they must obey.

Unfrozen for the same reason as the other sources: Hydra merges YAML into them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from saeuniv.config.sources import Sae
from saeuniv.config.text import Data


class SaeTrainer(Enum):
    """What trains, and with it how latents are kept sparse."""

    sparsify = "sparsify"
    """EleutherAI's: exactly k active latents per token; steps of equal size (signum, schedule-free)."""

    l1 = "l1"
    """Ours: ReLU, and a penalty on the sum of activations; Adam."""


class SaeActivation(Enum):
    """Which k latents sparsify keeps of a token."""

    topk = "topk"
    """The k largest."""

    groupmax = "groupmax"
    """The largest of each of k groups of width / k neighbouring latents: cheaper for large k and width."""


@dataclass
class TrainedSae(Sae):
    """Dictionaries trained here, one per hookpoint, all in one pass."""

    may_have_thresholds: ClassVar[bool] = False

    trainer: SaeTrainer = SaeTrainer.sparsify
    """sparsify (k active latents), or l1 (ReLU with a penalty: sae.l1_coefficient)."""

    activation: SaeActivation = SaeActivation.topk
    """topk, or groupmax, for which the width must be a multiple of k (sparsify)."""

    k: int = 32
    """Active latents per token (sparsify)."""

    l1_coefficient: float = 5.0
    """Weight c of the penalty: loss = |x - y|^2 + c sum_i |z_i| |W_dec,i| per token, x scaled (l1).

    x is scaled so that a typical token lies at distance sqrt(d_in) from the mean: c has no unit.
    """

    width: str = "x8"
    """Number of latents where `width` does not say otherwise."""

    n_tokens: int = 10_000_000
    """Training tokens."""

    batch_sequences: int = 32
    """Sequences per step."""

    warmup_steps: int = 1000
    """Steps in which the penalty rises linearly from 0 to sae.l1_coefficient (l1; sparsify has none)."""

    seed: int = 0
    """Together with the model's key this gives the seed of the initial dictionary."""

    exclude_special: bool = True
    """Leave the tokenizer's bos, eos and pad tokens, where norms are huge, out of what is trained on."""

    def recipe(self) -> dict[str, object]:
        """What of it decides the numbers, as JSON values: entries of artifact keys.

        Whatever came later is named only where it is asked for: what was trained before keeps its key.
        """
        sizes = {name: getattr(self, name) for name in ("n_tokens", "batch_sequences", "warmup_steps")}
        special = {"exclude_special": True} if self.exclude_special else {}
        if self.trainer is SaeTrainer.l1:
            return {"trainer": "l1/adam", "l1_coefficient": self.l1_coefficient, **sizes, **special}
        chosen = {} if self.activation is SaeActivation.topk else {"activation": self.activation.value}
        return {"trainer": "sparsify/signum", "k": self.k, **chosen, **sizes, **special}


@dataclass
class TinySae(TrainedSae):
    """The embedded experiment's dictionaries: small enough to train in seconds."""

    embedded: ClassVar[bool] = True

    k: int = 8
    width: str = "256"
    n_tokens: int = 300_000
    batch_sequences: int = 16
    warmup_steps: int = 20
    exclude_special: bool = False


Rule = tuple[str, object, bool, str]
"""A key, its value, whether the value is fine, and what was expected."""


def training_rules(data: Data, sae: TrainedSae, key: str) -> Iterator[Rule]:
    """What must hold of dictionaries that are trained on `data`; `key` is sae, sae_a or sae_b."""
    yield f"{key}.k", sae.k, sae.k >= 1, "at least 1"
    batch = sae.batch_sequences
    yield f"{key}.batch_sequences", batch, batch >= 1, "at least 1"
    per_step = max(batch, 1) * data.context_length
    expected = f"at least one batch ({per_step} tokens)"
    yield f"{key}.n_tokens", sae.n_tokens, sae.n_tokens >= per_step, expected
    yield f"{key}.warmup_steps", sae.warmup_steps, sae.warmup_steps >= 0, "at least 0"
    expected = "a fraction below 1 when dictionaries are trained on this text, for example 0.3"
    yield "data.held_out", data.held_out, data.held_out < 1, expected
    yield from _l1_rules(sae, key, sae.n_tokens // per_step)


def _l1_rules(sae: TrainedSae, key: str, n_steps: int) -> Iterator[Rule]:
    """Of the two trainers, each has options that mean nothing to the other: given, they are a mistake."""
    usual = type(sae)()
    coefficient = sae.l1_coefficient
    if sae.trainer is SaeTrainer.l1:
        yield f"{key}.l1_coefficient", coefficient, coefficient > 0, "a positive number"
        fewer = sae.warmup_steps < max(n_steps, 1)
        expected = f"fewer steps than the training has, {n_steps} ({key}.n_tokens)"
        yield f"{key}.warmup_steps", sae.warmup_steps, fewer, expected
        expected = f"no choice of k with {key}.trainer=l1 (it has {key}.l1_coefficient)"
        yield f"{key}.k", sae.k, sae.k == usual.k, expected
        expected = f"no choice with {key}.trainer=l1 (which is ReLU)"
        yield f"{key}.activation", sae.activation.value, sae.activation is usual.activation, expected
    else:
        expected = f"no coefficient without {key}.trainer=l1 (sparsify's sparsity is {key}.k)"
        yield f"{key}.l1_coefficient", coefficient, coefficient == usual.l1_coefficient, expected
