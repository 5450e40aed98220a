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
    Kind.tokens: 1,
    Kind.models: 1,
    Kind.dictionaries: 1,
    Kind.latents: 1,
    Kind.matches: 1,
    Kind.scores: 1,
}


@dataclass(frozen=True)
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

    @property
    def path(self) -> str:
        """Its folder relative to the store: `latents/0123456789abcdef`, for a shard `.../00003` below."""
        whole = f"{self.kind.value}/{self.key}"
        return whole if self.shard is None else f"{whole}/{self.shard:05d}"


def artifact_key(kind: Kind, spec: Mapping[str, object]) -> str:
    """16 hexadecimal digits that change with the format version, the kind and every value of `spec`.

    The order of keys does not matter. Raises TypeError for values that are not JSON, ValueError for NaN.
    """
    content = {"format": FORMAT[kind], "kind": kind.value, "spec": _json_values(spec)}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def artifact(
    kind: Kind, spec: Mapping[str, object], parents: tuple[str, ...] = (), shard: int | None = None
) -> Artifact:
    """The artifact that `spec` describes. How it is cut into shards is not part of its key."""
    return Artifact(kind, artifact_key(kind, spec), _json_values(spec), parents, shard)


def _json_values(spec: Mapping[str, object]) -> dict[str, object]:
    """A deep copy as JSON has it (tuples are lists, keys are text), which is what a manifest gives back."""
    return cast(dict[str, object], json.loads(canonical_json(dict(spec))))
