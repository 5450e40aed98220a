"""Language models: their activations and losses, local folders and hub names alike."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeuniv.adapters.batches import Batches
from saeuniv.adapters.model_facts import d_ff_of
from saeuniv.adapters.model_folders import load_hf_model, load_tokenizer
from saeuniv.adapters.module_hooks import Backend, ModuleHooks, Touch
from saeuniv.config import ModelBackend
from saeuniv.hookpoints import Hookpoint, HookpointKind, is_parallel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

# A block may add to these in place once they are computed.
_CHANGED_LATER = frozenset({HookpointKind.mlp_out, HookpointKind.attn_out})


class LanguageModel:
    """A loaded model whose activations can be read and replaced. They are raw, as Hugging Face has them."""

    def __init__(self, backend: Backend) -> None:
        config = backend.model.config
        self._backend = backend
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.architecture: str = config.model_type
        """Hugging Face's model_type."""

        written: dict[str, Any] = config.to_dict()
        self.n_neurons = d_ff_of(written, self.architecture, self.d_model)
        """Width of the MLP inside; None where the configuration does not say, or there are several MLPs."""

        self.n_vocabulary: int = config.vocab_size
        self._parallel = is_parallel(self.architecture, written)
        self.device: torch.device = backend.model.get_input_embeddings().weight.device
        """Where ids are put."""

        # MPS has no float64, which sums over rows need.
        self.given_on = torch.device("cpu") if self.device.type == "mps" else self.device
        """Where activations are given, wherever in a model over several devices they are computed."""

        self.batches = Batches()
        """Of sequences, as large as the device's memory allows."""

    def activations(
        self,
        ids: Int[Tensor | np.ndarray, "batch context"],
        hookpoints: Sequence[Hookpoint],
        *,
        attended: Bool[Tensor | np.ndarray, "batch context"] | None = None,
    ) -> dict[Hookpoint, Float[Tensor, "batch context width"]]:
        """What the model computes at each hookpoint, from one forward pass that stops after the last.

        Exactly these ids are read: no BOS is prepended. The result is on `given_on`, in the type the model
        computes in, and takes no part in autograd. Positions that are not `attended` (padding, on the
        right) are hidden from attention; they have activations all the same.

        Raises:
            ValueError: a hookpoint that this model does not have.
        """
        self._require(hookpoints)
        captured: dict[Hookpoint, Tensor] = {}

        def capture(hookpoint: Hookpoint) -> Touch:
            def touch(activation: Tensor) -> None:
                kept = activation.clone() if hookpoint.kind in _CHANGED_LATER else activation
                captured[hookpoint] = kept.to(self.given_on)
                if len(captured) == len(wanted):
                    raise _AllCaptured

            return touch

        wanted = dict.fromkeys(hookpoints)
        with torch.inference_mode(), contextlib.suppress(_AllCaptured):
            touches = [(each, capture(each)) for each in wanted]
            self._backend.logits(self._ids(ids), touches, self._mask(attended))
        if silent := [str(each) for each in wanted if each not in captured]:
            raise ValueError(
                f"expected every hookpoint to be computed, got nothing at {', '.join(silent)}. This "
                f"architecture does not compute them apart; choose sae.hookpoint=resid_post."
            )
        return {hookpoint: captured[hookpoint] for hookpoint in wanted}

    def mean_loss(
        self,
        ids: Int[Tensor | np.ndarray, "batch context"],
        keep: Bool[Tensor | np.ndarray, "batch context"],
        *,
        attended: Bool[Tensor | np.ndarray, "batch context"] | None = None,
        replace: Mapping[Hookpoint, Callable[[Tensor], Tensor]] | None = None,
    ) -> float:
        """The mean next-token cross-entropy in nats, with activations replaced by functions of themselves.

        Position t counts if `keep[t]` and there is a token t + 1 to predict, padding being none. Positions
        that are not `attended` (padding, on the right) are hidden from attention. A function is given
        `batch context width` and gives back the same shape; what follows in the model reads that.

        Raises:
            ValueError: a hookpoint that this model does not have, no position that counts, or a function
                that changes the shape.
        """
        self._require(list(replace or ()))
        tokens = self._ids(ids)
        counted, mask = torch.as_tensor(keep, device=self.device)[:, :-1], self._mask(attended)
        counted = counted if mask is None else counted & mask[:, 1:]
        if not counted.any():
            raise ValueError("expected a position kept that has a next token, got none. Keep more positions.")
        touches = [
            touch for hookpoint, function in (replace or {}).items() for touch in _splice(hookpoint, function)
        ]
        with torch.inference_mode():
            logits = self._backend.logits(tokens, touches, mask).to(self.device)
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1][counted].float(), tokens[:, 1:][counted], reduction="none"
            )
            return float(losses.cpu().double().mean())

    def _ids(self, ids: Tensor | np.ndarray) -> Tensor:
        return torch.as_tensor(ids, dtype=torch.int64, device=self.device)

    def _mask(self, attended: Tensor | np.ndarray | None) -> Tensor | None:
        return None if attended is None else torch.as_tensor(attended, device=self.device)

    def _require(self, hookpoints: Sequence[Hookpoint]) -> None:
        deep = [str(each) for each in hookpoints if each.layer >= self.n_layers]
        if deep:
            raise ValueError(
                f"expected hookpoints of a model with {self.n_layers} layers (0..{self.n_layers - 1}), got "
                f"{', '.join(deep)}. Choose layers the model has."
            )
        lacking = {each.kind for each in hookpoints if self._backend.lacks(each)}
        if self._parallel:
            lacking |= {each.kind for each in hookpoints} & {HookpointKind.resid_mid}
        if lacking:
            names = ", ".join(sorted(each.value for each in lacking))
            choices = ", ".join(kind.value for kind in HookpointKind if not self._lacks(kind))
            raise ValueError(
                f"sae.hookpoint={names}: expected an activation that the model has, got one that "
                f"{self.architecture} models read by {self._backend.name} do not have. Choose one of "
                f"{choices}."
            )

    def _lacks(self, kind: HookpointKind) -> bool:
        is_absent_middle = self._parallel and kind is HookpointKind.resid_mid
        return is_absent_middle or self._backend.lacks(Hookpoint(kind, 0))


