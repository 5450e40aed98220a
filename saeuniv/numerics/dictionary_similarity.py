"""How alike the latents of two dictionaries are by their parameters alone, without any tokens.

Parameters are compared coordinate by coordinate, so both dictionaries must read and write one residual basis:
the same model (also at another layer, or fine-tuned), or residuals mapped onto it. Coordinates of two models
that were trained apart have nothing to do with one another.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.inputs import require_finite
from saeuniv.numerics.product_candidates import product_candidates

_DAMAGED = "The dictionary is damaged: fetch or train it again."


class DictionaryParameters(NamedTuple):
    """What a sparse autoencoder is: latents z = f(encoder x + bias), x about z decoder + bias."""

    encoder: Float[np.ndarray, "latents d_model"]
    """reading direction of each latent"""

    encoder_bias: Float[np.ndarray, " latents"]

    decoder: Float[np.ndarray, "latents d_model"]
    """writing direction of each latent"""

    threshold: Float[np.ndarray, " latents"] | None
    """JumpReLU: a latent whose pre-activation is not above it is 0; None for other activation functions"""

    basis: str
    """identifies the residual basis; only equal ones can be compared"""

    def chosen(self, index: Int[np.ndarray, " chosen"]) -> "DictionaryParameters":
        """Those of some latents."""
        threshold = None if self.threshold is None else self.threshold[index]
        return DictionaryParameters(
            self.encoder[index], self.encoder_bias[index], self.decoder[index], threshold, self.basis
        )


def decoder_cosine_candidates(a: DictionaryParameters, b: DictionaryParameters, *, top_m: int) -> Candidates:
    """The latents with the most similar decoder rows, by cosine (Paulo and Belrose 2025, arXiv 2501.16615).

    From -1 to 1, up is alike, 1 for the same direction; unchanged by a positive factor for each latent and
    by a rotation of the basis that both share. A latent without direction has cosine 0 to all. In the
    precision of the parameters; latents_a x latents_b x d_model operations, 64 MiB at once.

    Raises:
        ValueError: different bases or dimensions, an entry that is not finite, or `top_m` below 1.
    """
    _require_comparable(a, b, top_m)
    return product_candidates(_unit(a.decoder), _unit(b.decoder), np.asarray, top_m=top_m)


def encoder_cosine_candidates(a: DictionaryParameters, b: DictionaryParameters, *, top_m: int) -> Candidates:
    """The latents with the most similar encoder rows, by cosine: alike in what they respond to.

    Range, invariances, cost and `Raises` as for `decoder_cosine_candidates`.
    """
    _require_comparable(a, b, top_m)
    return product_candidates(_unit(a.encoder), _unit(b.encoder), np.asarray, top_m=top_m)


def folded_parameter_candidates(
    a: DictionaryParameters, b: DictionaryParameters, *, top_m: int
) -> Candidates:
    """The latents with the smallest squared distance of their folded parameters (`folded`).

    SAE Match (Balagansky et al. 2025, arXiv 2410.07656) minimises the mean squared error over one-to-one
    matchings. Similarity is 1 - distance^2 / c with c = (largest norm in A + largest norm in B)^2, which no
    distance^2 exceeds: from 0 to 1, up is alike, 1 for equal parameters. Over as many pairs as latents its
    total is largest where the mean squared error is least, and no pair is worth less than staying unmatched.
    Similarities depend on c, so that small latents come close to 1 whatever they are: compare them within one
    pair of dictionaries, and by their order. A factor of threshold,
    encoder and bias that the decoder makes up for changes nothing. In float64; cost as for cosines.

    Raises:
        ValueError: as `decoder_cosine_candidates`, and without thresholds, or with one that is not positive.
    """
    _require_comparable(a, b, top_m)
    x, y = folded(a, name="a"), folded(b, name="b")
    norm_a, norm_b = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    largest = float(norm_a.max(initial=0.0) + norm_b.max(initial=0.0))
    # Distances as products of longer rows: |x - y|^2 = |x|^2 + |y|^2 - 2 x.y
    x = np.column_stack((-2.0 * x, norm_a**2, np.ones(len(x))))
    y = np.column_stack((y, np.ones(len(y)), norm_b**2))

    def similarity(squares: Float[np.ndarray, "rows latents"]) -> Float[np.ndarray, "rows latents"]:
        return 1.0 - np.maximum(squares, 0.0) / largest**2 if largest else np.ones_like(squares)

    return product_candidates(x, y, similarity, top_m=top_m)


def folded(parameters: DictionaryParameters, *, name: str) -> Float[np.ndarray, "latents parameters"]:
    """Encoder / threshold, bias / threshold and decoder x threshold of each latent, side by side.

    The folded dictionary has thresholds 1 and the same reconstructions, so that scales can be compared
    (Balagansky et al. 2025). float64, 2 d_model + 1 numbers a latent.

    Raises:
        ValueError: thresholds missing, or not positive; `name` says whose.
    """
    threshold = parameters.threshold
    if threshold is None:
        raise ValueError(
            f"{name}.threshold: expected a positive threshold a latent, got none: the activation function of "
            f"this dictionary (TopK, ReLU) has none to fold. Choose alignment=decoder_cosine."
        )
    broken = np.flatnonzero(~(threshold > 0))
    if len(broken):
        raise ValueError(
            f"{name}.threshold: expected positive numbers, got {threshold[broken[0]]} at [{broken[0]}] and "
            f"{len(broken)} such entries in all. Leave these latents out."
        )
    scale = threshold.astype(np.float64)[:, None]
    bias = parameters.encoder_bias.astype(np.float64)[:, None]
    return np.hstack((parameters.encoder / scale, bias / scale, parameters.decoder * scale))


def _require_comparable(a: DictionaryParameters, b: DictionaryParameters, top_m: int) -> None:
    if top_m < 1:
        raise ValueError(f"top_m={top_m}: expected at least 1 candidate a latent, got {top_m}.")
    if a.basis != b.basis:
        raise ValueError(
            f"basis: expected dictionaries of one residual basis, got {a.basis!r} and {b.basis!r}: "
            f"coordinates of models that were trained apart have nothing to do with one another, so a cosine "
            f"between them means nothing. Choose an alignment that reads tokens, such as alignment=hungarian."
        )
    if a.decoder.shape[1] != b.decoder.shape[1]:
        raise ValueError(
            f"b.decoder: expected {a.decoder.shape[1]} dimensions as in a, got {b.decoder.shape[1]}."
        )
    for name, parameters in (("a", a), ("b", b)):
        for field in ("encoder", "encoder_bias", "decoder"):
            values = np.asarray(getattr(parameters, field))
            require_finite(values, f"{name}.{field}", fix=_DAMAGED)


def _unit(rows: Float[np.ndarray, "latents d_model"]) -> Float[np.ndarray, "latents d_model"]:
    norm = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norm > 0, norm, 1.0)).astype(rows.dtype)
