"""Language models as Hugging Face has them, read and changed by hooks on their modules."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeuniv.hookpoints import Hookpoint

Touch = Callable[[Tensor], Tensor | None]
"""Is shown an activation; what it returns, if anything, goes on in its place."""


class Backend(ABC):
    """A loaded model that shows and changes activations."""

    name: str
    """For logs."""

    model: Any
    """Hugging Face's model."""

    @abstractmethod
    def lacks(self, hookpoint: Hookpoint) -> bool:
        """Whether the model has no such place."""

    @abstractmethod
    def logits(
        self,
        ids: Int[Tensor, "batch context"],
        touches: Sequence[tuple[Hookpoint, Touch]],
        attended: Bool[Tensor, "batch context"] | None = None,
    ) -> Float[Tensor, "batch context vocabulary"]:
        """One forward pass; activations are shown in the order in which they are computed.

        `attended` is given to the model as its attention mask; None: all positions.
        """


def attention_mask(attended: Bool[Tensor, "batch context"] | None) -> dict[str, Tensor]:
    """The argument of a model's forward pass, which models without attention do not have."""
    return {} if attended is None else {"attention_mask": attended.long()}


class ModuleHooks(Backend):
    """Any model of Hugging Face's whose modules the table of hookpoints knows."""

    name = "Hugging Face's modules"

    def __init__(self, model: Any) -> None:
        self.model = model

    def lacks(self, hookpoint: Hookpoint) -> bool:
        """Whether the base model has no module of the hookpoint's name."""
        try:
            self.model.base_model.get_submodule(self._place(hookpoint))
        except AttributeError:
            return True
        return False

    def logits(
        self,
        ids: Int[Tensor, "batch context"],
        touches: Sequence[tuple[Hookpoint, Touch]],
        attended: Bool[Tensor, "batch context"] | None = None,
    ) -> Float[Tensor, "batch context vocabulary"]:
        """One forward pass, without a cache of keys and values."""
        handles: list[Any] = []
        try:
            for hookpoint, touch in touches:
                handles.append(self._attached(hookpoint, touch))
            return self.model(ids, use_cache=False, **attention_mask(attended)).logits
        finally:
            for handle in handles:
                handle.remove()

    def _place(self, hookpoint: Hookpoint) -> str:
        return hookpoint.hugging_face(self.model.config.model_type).module

    def _attached(self, hookpoint: Hookpoint, touch: Touch) -> Any:
        module: torch.nn.Module = self.model.base_model.get_submodule(self._place(hookpoint))
        if not hookpoint.hugging_face(self.model.config.model_type).is_input:
            return module.register_forward_hook(lambda _module, _args, out: _touched_output(out, touch))
        return module.register_forward_pre_hook(
            lambda _module, args, kwargs: _touched_input(args, kwargs, touch), with_kwargs=True
        )


def _touched_output(out: Any, touch: Touch) -> Any:
    """A module gives its activation alone, or first of several."""
    if not isinstance(out, tuple):
        return touch(out)
    first, *rest = cast(tuple[Any, ...], out)
    changed = touch(first)
    return None if changed is None else (changed, *rest)


def _touched_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], touch: Touch
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """A module reads its activation first, by place or by name."""
    name = None if args else next(iter(kwargs))
    changed = touch(args[0] if name is None else kwargs[name])
    if changed is None:
        return None
    return ((changed, *args[1:]), kwargs) if name is None else (args, {**kwargs, name: changed})
