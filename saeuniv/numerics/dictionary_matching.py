"""Which latents of two dictionaries have the same direction: assignments by cosine, and their chance.

Both dictionaries are in one residual basis. Every latent counts, dead ones too: no token is looked at.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.assignment import Matching, assignment_gap, hungarian
from saeuniv.numerics.dictionary_similarity import (
    DictionaryParameters,
    decoder_cosine_candidates,
    encoder_cosine_candidates,
)


class PairedDirections(NamedTuple):
    """The assignment of largest total cosine, one to one, min(latents_a, latents_b) pairs."""

    index_a: Int[np.ndarray, " pairs"]
    index_b: Int[np.ndarray, " pairs"]
    cosine: Float[np.ndarray, " pairs"]
    """of every pair, also of those that were left over; float64"""

    gap: float
    """how much of the largest possible total of positive cosines may be missing, 0..1"""


def pair_decoders(a: DictionaryParameters, b: DictionaryParameters, *, top_m: int) -> PairedDirections:
    """Latents paired by the cosine of their decoder rows, among the `top_m` most similar of each.

    Pairs of largest total positive cosine; latents that remain are paired in a fixed random order, so that
    with few candidates the mean is a little below that of the best assignment. Unchanged by a positive
    factor for each latent and by a rotation of the basis. A latent without direction has cosine 0.

    Raises:
        ValueError: different bases or dimensions, an entry that is not finite, or `top_m` below 1.
    """
    return _paired(hungarian(decoder_cosine_candidates(a, b, top_m=top_m)), a.decoder, b.decoder)


def pair_encoders(a: DictionaryParameters, b: DictionaryParameters, *, top_m: int) -> PairedDirections:
    """The same by the cosine of their encoder rows. Raises as `pair_decoders` does."""
    return _paired(hungarian(encoder_cosine_candidates(a, b, top_m=top_m)), a.encoder, b.encoder)


def agreeing_pairs(by_decoder: PairedDirections, by_encoder: PairedDirections) -> Int[np.ndarray, " both"]:
    """Where in `by_decoder` the pairs stand that `by_encoder` has, too."""
    other = dict(zip(by_encoder.index_a.tolist(), by_encoder.index_b.tolist(), strict=True))
    partners = np.array([other.get(i, -1) for i in by_decoder.index_a.tolist()], dtype=np.int64)
    return np.flatnonzero(partners == by_decoder.index_b)


def random_rotation(d_model: int, rng: np.random.Generator) -> Float[np.ndarray, "d_model d_model"]:
    """An orthogonal matrix, uniform over all of them (Haar): Q of a Gaussian's QR, signs made unique.

    Stewart 1980, SIAM J. Numer. Anal. 17. O(d_model^3) time.
    """
    q, r = np.linalg.qr(rng.standard_normal((d_model, d_model)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def rotated(
    parameters: DictionaryParameters, rotation: Float[np.ndarray, "d_model d_model"]
) -> DictionaryParameters:
    """The same dictionary in another basis: angles between its own directions stay as they are."""
    q = rotation.astype(parameters.decoder.dtype)
    return parameters._replace(encoder=parameters.encoder @ q, decoder=parameters.decoder @ q)


def _paired(
    matching: Matching, x: Float[np.ndarray, "latents_a d_model"], y: Float[np.ndarray, "latents_b d_model"]
) -> PairedDirections:
    left, right = x[matching.index_a].astype(np.float64), y[matching.index_b].astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine = np.einsum("ij,ij->i", left, right) / np.where(lengths > 0, lengths, 1.0)
    return PairedDirections(matching.index_a, matching.index_b, cosine, assignment_gap(matching) or 0.0)
