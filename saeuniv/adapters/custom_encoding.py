"""Dictionaries that are objects of the user: any with encode and decode. Run because the user named them."""

import importlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from saeuniv.adapters.encoding import Dictionary, EncodedRows
from saeuniv.config import ConfigError, CustomSae
from saeuniv.hookpoints import Hookpoint


def load_custom(
    sae: CustomSae, hookpoint: Hookpoint, *, width: int, device: str = "cpu"
) -> "CustomDictionary":
    """The object that `sae.object` gives for a hookpoint.

    Raises:
        ConfigError: it has no encode and decode, or another number of latents than `width`.
    """
    module, _, function = sae.object.partition(":")
    made = getattr(importlib.import_module(module), function)(str(hookpoint))
    if not (callable(getattr(made, "encode", None)) and callable(getattr(made, "decode", None))):
        raise ConfigError(
            f"sae.object={sae.object}: expected an object with encode and decode, got {type(made).__name__}."
        )
    return CustomDictionary(made, width=width, device=device, name=sae.object)


class CustomDictionary(Dictionary):
    """An object with encode (rows x d_in to rows x latents, not negative) and decode, as a dictionary."""

    def __init__(self, made: Any, *, width: int, device: str, name: str) -> None:
        self._made, self._device, self._name = made, device, name
        self.width, self.k = width, None

    def encode(self, x: Float[Tensor, "rows d_in"]) -> EncodedRows:
        """The positive latents of each row.

        Raises:
            ValueError: not as many latents as width=... says, or negative ones.
        """
        return self.encode_and_reconstruct(x)[0]

    def reconstruct(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
        """What the object makes of its input."""
        return self.encode_and_reconstruct(x)[1]

    def encode_and_reconstruct(
        self, x: Float[Tensor, "rows d_in"]
    ) -> tuple[EncodedRows, Float[Tensor, "rows d_out"]]:
        """Both at the cost of one encoding. Raises ValueError as `encode` does."""
        with torch.inference_mode():
            acts = self._made.encode(x.to(self._device, torch.float32)).float()
            if acts.shape != (len(x), self.width) or bool((acts < 0).any()):
                raise ValueError(
                    f"sae.object={self._name}: expected latents of shape {(len(x), self.width)} (width=...) "
                    f"that are not negative, got {tuple(acts.shape)}, least {float(acts.min())}."
                )
            rows, latents = acts.nonzero(as_tuple=True)
            counts = torch.bincount(rows, minlength=len(acts)).to(torch.int32)
            encoded = EncodedRows(
                counts.cpu().numpy(), latents.to(torch.int32).cpu().numpy(), acts[rows, latents].cpu().numpy()
            )
            return encoded, self._made.decode(acts).float()

    @property
    def decoder(self) -> Float32[np.ndarray, "latents d_out"]:
        """What each latent adds to the reconstruction: decode is taken to be linear, but for a constant."""
        with torch.inference_mode():
            one = torch.eye(self.width, device=self._device)
            return (
                (self._made.decode(one) - self._made.decode(torch.zeros_like(one[:1]))).float().cpu().numpy()
            )
