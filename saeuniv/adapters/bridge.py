"""Language models by way of TransformerLens, which names the same places in some hundred architectures.

`enable_compatibility_mode` (LayerNorm folding, centring) is never called: it changes the residual stream by
5-20 %, and dictionaries are trained on the raw one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeuniv.adapters.module_hooks import Backend, Touch, attention_mask
from saeuniv.hookpoints import Hookpoint

# What booting raises for a model that it cannot take; each architecture has a file of its own there.
_REFUSALS = (ValueError, KeyError, IndexError, AttributeError, TypeError, RuntimeError)


class Bridge(Backend):
    """A model within TransformerLens' TransformerBridge."""

    name = "TransformerBridge"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Wrap a loaded model, whose modules are changed; it must compute attention eagerly.

        Raises:
            UnknownToBridge: the bridge cannot take this architecture.
        """
        from transformer_lens.model_bridge import TransformerBridge

        try:
            self._bridge: Any = TransformerBridge.boot_transformers(
                model.name_or_path, hf_model=model, tokenizer=tokenizer, dtype=model.dtype
            )
        except _REFUSALS as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise UnknownToBridge(
                f"{model.config.model_type}: expected an architecture that TransformerBridge takes, and it "
                f"says: {error} Choose backend=auto or backend=hf for this model."
            ) from error
        self.model = self._bridge.original_model

    def lacks(self, hookpoint: Hookpoint) -> bool:
        """Whether the bridge has no such hook."""
        return hookpoint.transformer_lens not in self._bridge.hook_dict

    def logits(
        self,
        ids: Int[Tensor, "batch context"],
        touches: Sequence[tuple[Hookpoint, Touch]],
        attended: Bool[Tensor, "batch context"] | None = None,
    ) -> Float[Tensor, "batch context vocabulary"]:
        """One forward pass. Exactly these ids are read: no BOS is prepended."""
        hooks = [(hookpoint.transformer_lens, _Hook(touch)) for hookpoint, touch in touches]
        return self._bridge.run_with_hooks(ids, fwd_hooks=hooks, **attention_mask(attended))


class UnknownToBridge(ValueError):
    """An architecture that TransformerBridge cannot take."""


class _Hook:
    """A touch as TransformerLens calls it."""

    def __init__(self, touch: Touch) -> None:
        self._touch = touch

    def __call__(self, activation: Tensor, hook: Any) -> Tensor | None:
        return self._touch(activation)
