"""Token-aligned sparse latents with planted structure, for tests."""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse as sp

from saeuniv.alignments import AlignmentMethod
from saeuniv.compare import CompareSettings, MetricResult, compare_latents
from saeuniv.matching import with_matches
from saeuniv.metrics import MetricMethod
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves

FLOORS = Floors(min_firings=5, max_rate=0.5, min_within_share=0.01)


class Streams(NamedTuple):
    """Latents of two models on the same tokens."""

    a: sp.csr_array
    b: sp.csr_array
    documents: np.ndarray
    groups: dict[str, np.ndarray]
    positions: int
    permutation: np.ndarray
    """Partner in B of each latent of A (planted for the first `shared` of them)."""


def streams(
    *,
    seed: int = 0,
    n_documents: int = 60,
    sequences_per_document: int = 2,
    positions: int = 20,
    n_latents: int = 30,
    shared: int = 0,
    token_latents: int = 0,
    n_tokens: int = 12,
    rate: float = 0.15,
    persistence: float = 0.8,
) -> Streams:
    """Sparse latents whose first `shared` agree across models given the token, the next `token_latents`
    fire by token identity alone, and the rest are unrelated.

    Each document switches latents on with a probability of its own (`persistence` > 0), so that rows of a
    document depend on one another, as activations do.
    """
    rng = np.random.default_rng([seed, 77])
    n_sequences = n_documents * sequences_per_document
    rows = n_sequences * positions
    documents = np.repeat(np.arange(n_documents), sequences_per_document * positions)
    weights = 1 / np.arange(1, n_tokens + 1)
    token = rng.choice(n_tokens, size=rows, p=weights / weights.sum())
    previous = np.roll(token, 1)

    def draw() -> np.ndarray:
        level = rate * np.exp(persistence * rng.standard_normal((n_documents, n_latents)))
        fires = rng.random((rows, n_latents)) < np.minimum(level, 0.45)[documents]
        return fires * rng.lognormal(sigma=0.5, size=(rows, n_latents))

    a, b = draw(), draw()
    b[:, :shared] = a[:, :shared] * rng.lognormal(sigma=0.3, size=(rows, shared))
    for latent in range(shared, shared + token_latents):
        fires = token == latent % n_tokens
        for side in (a, b):
            side[:, latent] = fires * rng.lognormal(sigma=0.3, size=rows)
    permutation = rng.permutation(n_latents)
    permuted = np.empty_like(b)
    permuted[:, permutation] = b
    groups = {
        "token": token,
        "token_bigram": previous * n_tokens + token,
        "token_trigram": (np.roll(token, 2) * n_tokens + previous) * n_tokens + token,
    }
    return Streams(sp.csr_array(a), sp.csr_array(permuted), documents, groups, positions, permutation)


def dense_partial(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The definition: subtract each column's mean within its label, then correlate. The slow oracle."""

    def residual(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float64).copy()
        for label in np.unique(labels):
            z[labels == label] -= z[labels == label].mean(axis=0)
        return z

    x, y = residual(a), residual(b)
    scale = np.sqrt((x**2).sum(0))[:, None] * np.sqrt((y**2).sum(0))
    return np.divide(x.T @ y, scale, out=np.zeros_like(scale), where=scale > 0)


def best_assignment(matching: Matching, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, once they are seen to be as good as the best assignment of the whole matrix.

    Pairs that are not positive add nothing: which of them complete the matching is a convention.
    """
    rows, columns = scipy.optimize.linear_sum_assignment(-similarity.clip(0))
    largest = similarity.clip(0)[rows, columns].sum()
    index = (matching.index_a, matching.index_b)
    assert len(matching.index_a) == min(similarity.shape) == len(set(matching.index_b.tolist()))
    np.testing.assert_allclose(similarity[index].clip(0).sum(), largest, atol=1e-8)
    return index


def matched_pair(
    data: Streams,
    alignment: AlignmentMethod,
    metric: MetricMethod,
    *,
    decoders: tuple[np.ndarray, np.ndarray] | None = None,
    floors: Floors = FLOORS,
    null_draws: int = 19,
) -> LayerPair:
    """The layer pair as `compare_latents` hands it to `metric`, with matches and re-matched nulls."""
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (
        prepare_layer(latents, halves, floors=floors, decoder=decoder)
        for latents, decoder in zip((data.a, data.b), decoders or (None, None), strict=True)
    )
    settings = DrawSettings(0, null_draws, 3, 0, 60, min_documents=20, min_effective_documents=15)
    return with_matches(LayerPair(a, b, make_draws(halves, settings), 0.5), alignment, (metric,))


def compared(
    data: Streams, settings: CompareSettings, **changes: object
) -> dict[tuple[str, str], MetricResult]:
    """What compare_latents finds, by metric and direction; `changes` replace its arguments."""
    arguments: dict[str, object] = {
        "groups": data.groups,
        "documents": data.documents,
        "positions_per_sequence": data.positions,
        "settings": settings,
    }
    found = compare_latents(data.a, data.b, **{**arguments, **changes})
    return {(each.metric, each.direction): each for each in found}
