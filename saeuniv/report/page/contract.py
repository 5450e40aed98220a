"""What a page shows of the latents of one layer pair: plain JSON, made by whoever reads matches and texts."""

from typing import Literal, TypedDict


class ContextDetail(TypedDict):
    """A stretch of text where a latent of the match is active."""

    document: str
    domain: str
    """Of the document; empty where none was named."""
    peak: int
    """Position in `tokens` where the latent of side `of` is most active."""
    tokens: list[str]
    a: list[float]
    """Activation of A's latent at each token."""
    b: list[float]
    of: Literal["a", "b"]
    """The side whose latent this text was found by."""


class MatchDetail(TypedDict):
    """Two matched latents."""

    a: int
    b: int
    r: float
    """Correlation on the half of the tokens that the matching saw."""
    r_held_out: float | None
    """Correlation on the other half."""
    rate_a: float
    """Share of the tokens on which A's latent is active."""
    rate_b: float
    contexts: list[ContextDetail]


class HistogramDetail(TypedDict):
    """Correlations of all matches, and of matches under the null: values, not counts."""

    matched: list[float]
    null: list[float]


class PairDetail(TypedDict):
    """One layer pair."""

    n_matches: int
    """How many there are; not all need to be given."""
    matches: list[MatchDetail]
    histogram: HistogramDetail
