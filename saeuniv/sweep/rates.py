"""What making things took before, per unit of work, from a sample of the store's manifests."""

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from saeuniv.store import Artifact, Kind
from saeuniv.store.manifest import MANIFEST
from saeuniv.store.scan import file_bytes, read_loosely

# Manifests that are read of each kind: less than 2,000 in all, which takes less than a second.
_SAMPLE = 330

# Where nothing alike has been made, bytes per unit: 10 M tokens, a model of 160 M parameters, dictionaries
# of 768 dimensions, 32 active latents a row, layers of 256 latents; and the rows of the embedded text.
_GUESSED_BYTES: dict[Kind, float] = {
    Kind.tokens: 4e7,
    Kind.models: 6.5e8,
    Kind.dictionaries: 6144.0,
    Kind.latents: 200.0,
    Kind.matches: 8e4,
    Kind.scores: 2.5e4,
}
_GUESSED_ROWS = 124_000
# Of a pre-activation, half of which are positive: a value of 4 bytes and an index of 2.
_PRE_ACT_BYTES = 3.0

# Making a token set is mostly reading and splitting text, which its manifest does not time.
_NOT_TIMED = frozenset({Kind.tokens})

# Files of artifacts, as saeuniv/stages/tokens.py and saeuniv/stages/latents.py write them.
_TEXT, _QUALITY = "text.json", "quality.json"

Likeness = tuple[object, ...]
"""What artifacts that take about as long per unit of work have in common, their kind first."""


class Taken(NamedTuple):
    """What making something takes."""

    seconds: float | None
    """None where nothing alike has been timed."""

    bytes: float


_UNKNOWN_MATCHES = Taken(None, _GUESSED_BYTES[Kind.matches])


class TokenSet(NamedTuple):
    """How much held-out text there is."""

    rows: int
    """Those that are compared on."""


@dataclass(frozen=True)
class Rates:
    """Medians over everything alike that was made before."""

    medians: Mapping[Likeness, Taken]
    """Per unit of work."""

    matches: Mapping[str, Taken]
    """By alignment: the matches of a layer pair together with those of its nulls."""

    tokens: Mapping[str, TokenSet]
    """By key."""

    learned_from: Mapping[Kind, int]
    """How many manifests were read."""

    def of(self, made: Artifact) -> Taken:
        """What making the artifact takes, going by what is most like it."""
        try:
            work = _work(made.kind, made.spec, self._rows(made))
        except (KeyError, TypeError):
            # Made by a version whose words differ: unlike all others.
            return Taken(None, _GUESSED_BYTES[made.kind])
        for likeness in work.likenesses:
            if found := self.medians.get(likeness):
                size = found.bytes * work.byte_units
                if found.seconds is None or work.units is None:
                    return Taken(None, size)
                return Taken(found.seconds * work.units, size)
        return Taken(None, _GUESSED_BYTES[made.kind] * work.byte_units)

    def of_matches(self, alignment: str) -> Taken:
        """What the matches of a layer pair take together with those of its nulls."""
        return self.matches.get(alignment, _UNKNOWN_MATCHES)

    def _rows(self, made: Artifact) -> int | None:
        """Rows of latents on a token set; None where it has not been made yet."""
        if made.kind is not Kind.latents:
            return None
        spec = cast(Mapping[str, Any], made.spec)
        found = self.tokens.get(spec["tokens"])
        return found and found.rows // (made.part[1] if made.part else 1)


def learn(root: Path) -> Rates:
    """What the manifests in a store say; of a large store a sample, the same at every call.

    What cannot be read is left out, and a store that is not there teaches nothing.
    """
    seconds: dict[Likeness, list[float]] = defaultdict(list)
    sizes: dict[Likeness, list[float]] = defaultdict(list)
    tokens: dict[str, TokenSet] = {}
    read: Counter[Kind] = Counter()
    for kind in Kind:
        for folder, manifest in _sample(root, kind):
            try:
                work = _work(
                    kind, manifest["spec"], _rows_in(folder / _QUALITY) if kind is Kind.latents else None
                )
                took, size = float(manifest["seconds"]), file_bytes(manifest)
                if manifest["spec"].get("split") == "held_out":
                    tokens[manifest["key"]] = TokenSet(_rows_in(folder / _TEXT))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            read[kind] += 1
            for likeness in work.likenesses:
                sizes[likeness].append(size / work.byte_units)
                if work.units and kind not in _NOT_TIMED:
                    seconds[likeness].append(took / work.units)
    medians = {
        likeness: Taken(
            statistics.median(seconds[likeness]) if seconds[likeness] else None, statistics.median(values)
        )
        for likeness, values in sizes.items()
    }
    return Rates(medians, _matches(medians), tokens, read)


