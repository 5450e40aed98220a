"""What every trainer of dictionaries is given: a frozen model that it can hook, tokens, a recipe, a state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from torch import nn

from saeuniv.adapters.training_state import TrainingState
from saeuniv.config import TrainedSae
from saeuniv.hookpoints import Hookpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TrainingRun:
    """One pass over the sequences, which trains a dictionary for each tap of the model."""

    model: "PreTrainedModel"
    taps: dict[str, Hookpoint]
    """Modules of the base model, by name, whose outputs are what the dictionaries read."""

    sequences: Int[np.ndarray, "sequences context"]
    """In the order of training; as many as whole steps take."""

    excluded: tuple[int, ...]
    """Ids of tokens that are not trained on, ascending."""

    sae: TrainedSae
    width: int
    """Number of latents."""

    seed: int
    progress: Callable[[int, int], None]
    """Told which step begins, and how many there are."""

    state: TrainingState

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        return len(self.sequences) // self.sae.batch_sequences

    def folders(self, root: Path) -> dict[str, Path]:
        """Where the dictionary of each tap is written, below `root`."""
        architecture = self.model.config.model_type
        return {name: root / place.dictionary_folder(architecture) for name, place in self.taps.items()}


def add_taps(model: "PreTrainedModel", hookpoints: Sequence[Hookpoint]) -> dict[str, Hookpoint]:
    """Names of modules of the base model whose outputs are the activations at these hookpoints.

    What a module reads is no module's output: such an activation is passed, on the way, through a module
    of its own that does nothing. What the model computes stays the same to the last bit.

    Raises:
        ValueError: the model has no such module.
    """
    taps: dict[str, Hookpoint] = {}
    modules = dict(model.base_model.named_modules())
    for hookpoint in hookpoints:
        place = hookpoint.hugging_face(model.config.model_type)
        if place.module not in modules:
            raise ValueError(
                f"expected a hookpoint of this model, got {hookpoint}, for which it has no module "
                f"{place.module}. Choose layers 0..{model.config.num_hidden_layers - 1} and a sae.hookpoint "
                f"that {model.config.model_type} has."
            )
        name = place.module
        if place.is_input:
            name = f"{hookpoint.kind.value}_{hookpoint.layer}"
            tap = nn.Identity()
            model.base_model.add_module(name, tap)
            modules[place.module].register_forward_pre_hook(_passing_through(tap), with_kwargs=True)
        taps[name] = hookpoint
    return taps


def _passing_through(tap: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tap(args[0] if args else kwargs["hidden_states"])

    return hook
