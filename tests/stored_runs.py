"""A comparison made by hand: token sets, latents and matches in a store, and results that rest on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saeuniv.adapters.checkpoints import byte_tokenizer_json, tokenizer_hash
from saeuniv.numerics.assignment import Matching
from saeuniv.results import Row, write_results
from saeuniv.stages.latents import ShardQuality, save_shard, shard_cuts
from saeuniv.stages.scores import save_matches
from saeuniv.stages.tokens import HeldOut, publish_tokens
from saeuniv.store import Artifact, Kind, Store, artifact

FIRST_ROW = 2
"""The first two positions of a sequence are no rows."""


class _Part(NamedTuple):
    counts: np.ndarray
    indices: np.ndarray
    values: np.ndarray


class _Fit(NamedTuple):
    rows: int
    error: float
    squares: float
    total: np.ndarray


@dataclass
class TokenSet:
    """Documents of one sequence or more, all of one length."""

    ids: np.ndarray
    documents: np.ndarray
    names: tuple[str, ...]
    tokenizer: str = field(default_factory=lambda: tokenizer_hash(byte_tokenizer_json()))
    keep: np.ndarray | None = None
    domains: tuple[str, ...] = ()
    """Of the documents; empty: they have none."""

    @property
    def held_out(self) -> HeldOut:
        keep = self.keep
        if keep is None:
            keep = np.broadcast_to(np.arange(self.ids.shape[1]) >= FIRST_ROW, self.ids.shape).copy()
        return HeldOut(self.ids, keep, self.documents)

    @property
    def n_rows(self) -> int:
        return int(self.held_out.keep.sum())


def byte_ids(text: str | bytes) -> list[int]:
    """The ids of the embedded tokenizer."""
    vocabulary = byte_tokenizer_json()["model"]["vocab"]
    from saeuniv.adapters.token_pieces import _byte_of

    character_of = {byte[0]: character for character, byte in _byte_of().items()}
    data = text.encode() if isinstance(text, str) else text
    return [vocabulary[character_of[each]] for each in data]


def byte_tokens(texts: Mapping[str, str], context: int) -> TokenSet:
    """Each document cut into sequences of `context` bytes; what is left over is dropped."""
    sequences, documents = [], []
    for number, text in enumerate(texts.values()):
        ids = byte_ids(text)
        for start in range(0, len(ids) - context + 1, context):
            sequences.append(ids[start : start + context])
            documents.append(number)
    return TokenSet(np.array(sequences, np.int32), np.array(documents, np.int32), tuple(texts))


@dataclass
class StoredRun:
    """What was made, and where."""

    folder: Path
    store: Store
    latents_a: dict[int, Artifact]
    latents_b: dict[int, Artifact]
    tokens: tuple[Artifact, Artifact]


def make_stored_run(
    place: Path,
    make_row: Callable[..., Row],
    tokens: TokenSet | tuple[TokenSet, TokenSet],
    latents_a: Mapping[int, np.ndarray],
    latents_b: Mapping[int, np.ndarray],
    *,
    matches: Mapping[tuple[int, int], Mapping[str, Matching]] | None = None,
    method: Mapping[str, Any] | None = None,
    groups: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (),
    config: str = "",
) -> StoredRun:
    """Publish everything by hand; layer pairs without matches have a score of a metric that needs none.

    Latents are dense, `rows x latents`. `groups` are pairs of groups of layers read as one.
    """
    store = Store(place / "store")
    sides = tokens if isinstance(tokens, tuple) else (tokens, tokens)
    named = tuple(_publish_tokens(store, each) for each in sides)
    made = [
        {layer: _publish_latents(store, side, layer, dense, each, own) for layer, dense in latents.items()}
        for side, latents, each, own in zip("ab", (latents_a, latents_b), sides, named, strict=True)
    ]
    settings = {
        "eligibility": {"min_firings": 1, "max_rate": 1.0, "min_within_share": 0.0, "min_df_share": 0.0},
        "rows": {"n_tokens": None, "mask_high_norm": False},
        **(method or {}),
    }
    artifacts = [*named, *(each for side in made for each in side.values())]
    pairs = [((a,), (b,)) for a in latents_a for b in latents_b] + list(groups)
    rows = []
    for a, b in pairs:
        spec: dict[str, Any] = {
            "a": [made[0][each].key for each in a],
            "b": [made[1][each].key for each in b],
        }
        known = (matches or {}).get((a[0], b[0])) if len(a) == len(b) == 1 else None
        artifacts.append(_publish_pair(store, spec, settings, known))
        place_of = {"layer_a": "+".join(map(str, a)), "layer_b": "+".join(map(str, b))}
        rows.append(make_row(**place_of, alignment="-", value=0.5))
    folder = place / "comparison"
    write_results(
        folder,
        rows=rows,
        null_rows=(),
        layers_a=tuple(dict.fromkeys(row.layer_a for row in rows)),
        layers_b=tuple(dict.fromkeys(row.layer_b for row in rows)),
        summary={"comparison": "by_hand", "artifacts": {_shard(each): "0" for each in artifacts}},
        config=f"# Replay: saeuniv nulls.draws=19\nstore: {store.root}\n{config}",
        status={"state": "done"},
        figures=None,
    )
    return StoredRun(folder, store, made[0], made[1], named)


def _shard(each: Artifact) -> str:
    return f"{each.path}/00000" if each.kind is Kind.latents else each.path


def _publish_tokens(store: Store, tokens: TokenSet) -> Artifact:
    whole = {"tokenizer": tokens.tokenizer, "ids": tokens.ids.tolist(), "split": "held_out"}
    named = artifact(Kind.tokens, whole)
    held_out = tokens.held_out
    arrays = {"ids": held_out.ids, "keep": held_out.keep, "documents": held_out.documents}
    if not store.exists(named):
        domains = tokens.domains or [""] * len(tokens.names)
        publish_tokens(store, named, arrays, {"documents": list(tokens.names), "domains": list(domains)})
    return named


def _publish_latents(
    store: Store, side: str, layer: int, dense: np.ndarray, tokens: TokenSet, named: Artifact
) -> Artifact:
    dictionary = artifact(Kind.dictionaries, {"hookpoint": f"resid_post[{layer}]", "model": side})
    with store.publish(dictionary):
        pass
    made = artifact(Kind.latents, {"dictionary": dictionary.key, "tokens": named.key, "side": side})
    starts = np.append(0, np.cumsum(tokens.held_out.rows_per_sequence))
    for shard, cut in enumerate(shard_cuts(tokens.held_out)):
        part = dense[starts[cut.start] : starts[cut.stop]]
        latents = _Part((part > 0).sum(1), np.nonzero(part)[1], part[part > 0])
        fit, none = _Fit(len(part), 0.0, 1.0, np.zeros(2)), _Fit(0, 0.0, 0.0, np.zeros(2))
        quality = ShardQuality(fit, none, np.zeros(len(part), bool), None)
        output = Artifact(made.kind, made.key, made.spec, shard=shard)
        with store.publish(output) as folder:
            save_shard(folder, [latents], quality, dense.shape[1])
    return made


def _publish_pair(
    store: Store, spec: dict[str, Any], settings: Mapping[str, Any], known: Mapping[str, Matching] | None
) -> Artifact:
    if known is None:
        made = artifact(Kind.scores, {**spec, "method": {**settings, "metric": {"name": "raw"}}})
        with store.publish(made):
            pass
        return made
    alignment = {"type": "MaxCorr", "condition": "none", "evidence": "pearson"}
    made = artifact(Kind.matches, {**spec, "method": {"alignment": alignment, **settings, "null": None}})
    with store.publish(made) as folder:
        save_matches(folder, (known,))
    return made