class _AllCaptured(Exception):
    """Ends a forward pass early."""


def _splice(hookpoint: Hookpoint, function: Callable[[Tensor], Tensor]) -> list[tuple[Hookpoint, Touch]]:
    """Touches that let everything after a hookpoint read what `function` makes of it."""

    def replaced(activation: Tensor) -> Tensor:
        given = function(activation)
        if given.shape != activation.shape:
            raise ValueError(
                f"{hookpoint}: expected a function that keeps the shape {tuple(activation.shape)}, got "
                f"{tuple(given.shape)}."
            )
        return given.to(activation.device, activation.dtype)

    if hookpoint.kind is not HookpointKind.resid_mid:
        return [(hookpoint, replaced)]
    # Two paths read resid_mid: the MLP and the stream itself. Both follow if attention adds the difference.
    entered: list[Tensor] = []

    def add_difference(attention: Tensor) -> Tensor:
        before = entered.pop().to(attention.device)
        return replaced(before + attention) - before

    pre, attention = (
        Hookpoint(kind, hookpoint.layer) for kind in (HookpointKind.resid_pre, HookpointKind.attn_out)
    )
    return [(pre, entered.append), (attention, add_difference)]


def load_language_model(
    folder: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    backend: ModelBackend = ModelBackend.auto,
) -> LanguageModel:
    """The model in a folder, or of a hub repository at a revision; `cuda:0,cuda:1` spreads it over both.

    With `backend=auto` it is read by TransformerBridge, or where this does not know the architecture, by
    hooks on its modules; both give the same activations.

    Raises:
        OSError: there are no safetensors weights (pickled weights are not read).
        ConfigError: the commit is neither in the cache nor to be had from the hub.
        ValueError: damaged weights; a device that is not there; `backend=bridge` for an architecture that
            it does not know.
    """

    def load(attention: str | None) -> "PreTrainedModel":
        return load_hf_model(folder, revision=revision, device=device, dtype=dtype, attention=attention)

    found = _backend(load, lambda: load_tokenizer(folder, revision), backend)
    _log.info("models: %s is read by %s, in %s on %s", Path(folder).name, found.name, dtype, device)
    return LanguageModel(found)


def _backend(
    load: Callable[[str | None], "PreTrainedModel"],
    tokenizer: Callable[[], "PreTrainedTokenizerFast"],
    backend: ModelBackend,
) -> Backend:
    if backend is not ModelBackend.hf:
        from saeuniv.adapters.bridge import Bridge, UnknownToBridge

        try:
            # The bridge computes attention eagerly; the model handed to it must agree.
            return Bridge(load("eager"), tokenizer())
        except UnknownToBridge as error:
            if backend is ModelBackend.bridge:
                raise
            _log.info("models: %s", error)
    return ModuleHooks(load(None))
