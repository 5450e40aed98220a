"""What the results of a comparison rest on, found in the store again: from the results folder alone.

summary.json names every artifact, and manifests say what each is made from: neither the models nor the text
are asked, which may have moved since.
"""

import difflib
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from saeuniv.compare import CompareSettings
from saeuniv.config import Eligibility
from saeuniv.numerics.latents import Floors
from saeuniv.results import Results, load
from saeuniv.stages.prepared import RowChoice
from saeuniv.store import Artifact, ArtifactError, Kind, Store
from saeuniv.store.manifest import read_manifest

_REPLAY = "# Replay: "


class StoredPair(NamedTuple):
    """One layer pair in the store."""

    a: tuple[Artifact, ...]
    """Latents of A; several for a group of layers read as one."""

    b: tuple[Artifact, ...]
    matches: Artifact | None
    """The alignment's pairs; None where no metric asked for them."""

    method: Mapping[str, Any]
    """How they were compared: eligibility, rows, and the alignment where there is one."""

    @property
    def floors(self) -> Floors:
        """What latents had to reach to be compared."""
        given = {name: value for name, value in self.method["eligibility"].items() if name != "type"}
        return CompareSettings(eligibility=Eligibility(**given)).floors

    @property
    def min_df_share(self) -> float:
        """Degrees of freedom per row below which no correlation within tokens is taken."""
        return float(self.method["eligibility"]["min_df_share"])

    @property
    def rows(self) -> RowChoice:
        """Which rows were compared on."""
        return RowChoice(**self.method["rows"])