def method_of(spec: Mapping[str, object]) -> Mapping[str, Any]:
    """How layers are compared, in a spec of matches or scores; earlier versions have it beside the layers."""
    return cast(Mapping[str, Any], spec.get("method", spec))


class _Work(NamedTuple):
    likenesses: tuple[Likeness, ...]
    """The most alike first."""

    units: float | None
    """What the seconds go by; None where it is not known."""

    byte_units: float


def _matches(medians: Mapping[Likeness, Taken]) -> dict[str, Taken]:
    found: dict[str, list[Taken]] = defaultdict(list)
    for (kind, *like), taken in medians.items():
        if kind == Kind.matches.value:
            found[str(like[0])].append(taken)
    return {
        alignment: Taken(sum(each.seconds or 0.0 for each in taken), sum(each.bytes for each in taken))
        for alignment, taken in found.items()
    }


def _work(kind: Kind, spec: Mapping[str, object], rows: int | None) -> _Work:
    """How much work an artifact is, and what it is like."""
    values = cast(Mapping[str, Any], spec)
    match kind:
        case Kind.models if "steps" in values:
            size = (kind.value, values["d_model"], values["n_layers"], values["steps"] > 0)
            trained = values["steps"] * values.get("batch_sequences", 1) * values["context_length"]
            # Of a transformer's blocks: embedded models are a thousandth of what is guessed of others.
            weights_bytes = 4 * 12 * values["n_layers"] * values["d_model"] ** 2
            share = weights_bytes / _GUESSED_BYTES[kind]
            return _Work((size, (kind.value, values["steps"] > 0)), trained or 1, share)
        case Kind.models:
            return _Work(((kind.value, "initial weights"),), 1, 1)
        case Kind.dictionaries:
            like = (kind.value, values["model"], values["width"])
            return _Work((like, (kind.value, values["width"])), values["n_tokens"], values["width"])
        case Kind.latents if values["kind"] == "pre_acts":
            likenesses = ((kind.value, "pre_acts", values["dictionary"]), (kind.value, "pre_acts"))
            entries = values["width"] * (rows or _GUESSED_ROWS)
            share = _PRE_ACT_BYTES / _GUESSED_BYTES[kind]
            return _Work(likenesses, entries if rows else None, entries * share)
        case Kind.latents:
            # Those of one token set are of models that share a tokenizer, and so mostly of one family.
            likenesses = (
                (kind.value, values["dictionary"]),
                (kind.value, values["tokens"], ""),
                (kind.value,),
            )
            return _Work(likenesses, rows, rows or _GUESSED_ROWS)
        case Kind.matches:
            method = method_of(spec)
            null = method["null"] and method["null"]["name"]
            return _Work(((kind.value, method["alignment"]["type"], null),), 1, 1)
        case Kind.scores:
            metric = method_of(spec)["metric"]["name"]
            return _Work(((kind.value, metric, *values["a"]), (kind.value, metric)), 1, 1)
        case Kind.tokens:
            return _Work(((kind.value, values.get("split")),), 1, 1)


def _sample(root: Path, kind: Kind) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders and manifests of some artifacts; of latents one shard each."""
    for name in _names(root / kind.value)[:_SAMPLE]:
        folder = root / kind.value / name
        if kind is Kind.latents:
            folder /= next(iter(_names(folder)), "")
        manifest = read_loosely(folder / MANIFEST)
        if manifest:
            yield folder, manifest


def _names(folder: Path) -> list[str]:
    """Entries that are not temporary, in order: names are hashes, so the first ones are a fair sample."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _rows_in(file: Path) -> int:
    return int((read_loosely(file) or {})["rows"])
