"""What is shown of a layer pair beside its numbers: matches, text that latents fire on, histograms."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from saeuniv.report.contact_sheet import shown_matches
from saeuniv.report.page import ContextDetail, MatchDetail, PairDetail
from saeuniv.results import MATCH_COLUMNS
from saeuniv.stages.contexts import Context, Firings, Text, Window, firings, top_rows
from saeuniv.stages.kept_layers import KeptLayers
from saeuniv.stages.pair_matches import MatchedLayers, PairMatches
from saeuniv.stages.stored import StoredComparison
from saeuniv.stages.tokenizer_files import token_bytes
from saeuniv.stages.tokens import read_documents
from saeuniv.store import Artifact

KEPT_BYTES = 1 << 30
"""Of layers that stay in memory for the next pairs."""

# A histogram of more values looks the same.
_MOST_VALUES = 2000
_DIGITS = 6


class PairDetails:
    """Matches, contexts and histograms of the layer pairs of one comparison; no model runs.

    Layers are read once for all their pairs as long as `kept_bytes` allow: ask row by row of the matrix.
    """

    def __init__(self, stored: StoredComparison, *, kept_bytes: int = KEPT_BYTES) -> None:
        """Look at the artifacts that the results of `stored` rest on."""
        self.stored = stored
        self._layers = KeptLayers(stored, kept_bytes=kept_bytes)
        self._texts: dict[str, Text] = {}
        self._matches: tuple[tuple[str, str], MatchedLayers, PairMatches] | None = None
        self._peaks: dict[tuple[str, tuple[Artifact, ...], int, int], list[int]] = {}
        self._null: Float[np.ndarray, " matches"] | None = None

    def matches(self, layer_a: int | str, layer_b: int | str) -> PairMatches:
        """The matches of a layer pair, the largest correlation first.

        Raises:
            ValueError: a layer that is not among these results, or a pair that was not compared.
            ArtifactError: the store lacks what is needed; the message says what makes it again.
        """
        return self._matched(layer_a, layer_b)[1]

    def null_correlations(self, layer_a: int | str, layer_b: int | str) -> Float[np.ndarray, " matches"]:
        """The held-out r of the same pairs under one document shift; see `MatchedLayers.shifted`."""
        matched, matches = self._matched(layer_a, layer_b)
        if self._null is None:
            self._null = matched.shifted(matches)
        return self._null

    def contexts(
        self, layer_a: int | str, layer_b: int | str, match: int, *, n_contexts: int, window: Window
    ) -> tuple[Context, ...]:
        """Text at the peaks of the latent of A, then at those of the latent of B, of one match.

        Each list has at most `n_contexts`, one a document, the largest activation first. Peaks are among the
        rows compared on; the activations of both latents are those on the same rows. Models with tokenizers
        of their own have rows where ends of words meet, and each context the tokens of its own side.

        Raises:
            IndexError: there are not so many matches.
        """
        matched, matches = self._matched(layer_a, layer_b)
        if not 0 <= match < len(matches.latent_a):
            raise IndexError(
                f"match={match}: expected one of the {len(matches.latent_a)} matches of layer pair "
                f"({layer_a}, {layer_b}), the first of them 0, got another."
            )
        pair = matched.pair
        a = firings(matched.a.columns, int(matches.place_a[match]))
        b = firings(matched.b.columns, int(matches.place_b[match]))
        found: list[Context] = []
        sides = (("a", pair.a, a, matches.latent_a), ("b", pair.b, b, matches.latent_b))
        for of, layer, latent, numbers in sides:
            text, key = self._text(layer), (of, layer, int(numbers[match]), n_contexts)
            # A latent is matched in pair after pair, and its peaks are the same.
            if key not in self._peaks:
                self._peaks[key] = _peaks(latent, self._layers.rows(pair).rows, text, n=n_contexts)
            found += text.contexts(self._peaks[key], window, of=of, a=a, b=b)
        return tuple(found)

    def latent_contexts(
        self,
        side: str,
        layer_a: int | str,
        layer_b: int | str,
        latents: Int[np.ndarray, " latents"],
        *,
        n_contexts: int,
        window: Window,
    ) -> tuple[tuple[Context, ...], ...]:
        """Text at the peaks of any latents of one side's layer, compared or not; the layer is read once.

        Raises:
            ValueError: latents that the dictionary does not have.
        """
        with self.stored.explained():
            pair = self.stored.pair(layer_a, layer_b)
            layer = pair.a if side == "a" else pair.b
            columns = self._layers.columns(layer, latents)
            compared, text = self._layers.rows(pair).rows, self._text(layer)
        found: list[tuple[Context, ...]] = []
        for place in range(len(latents)):
            latent = firings(columns, place)
            given = {"a": latent if side == "a" else None, "b": latent if side == "b" else None}
            rows = _peaks(latent, compared, text, n=n_contexts)
            found.append(text.contexts(rows, window, of=side, **given))
        return tuple(found)

    def columns(self, layer_a: int | str, layer_b: int | str) -> dict[str, Shaped[np.ndarray, " matches"]]:
        """The matches of a layer pair as columns of matches.parquet; r_null NaN where there is no null."""
        matches, null = self.matches(layer_a, layer_b), self.null_correlations(layer_a, layer_b)
        found = matches._asdict() | {
            "r_null": null if len(null) else np.full(len(matches.r), np.nan),
            "direction": np.array(matches.direction, dtype=object),
        }
        return {name: found[name] for name in MATCH_COLUMNS}

    def block(self, layer_a: int | str, layer_b: int | str) -> Float[np.ndarray, "shown shown"]:
        """The held-out r of matched latents with one another, of those that `shown_matches` chooses."""
        matched, matches = self._matched(layer_a, layer_b)
        return matched.block(matches, shown_matches(matches.r_held_out))

    def details(
        self, layer_a: int | str, layer_b: int | str, *, n_matches: int, n_contexts: int, window: Window
    ) -> PairDetail:
        """The best matches of a layer pair, their contexts and both histograms, as JSON values.

        Activations are 0.0 where a position is no row. Histograms hold the held-out r of all matches,
        ascending, and that of the same pairs under one document shift (empty where documents are too few);
        of more than 2,000 matches, as many quantiles.
        """
        matches = self.matches(layer_a, layer_b)
        shown = range(min(n_matches, len(matches.latent_a)))
        found = (self.contexts(layer_a, layer_b, k, n_contexts=n_contexts, window=window) for k in shown)
        return {
            "n_matches": len(matches.latent_a),
            "matches": [_match(matches, k, contexts) for k, contexts in zip(shown, found, strict=True)],
            "histogram": {
                "matched": _quantiles(matches.r_held_out),
                "null": _quantiles(self.null_correlations(layer_a, layer_b)),
            },
        }

    def _matched(self, layer_a: int | str, layer_b: int | str) -> tuple[MatchedLayers, PairMatches]:
        """The last pair is kept: its matches, contexts and null are asked for one after another."""
        labels = self.stored.layers(layer_a, layer_b)
        if self._matches is None or self._matches[0] != labels:
            with self.stored.explained():
                pair = self.stored.pair(*labels)
                matched = MatchedLayers(self.stored.store, pair, *self._layers.of(pair))
                self._matches, self._null = (labels, matched, matched.matches()), None
        return self._matches[1:]

    def _text(self, layer: tuple[Artifact, ...]) -> Text:
        tokens = self.stored.tokens(layer)
        if tokens.path not in self._texts:
            documents = read_documents(self.stored.store, tokens)
            read = token_bytes(self.stored, tokens)
            self._texts[tokens.path] = Text(self._layers.held_out(layer), documents, read)
        return self._texts[tokens.path]


def _peaks(latent: Firings, compared: Int[np.ndarray, " compared"], text: Text, *, n: int) -> list[int]:
    """The rows of the largest activations of a latent, among those compared on."""
    rows = latent.rows.astype(np.int64)
    place = np.minimum(np.searchsorted(compared, rows), len(compared) - 1)
    there = compared[place] == rows
    rows, values = rows[there], latent.values[there].astype(np.float64)
    return top_rows(rows, values, text.row_documents[rows], n=n).tolist()


def _match(matches: PairMatches, number: int, contexts: tuple[Context, ...]) -> MatchDetail:
    return {
        "a": int(matches.latent_a[number]),
        "b": int(matches.latent_b[number]),
        "r": float(matches.r[number]),
        "r_held_out": float(matches.r_held_out[number]),
        "rate_a": float(matches.rate_a[number]),
        "rate_b": float(matches.rate_b[number]),
        "contexts": [_context(each) for each in contexts],
    }


def _context(context: Context) -> ContextDetail:
    """JSON values; JSON has no NaN."""
    a, b = (np.round(np.nan_to_num(side), _DIGITS).tolist() for side in (context.a, context.b))
    return {
        "document": context.document,
        "domain": context.domain,
        "peak": context.peak,
        "tokens": list(context.tokens),
        "a": a,
        "b": b,
        "of": "a" if context.of == "a" else "b",
    }


def _quantiles(values: Float[np.ndarray, " values"]) -> list[float]:
    ascending = np.sort(values)
    if len(ascending) > _MOST_VALUES:
        ascending = ascending[np.linspace(0, len(ascending) - 1, _MOST_VALUES).round().astype(int)]
    return [round(float(each), _DIGITS) for each in ascending]
