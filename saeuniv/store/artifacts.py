"""What is stored, and under which key."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

from saeuniv.config import canonical_json


class ArtifactError(RuntimeError):
    """An artifact is missing or damaged, or could not be published."""


class Kind(Enum):
    """The kinds of artifact; the value is the folder below the store."""

    tokens = "tokens"
    models = "models"
    dictionaries = "dictionaries"
    latents = "latents"
    matches = "matches"
    scores = "scores"


# Raise the number of a kind when what its files mean changes: old artifacts are then no longer found.
FORMAT: dict[Kind, int] = {
    Kind.tokens: 2,
    Kind.models: 1,
    Kind.dictionaries: 1,
    Kind.latents: 2,
    Kind.matches: 2,
    Kind.scores: 2,
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """The name of a stored folder; equal keys are equal artifacts. Make one with `artifact`."""

    kind: Kind
    key: str
    """16 hexadecimal digits, see `artifact_key`"""

    spec: Mapping[str, object] = field(compare=False)
    """JSON values: everything that changes the content, and nothing else"""

    parents: tuple[str, ...] = field(default=(), compare=False)
    """paths of the artifacts it is made from, as `tokens/0123456789abcdef`; only recorded"""

    shard: int | None = None
    """number of one shard, which is a published folder of its own; None for the whole"""

    part: tuple[int, int] | None = None
    """(i, n): shards i, i + n, i + 2n ..., which one of n tasks makes; nothing of this name is published"""

    @property
    def path(self) -> str:
        """Its folder relative to the store: `latents/0123456789abcdef`, for a shard `.../00003` below."""
        # Asked for millions of times in a large plan, where the property `value` is the slowest line.
        whole = f"{self.kind._value_}/{self.key}"
        if self.part is not None:
            return f"{whole}/{self.part[0]}-of-{self.part[1]}"
        return whole if self.shard is None else f"{whole}/{self.shard:05d}"


def artifact_key(kind: Kind, spec: Mapping[str, object]) -> str:
    """16 hexadecimal digits that change with the format version, the kind and every value of `spec`.

    The order of keys does not matter. Raises TypeError for values that are not JSON, ValueError for NaN.
    """
    return _key(kind, canonical_json(dict(spec)))


def artifact(
    kind: Kind, spec: Mapping[str, object], parents: tuple[str, ...] = (), shard: int | None = None
) -> Artifact:
    """The artifact that `spec` describes. How it is cut into shards is not part of its key."""
    canonical = canonical_json(dict(spec))
    # As JSON has it (tuples are lists, keys are text), which is what a manifest gives back.
    values = cast(dict[str, object], json.loads(canonical))
    return Artifact(kind, _key(kind, canonical), values, parents, shard)


def artifact_named(
    kind: Kind, canonical: str, spec: Mapping[str, object], parents: tuple[str, ...]
) -> Artifact:
    """`artifact(kind, spec, parents)` where the canonical JSON of `spec` is at hand.

    A sweep names half a million scores, whose specs share all but a few words.
    """
    return Artifact(kind, _key(kind, canonical), spec, parents)


def _key(kind: Kind, canonical: str) -> str:
    content = f'{{"format":{FORMAT[kind]},"kind":"{kind._value_}","spec":{canonical}}}'
    return hashlib.sha256(content.encode()).hexdigest()[:16]
