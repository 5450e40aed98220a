"""Pairs of latents as the code of a published analysis makes them (Lan et al. 2024, arXiv 2410.06981).

Many of B to one of A by the largest Pearson's r, a filter by top tokens, one to one, and a bound on r, in
this order. Only to reproduce figures that were made so (saeuniv.metrics.published).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.latents import HalfLatents


class BestPartners(NamedTuple):
    """For every latent of B the latent of A it correlates with most."""

    index_a: Int[np.ndarray, " latents_b"]
    """The lowest one among equals; 0 for a latent of B that is constant."""

    correlation: Float[np.ndarray, " latents_b"]
    """Pearson's r with it, signed; 0 with and for constant latents."""


def best_partners(found: Candidates) -> BestPartners:
    """The largest r of each latent of B over all of A, and whose it is; r of constant latents is 0.

    `found` leaves constant latents out. So a latent of B that is constant has A's first latent, and one whose
    largest r is negative has A's first constant latent, where there is one.
    """
    index = found.index_b[:, 0].astype(np.int64)
    r = found.similarity_b[:, 0].copy()
    alone = index < 0
    index[alone], r[alone] = 0, 0.0
    constant = np.flatnonzero(found.index_a[:, 0] < 0)
    if len(constant):
        first = int(constant[0])
        index[~alone & ((r < 0) | ((r == 0) & (index > first)))] = first
        r = np.maximum(r, 0.0)
    return BestPartners(index, r)


def one_to_one(
    partners: BestPartners, chosen: Bool[np.ndarray, " latents_b"], *, first_seen: bool
) -> Int[np.ndarray, " pairs"]:
    """The latents of B that keep their partner where each latent of A keeps one; ascending.

    Args:
        partners: of every latent of B.
        chosen: latents of B that take part.
        first_seen: keep the lowest latent of B, else the one of largest r (equal r: the lowest).
    """
    index_b = np.flatnonzero(chosen)
    if not first_seen:
        index_b = index_b[np.argsort(-partners.correlation[index_b], kind="stable")]
    first = np.unique(partners.index_a[index_b], return_index=True)[1]
    return np.sort(index_b[first])


def top_tokens(
    latents: HalfLatents, latent: int, token_text: Sequence[str], *, n_tokens: int
) -> frozenset[str]:
    """The tokens of the rows on which a latent is most active; equal activations: the first rows.

    Rows on which it is not active are none of them: fewer where it fires on fewer, none where it never does.

    Args:
        latents: on some rows.
        latent: which one.
        token_text: the token of each of all rows, those of other halves included.
        n_tokens: how many rows.
    """
    peaks = latents.peaks(n_tokens)[latent]
    return frozenset(token_text[int(row)] for row in latents.half.rows[peaks[peaks >= 0]])


def is_concept(tokens_a: frozenset[str], tokens_b: frozenset[str], non_concepts: Collection[str]) -> bool:
    """Whether two latents share a top token, and none of their top tokens is in the list; exact equality."""
    return not tokens_a.isdisjoint(tokens_b) and (tokens_a | tokens_b).isdisjoint(non_concepts)


def concept_pairs(
    sides: tuple[HalfLatents, HalfLatents],
    partners: BestPartners,
    token_text: Sequence[str],
    *,
    non_concepts: Collection[str],
    n_tokens: int,
) -> Bool[np.ndarray, " latents_b"]:
    """The latents of B that pass `is_concept` with their partner."""
    a, b = sides
    of_a = {
        each: top_tokens(a, each, token_text, n_tokens=n_tokens)
        for each in np.unique(partners.index_a).tolist()
    }
    passes = [
        is_concept(of_a[partner], top_tokens(b, latent, token_text, n_tokens=n_tokens), non_concepts)
        for latent, partner in enumerate(partners.index_a.tolist())
    ]
    return np.array(passes, bool)
