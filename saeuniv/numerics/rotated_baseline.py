"""What latents share beyond what directions of the other space do: the rotated baseline.

Gurnee et al. 2024 (arXiv 2401.12181): the largest correlation with a neuron of another model, less the
largest one with the same model's neurons in a random basis. From Grams alone: no row is looked at again.
"""

import numpy as np
from jaxtyping import Float

from saeuniv.numerics.token_grams import TokenGrams

Rotation = Float[np.ndarray, "latents_b latents_b"]


def excess_correlations(
    fit: TokenGrams, evaluation: TokenGrams, rotations: tuple[Rotation, ...]
) -> Float[np.ndarray, " latents_a"]:
    """Per latent of A its held-out correlation with its best partner, less that of B rotated; in [-2, 2].

    The partner is the latent of B, or the column of B rotated, of largest correlation on `fit`; both are
    judged on `evaluation`, where nothing was chosen; the baseline is the mean over rotations. A latent
    without a positive partner counts 0, as in the held-out correlations. About 0 where A's latents are
    mixtures of B's, or unrelated; 1 less the baseline for a copy. O(p^3) time a rotation.
    """
    own = _held_out(fit, evaluation, fit.ab, evaluation.ab, (np.diag(fit.bb), np.diag(evaluation.bb)))
    baseline = np.zeros_like(own)
    for q in rotations:
        squares = tuple(np.einsum("ij,ij->j", q, each.bb @ q) for each in (fit, evaluation))
        baseline += _held_out(fit, evaluation, fit.ab @ q, evaluation.ab @ q, (squares[0], squares[1]))
    return own - baseline / len(rotations)


def _held_out(
    fit: TokenGrams,
    evaluation: TokenGrams,
    chosen_by: Float[np.ndarray, "latents_a columns"],
    judged_by: Float[np.ndarray, "latents_a columns"],
    squares: tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]],
) -> Float[np.ndarray, " latents_a"]:
    on_fit = _correlations(chosen_by, np.diag(fit.aa), squares[0])
    best = on_fit.argmax(axis=1)
    rows = np.arange(len(best))
    r = _correlations(judged_by, np.diag(evaluation.aa), squares[1])[rows, best]
    return np.where(on_fit[rows, best] > 0, r, 0.0)


def _correlations(
    products: Float[np.ndarray, "latents_a columns"],
    squares_a: Float[np.ndarray, " latents_a"],
    squares_b: Float[np.ndarray, " columns"],
) -> Float[np.ndarray, "latents_a columns"]:
    scale = np.sqrt(np.outer(np.maximum(squares_a, 0.0), np.maximum(squares_b, 0.0)))
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