@dataclass(frozen=True)
class StoredComparison:
    """The results of a comparison, and the store that holds what they rest on."""

    results: Results
    store: Store
    _shard_specs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Any], repr=False)

    @property
    def command(self) -> str:
        """What makes again what is missing."""
        first = self.results.config.partition("\n")[0]
        return first.removeprefix(_REPLAY) if first.startswith(_REPLAY) else "the same command"

    def layers(self, layer_a: int | str, layer_b: int | str) -> tuple[str, str]:
        """The layer pair as results name it.

        Raises:
            ValueError: a layer that is not among these results.
        """
        return (
            _label(layer_a, self.results.layers_a, "layer_a"),
            _label(layer_b, self.results.layers_b, "layer_b"),
        )

    def pair(self, layer_a: int | str, layer_b: int | str) -> StoredPair:
        """A layer pair in the store; layers by number or as results name them (`3`, `3+4`).

        Raises:
            ValueError: a layer that is not among these results, or a pair that was not compared.
            ArtifactError: the store lacks what the results rest on.
        """
        labels = self.layers(layer_a, layer_b)
        if labels not in self._pairs:
            there = ", ".join(f"({a}, {b})" for a, b in sorted(self._pairs)[:12])
            raise ValueError(
                f"layer pair ({', '.join(labels)}): expected one that was compared, got another. "
                f"Compared were: {there}{' ...' if len(self._pairs) > 12 else ''}."
            )
        return self._pairs[labels]

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """The layer pairs in the store, row by row of the matrix; those whose scores failed are not there.

        Raises:
            ArtifactError: the store lacks what names them.
        """
        a, b = self.results.layers_a, self.results.layers_b
        return tuple(sorted(self._pairs, key=lambda pair: (a.index(pair[0]), b.index(pair[1]))))

    def spec(self, artifact: Artifact) -> Mapping[str, Any]:
        """What an artifact is, from its manifest.

        Raises:
            ArtifactError: it is not in the store.
        """
        return read_manifest(self.store.folder(artifact))["spec"]

    @contextmanager
    def explained(self) -> Generator[None]:
        """Says of what is missing from the store, or damaged, what makes it again."""
        try:
            yield
        except ArtifactError as error:
            raise ArtifactError(
                f"{error} These results rest on it, in the store {self.store.root}. Make it again: "
                f"{self.command}. Or name the store that has it (store=...)."
            ) from error

    def tokens(self, latents: tuple[Artifact, ...]) -> Artifact:
        """The token set of a layer's latents."""
        return Artifact(Kind.tokens, str(self._shard_spec(latents[0])["tokens"]), {})

    def named(self, kind: Kind) -> Iterator[Artifact]:
        """The artifacts of a kind that the results rest on; of latents, their shards."""
        artifacts = cast(Mapping[str, str], self.results.summary.get("artifacts") or {})
        for path in artifacts:
            folder, key, *_ = path.split("/")
            if folder == kind.value:
                yield Artifact(kind, key, {})

    def scores(self, metric: str) -> Mapping[tuple[str, str], Artifact]:
        """The scores of a metric, by layer pair.

        Raises:
            ArtifactError: the store lacks what names them.
        """
        return self._scores.get(metric, {})

    def compared_on(self) -> tuple[object, ...] | None:
        """The token sets and the rows that the comparison was made on: equal where both are the same.

        None where the results name nothing that is stored.

        Raises:
            ArtifactError: the store lacks what they name.
        """
        first = next(iter(self._pairs.values()), None)
        return first and (self.tokens(first.a).path, self.tokens(first.b).path, first.rows)

    @cached_property
    def _scores(self) -> dict[str, dict[tuple[str, str], Artifact]]:
        found: dict[str, dict[tuple[str, str], Artifact]] = {}
        for artifact in self.named(Kind.scores):
            spec = self.spec(artifact)
            a, b = (tuple(Artifact(Kind.latents, key, {}) for key in spec[side]) for side in "ab")
            labels = (self._layer_label(a), self._layer_label(b))
            found.setdefault(str(spec["method"]["metric"]["name"]), {})[labels] = artifact
        return found

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], StoredPair]:
        """Every layer pair by its labels: from matches, and from scores where none asked for matches."""
        wanted = {(row.layer_a, row.layer_b) for row in self.results.rows}
        found: dict[tuple[str, str], StoredPair] = {}
        for kind in (Kind.matches, Kind.scores):
            if found.keys() >= wanted:
                break
            for artifact in self.named(kind):
                spec = self.spec(artifact)
                method = cast(Mapping[str, Any], spec["method"])
                if method.get("null"):
                    continue
                a, b = (tuple(Artifact(Kind.latents, key, {}) for key in spec[side]) for side in "ab")
                labels = (self._layer_label(a), self._layer_label(b))
                matches = artifact if kind is Kind.matches else None
                found.setdefault(labels, StoredPair(a, b, matches, method))
        return found

    def _layer_label(self, latents: tuple[Artifact, ...]) -> str:
        return "+".join(str(self._layer_of[each.key]) for each in latents)

    @cached_property
    def _layer_of(self) -> dict[str, int]:
        """The layer of latents, by their key."""
        found: dict[str, int] = {}
        for latents in dict.fromkeys(self.named(Kind.latents)):
            spec = self._shard_spec(latents)
            # Published dictionaries are read at any place, which latents name; trained ones have one.
            place = spec.get("hookpoint") or self._dictionary(spec)["hookpoint"]
            found[latents.key] = int(str(place).partition("[")[2].rstrip("]"))
        return found

    def _dictionary(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.spec(Artifact(Kind.dictionaries, str(spec["dictionary"]), {}))

    def _shard_spec(self, latents: Artifact) -> Mapping[str, Any]:
        # Latents are published shard by shard; all say the same, and are asked for every context.
        if latents.key not in self._shard_specs:
            self._shard_specs[latents.key] = self.spec(Artifact(latents.kind, latents.key, {}, shard=0))
        return self._shard_specs[latents.key]


def stored_comparison(folder: str | Path, store: str | Path | None = None) -> StoredComparison:
    """The results in a comparison folder or its `results/`, and their store.

    That is the one given, else the one that config.yaml names, else SAEUNIV_STORE.

    Raises:
        ValueError: no results, or damaged ones.
    """
    results = load(folder)
    return StoredComparison(results, Store(_store_of(results, store)))


def _store_of(results: Results, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given).expanduser()
    named = Path(str(config_of(results).get("store") or "~/.cache/saeuniv")).expanduser()
    elsewhere = os.environ.get("SAEUNIV_STORE")
    # Results may have been copied from another machine, with or without their store.
    return Path(elsewhere).expanduser() if elsewhere and not named.is_dir() else named


def config_of(results: Results) -> Mapping[str, Any]:
    """config.yaml as plain values."""
    config = OmegaConf.create(results.config)
    return cast(Mapping[str, Any], OmegaConf.to_container(config)) if OmegaConf.is_dict(config) else {}


def _label(layer: int | str, choices: tuple[str, ...], name: str) -> str:
    label = str(layer)
    if label in choices:
        return label
    close = difflib.get_close_matches(label, choices, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise ValueError(
        f"{name}={layer!r}: expected a layer of these results, got another.{hint} "
        f"Choose from: {', '.join(choices)}."
    )
