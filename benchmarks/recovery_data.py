"""Two token-aligned streams of latents whose true partners are known.

The model. All draws come from `numpy.random.default_rng([seed, part])`, one generator a part.

* Text. Documents of 1..max_sequences sequences (uniform), each of `positions` rows. Tokens are independent,
  with Zipf frequencies 1 / (rank + 2) over the vocabulary.
* Latents. Each side has `latents` of them: round(token_share * latents) token latents; of the rest, the
  concept latents, round(overlap * rest) have a partner on the other side and the others have none. Columns of
  both sides are permuted at random, so that nothing but the values tells partners.
* Rates. Concept latents fire on a share of the rows of Zipf size, top_rate / (1 + rank / 8); the ranks are
  dealt at random, so that overlap and rate are independent. Partners have the same rate.
* Documents. Each concept belongs to one of `topics` topics. A document has each topic on with chance 1/4; in
  such documents the concept's rate is `burst` times that of other documents, at the same mean rate (capped at
  0.6). Partners share their topic and its switches. All other latents have switches of their own side: apart
  from partners and token latents the two streams are independent.
* Concept events. A concept occurs on each row independently given the document, with an intensity that is
  lognormal(0, 0.5).
* Concept latents. A latent fires on an event of its concept with chance 1 - `misses`, and besides on any row
  with chance misses * rate, with an intensity of its own; on one row they add. The value is the intensity, an
  event's times a lognormal(0, value_noise) that is independent on the two sides. Partners read the same
  concept, all others one of their own.
* Token latents, the trap. The k-th token latent of A and the k-th of B fire on the same token (that of rank
  k mod vocabulary), each with chance 1 - `misses` on its own, with values lognormal(0, 0.5) of their own:
  their raw correlation is high and tells of the token alone. Given the token they are independent. They are
  no partners. With more token latents than types, several share a token.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

_TOPIC_SHARE = 0.25
_HIGHEST_CHANCE = 0.6
_INTENSITY = 0.5
_HEAD = 8
TEXT, LAYOUT, A, B, SHARED = range(5)


@dataclass(frozen=True)
class StreamSettings:
    """What is planted in which noise; see the module's text."""

    rows: int = 100_000
    """At least; whole documents."""

    latents: int = 1000
    overlap: float = 0.5
    """Share of the concept latents that have a partner."""

    token_share: float = 0.2
    """Share of the latents that are token latents."""

    top_rate: float = 0.1
    value_noise: float = 0.8
    misses: float = 0.6
    burst: float = 8.0
    topics: int = 50
    vocabulary: int = 100
    positions: int = 50
    max_sequences: int = 8
    seed: int = 0


