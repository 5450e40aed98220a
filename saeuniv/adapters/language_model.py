"""Language models: their residual streams by way of TransformerLens, local folders and hub names alike."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeuniv.adapters.downloads import local_model
from saeuniv.hookpoints import Hookpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class LanguageModel:
    """A loaded model whose activations can be read. They are raw.

    `enable_compatibility_mode` (LayerNorm folding, centring) is never called: it changes the residual
    stream by 5-20 %, and dictionaries are trained on the raw one.
    """

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self.n_layers: int = bridge.cfg.n_layers
        self.d_model: int = bridge.cfg.d_model

    def activations(
        self, ids: Int[Tensor | np.ndarray, "batch context"], hookpoints: Sequence[Hookpoint]
    ) -> dict[Hookpoint, Float[Tensor, "batch context d_model"]]:
        """What the model computes at each hookpoint, from one forward pass that stops after the last.

        Exactly these ids are read: no BOS is prepended. The result lives where the model does and
        takes no part in autograd.

        Raises:
            ValueError: a hookpoint that this model does not have.
        """
        hooks = self._bridge.hook_dict
        absent = [str(each) for each in hookpoints if each.transformer_lens not in hooks]
        if absent:
            raise ValueError(
                f"expected hookpoints of a model with {self.n_layers} layers (0..{self.n_layers - 1}), got "
                f"{', '.join(absent)}. Choose layers the model has."
            )
        by_name = {hooks[each.transformer_lens].name: each for each in hookpoints}
        captured: dict[Hookpoint, Tensor] = {}

        def capture(activation: Tensor, hook: Any) -> None:
            captured[by_name[hook.name]] = activation
            if len(captured) == len(by_name):
                raise _AllCaptured

        with torch.inference_mode(), contextlib.suppress(_AllCaptured):
            self._bridge.run_with_hooks(
                torch.as_tensor(ids, dtype=torch.int64, device=self._bridge.cfg.device),
                fwd_hooks=[(name, capture) for name in by_name],
                return_type=None,
                stop_at_layer=min(self.n_layers, 1 + max(hookpoint.layer for hookpoint in hookpoints)),
            )
        if len(captured) != len(by_name):
            silent = [str(hookpoint) for hookpoint in hookpoints if hookpoint not in captured]
            raise ValueError(
                f"expected every hookpoint to be computed, got nothing at {', '.join(silent)}. This "
                f"architecture does not compute them apart; choose sae.hookpoint=resid_post."
            )
        return {hookpoint: captured[hookpoint] for hookpoint in hookpoints}


class _AllCaptured(Exception):
    """Ends a forward pass early; stopping by layer alone would still compute the logits of the last."""


def load_language_model(folder: str, *, revision: str | None = None, device: str = "cpu") -> LanguageModel:
    """The model in a folder, or of a hub repository at a revision, in float32.

    Raises:
        OSError: there are no safetensors weights (pickled weights are not read).
        ConfigError: the commit is neither in the cache nor to be had from the hub.
    """
    from transformer_lens.model_bridge import TransformerBridge

    folder = _here(folder, revision, weights=True)
    # The bridge computes attention eagerly; the model handed to it must agree.
    model = _causal_lm(folder, device, attn_implementation="eager")
    bridge = TransformerBridge.boot_transformers(
        folder, hf_model=model, tokenizer=load_tokenizer(folder), device=device, dtype=torch.float32
    )
    return LanguageModel(bridge)


def load_hf_model(folder: str, *, revision: str | None = None, device: str = "cpu") -> "PreTrainedModel":
    """The same model as Hugging Face's class, in float32 and evaluation mode, as sparsify's Trainer needs it.

    Raises:
        OSError: there are no safetensors weights (pickled weights are not read).
        ConfigError: the commit is neither in the cache nor to be had from the hub.
    """
    return _causal_lm(_here(folder, revision, weights=True), device, attn_implementation=None)


def load_tokenizer(folder: str, revision: str | None = None) -> "PreTrainedTokenizerFast":
    """The tokenizer exactly as tokenizer.json has it.

    Not AutoTokenizer: where a class is named for the architecture, it rebuilds the tokenizer with settings
    of its own, and `ModelFacts.tokenizer` is the hash of the file.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(_here(folder, revision, weights=False))


def save_initial_weights(folder: str, out: Path, *, seed: int, revision: str | None = None) -> None:
    """Write the untrained counterpart of a model: its configuration and tokenizer, weights from `seed`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = _here(folder, revision, weights=False)
    config = AutoConfig.from_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    save_model_folder(model, load_tokenizer(folder), out)


def save_model_folder(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Write config.json, *.safetensors and tokenizer.json; the bytes depend on the arguments only."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # safetensors makes files that only their owner can read; a store may be shared.
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def _here(folder: str, revision: str | None, *, weights: bool) -> str:
    """The folder, or (there is a revision) the one that holds this commit of a hub repository."""
    return folder if revision is None else str(local_model(folder, revision, weights=weights))


def _causal_lm(folder: str, device: str, *, attn_implementation: str | None) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=attn_implementation,
        use_safetensors=True,
    )
    return model.to(device).eval()
