"""The one form that dictionaries of every format take in memory: numpy, no torch."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32


class Activation(Enum):
    """How pre-activations become latents; all keep positive ones only."""

    relu = "relu"
    topk = "topk"
    """The k largest of a row."""

    groupmax = "groupmax"
    """The largest of each of k groups of neighbouring latents."""

    jumprelu = "jumprelu"
    """Those above the latent's own threshold. BatchTopK after training is the same with one threshold."""

    gated = "gated"
    """Those whose gate is open; how large they are has parameters of its own."""


def pre_acts_fault(activation: str) -> str:
    """Why a dictionary of this activation has no pre-activations that could be compared; else nothing."""
    if activation not in (Activation.jumprelu.value, Activation.gated.value):
        return ""
    return (
        f"has no pre-activations to compare: expected TopK, groupmax or ReLU with sae.latent_kind=pre_acts, "
        f"got {activation} (as BatchTopK is read), which has a threshold or gate for each latent instead of "
        f"a choice among all. Choose sae.latent_kind=latents."
    )


class Normalisation(Enum):
    """What is done to each row before it is encoded, and undone after it is decoded."""

    none = "none"
    layer_norm = "layer_norm"
    """Mean 0 and (unbiased) standard deviation 1 over dimensions."""

    rescale = "rescale"
    """Norm sqrt(d_in)."""


class DictionaryWeights(NamedTuple):
    """What computes a dictionary: latents f(encoder x' + encoder_bias), x ~ latents decoder + decoder_bias.

    x' is x normalised, less the decoder's bias where `subtracts_decoder_bias`. Constant scales of the input
    are folded into the parameters by the readers.
    """

    encoder: Float32[np.ndarray, "latents d_in"]
    encoder_bias: Float32[np.ndarray, " latents"]
    decoder: Float32[np.ndarray, "latents d_out"]
    """As stored: the norms of its rows are not one."""

    decoder_bias: Float32[np.ndarray, " d_out"]
    activation: Activation
    k: int | None = None
    """Of topk and groupmax."""

    thresholds: Float32[np.ndarray, " latents"] | None = None
    """Of jumprelu."""

    gate_bias: Float32[np.ndarray, " latents"] | None = None
    """Of gated: the gate is open where encoder x' + gate_bias is positive."""

    magnitude: Float32[np.ndarray, " latents"] | None = None
    """Of gated: the latent is magnitude (encoder x') + encoder_bias, where that is positive."""

    subtracts_decoder_bias: bool = True
    normalisation: Normalisation = Normalisation.none
    centred: bool = False
    """The dictionary reads x less the mean over its dimensions: see `Processing.tl_compat`."""

    skip: Float32[np.ndarray, "d_out d_in"] | None = None
    """A linear map of the input that is added to the reconstruction."""


def jumprelu_of_input(arrays: Sequence[Float32[np.ndarray, "..."]]) -> DictionaryWeights:
    """JumpReLU of the input itself, from encoder `d_in x latents`, bias, decoder, bias, thresholds."""
    encoder, bias, decoder, decoder_bias, thresholds = arrays
    return DictionaryWeights(
        encoder.T,
        bias,
        decoder,
        decoder_bias,
        Activation.jumprelu,
        thresholds=thresholds,
        subtracts_decoder_bias=False,
    )


def both_signs(d_in: int) -> DictionaryWeights:
    """No dictionary as one: latents [x]+ and [-x]+ of every dimension, which give back x."""
    both = np.concatenate([np.eye(d_in, dtype=np.float32), -np.eye(d_in, dtype=np.float32)])
    nothing = np.zeros(2 * d_in, dtype=np.float32)
    return DictionaryWeights(both, nothing, both, nothing[:d_in], Activation.relu)


def folded_decoder_norms(weights: DictionaryWeights) -> DictionaryWeights:
    """The same reconstructions from latents times the norm of their decoder row, which then is 1.

    Thresholds are left: they are for the scaled latents.
    """
    norms = np.linalg.norm(weights.decoder, axis=1).astype(np.float32)
    safe = np.where(norms > 0, norms, np.float32(1))
    return weights._replace(
        encoder=weights.encoder * safe[:, None],
        encoder_bias=weights.encoder_bias * safe,
        decoder=weights.decoder / safe[:, None],
    )