class Streams(NamedTuple):
    """Latents of A and B on the same rows, and the truth about them."""

    a: sp.csr_array
    b: sp.csr_array
    documents: np.ndarray
    """Document of each row, ascending."""

    tokens: np.ndarray
    positions: int
    partner: np.ndarray
    """Latent of B that each latent of A is a partner of; -1: none."""

    token_a: np.ndarray
    """The token of each token latent of A; -1: of others."""

    token_b: np.ndarray
    """Of each latent of B."""

    rate: np.ndarray
    """Firing rate of each latent of A under the model; of a token latent its token's."""

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Labels of rows that share the last one, two or three tokens, or token and eighth of the sequence.

        A sequence has no past: before its first token stands none, which is a token of its own.
        """
        tokens = self.tokens.reshape(-1, self.positions) + 1
        base = int(tokens.max()) + 1
        before, before_that = np.zeros_like(tokens), np.zeros_like(tokens)
        before[:, 1:], before_that[:, 2:] = tokens[:, :-1], tokens[:, :-2]
        bigram = before * base + tokens
        return {
            "token": tokens.ravel(),
            "token_bigram": bigram.ravel(),
            "token_trigram": (before_that * base * base + bigram).ravel(),
            "token_x_position": (tokens * 8 + np.arange(self.positions) * 8 // self.positions).ravel(),
        }

    def first(self, rows: int) -> "Streams":
        """The same streams cut after the document that reaches `rows`."""
        end = int(
            np.searchsorted(self.documents, self.documents[min(rows, len(self.tokens)) - 1], side="right")
        )
        return self._replace(
            a=self.a[:end], b=self.b[:end], documents=self.documents[:end], tokens=self.tokens[:end]
        )


class _Text(NamedTuple):
    starts: np.ndarray
    """First row of each document."""

    lengths: np.ndarray
    """Rows of each document."""

    tokens: np.ndarray
    frequencies: np.ndarray
    """Of the token types."""


class _Events(NamedTuple):
    """Occurrences of concepts, or firings of latents."""

    row: np.ndarray
    concept: np.ndarray
    value: np.ndarray


def make_streams(settings: StreamSettings) -> Streams:
    """Streams of these settings; equal settings give equal streams."""
    n, text = settings.latents, _text(settings)
    n_token = round(settings.token_share * n)
    n_shared = round(settings.overlap * (n - n_token))
    rng = np.random.default_rng([settings.seed, LAYOUT])
    zipf = settings.top_rate / (1 + np.arange(n - n_token) / _HEAD)
    rates = rng.permutation(zipf)
    columns_a, columns_b = rng.permutation(n), rng.permutation(n)
    shared = _occurrences(settings, text, rates[:n_shared], SHARED)
    sides = [
        _side(settings, text, shared, rates[n_shared:], rates, columns, part)
        for columns, part in ((columns_a, A), (columns_b, B))
    ]
    partner, rate = np.full(n, -1), np.empty(n)
    partner[columns_a[:n_shared]] = columns_b[:n_shared]
    token = np.arange(n_token) % settings.vocabulary
    token_of = np.full((2, n), -1)
    token_of[0, columns_a[n - n_token :]] = token_of[1, columns_b[n - n_token :]] = token
    rate[columns_a] = np.concatenate([rates, text.frequencies[token]])
    documents = np.repeat(np.arange(len(text.starts)), text.lengths)
    return Streams(*sides, documents, text.tokens, settings.positions, partner, *token_of, rate)


def _text(settings: StreamSettings) -> _Text:
    rng = np.random.default_rng([settings.seed, TEXT])
    # As many as are certain to be enough, however short documents turn out.
    most = -(-settings.rows // settings.positions)
    lengths = rng.integers(1, settings.max_sequences + 1, size=most) * settings.positions
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), settings.rows) + 1]
    weights = 1 / (np.arange(settings.vocabulary) + 3.0)
    frequencies = weights / weights.sum()
    tokens = np.searchsorted(np.cumsum(frequencies)[:-1], rng.random(int(lengths.sum())))
    return _Text(np.cumsum(lengths) - lengths, lengths, tokens, frequencies)


def _occurrences(settings: StreamSettings, text: _Text, rates: np.ndarray, part: int) -> _Events:
    """On which rows each concept occurs, and how strongly."""
    rng = np.random.default_rng([settings.seed, part, 0])
    on = rng.random((len(text.starts), settings.topics)) < _TOPIC_SHARE
    topic = rng.integers(settings.topics, size=len(rates))
    calm = rates / (1 + _TOPIC_SHARE * (settings.burst - 1))
    chance = np.minimum(calm * np.where(on[:, topic], settings.burst, 1.0), _HIGHEST_CHANCE)
    return _drawn(rng, text, chance)


def _drawn(rng: np.random.Generator, text: _Text, chance: np.ndarray) -> _Events:
    """Independent firings of `chance[document, concept]` on each row of the document.

    Poisson events of rate -log(1 - chance) strike each row independently of the others; a row that is struck
    at all fires, which has that chance.
    """
    struck = rng.poisson(-np.log1p(-chance) * text.lengths[:, None])
    document, concept = np.divmod(np.repeat(np.arange(struck.size), struck.ravel()), chance.shape[1])
    row = text.starts[document] + (rng.random(len(document)) * text.lengths[document]).astype(np.int64)
    key = np.unique(row * chance.shape[1] + concept)
    row, concept = np.divmod(key, max(chance.shape[1], 1))
    return _Events(row, concept, rng.lognormal(sigma=_INTENSITY, size=len(row)))


def _side(
    settings: StreamSettings,
    text: _Text,
    shared: _Events,
    own_rates: np.ndarray,
    rates: np.ndarray,
    columns: np.ndarray,
    part: int,
) -> sp.csr_array:
    """One model's latents: of shared concepts, of its own concepts, and of tokens."""
    rng = np.random.default_rng([settings.seed, part, 1])
    n_shared, n_concepts = len(rates) - len(own_rates), len(rates)
    own = _occurrences(settings, text, own_rates, part)
    read = [_kept(rng, each, settings) for each in (shared, own._replace(concept=own.concept + n_shared))]
    stray = _drawn(rng, text, np.broadcast_to(settings.misses * rates, (len(text.starts), n_concepts)))
    everything = [*read, stray, _token_latents(rng, text, settings, n_concepts)]
    row, latent, value = (np.concatenate(parts) for parts in zip(*everything, strict=True))
    shape = (len(text.tokens), settings.latents)
    return sp.csr_array(sp.coo_array((value.astype(np.float32), (row, columns[latent])), shape=shape))


def _kept(rng: np.random.Generator, events: _Events, settings: StreamSettings) -> _Events:
    kept = rng.random(len(events.row)) >= settings.misses
    row, concept, value = (each[kept] for each in events)
    return _Events(row, concept, value * rng.lognormal(sigma=settings.value_noise, size=len(value)))


def _token_latents(rng: np.random.Generator, text: _Text, settings: StreamSettings, first: int) -> _Events:
    latents = [
        np.flatnonzero(text.tokens == k % settings.vocabulary) for k in range(settings.latents - first)
    ]
    row = np.concatenate([np.zeros(0, np.int64), *latents])
    latent = first + np.repeat(np.arange(len(latents)), [len(rows) for rows in latents])
    events = _Events(row, latent, rng.lognormal(sigma=_INTENSITY, size=len(row)))
    fires = rng.random(len(row)) >= settings.misses
    return _Events(*(each[fires] for each in events))
