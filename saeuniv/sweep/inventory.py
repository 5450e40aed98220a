"""What the store holds of what a plan asks about."""

import os

from saeuniv.stages.latents import shard_cuts, shards
from saeuniv.stages.stored_quality import recorded_fvu
from saeuniv.stages.task import LatentsReference
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Kind, Store


class Inventory:
    """What the store holds, each artifact verified once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._missing: dict[str, bool] = {}
        self._damaged: set[str] = set()
        self._shards: dict[str, int | None] = {}
        self._folders: dict[Kind, set[str]] = {}

    @property
    def n_valid(self) -> int:
        """How many of the artifacts that were asked about are there."""
        return sum(not missing for missing in self._missing.values())

    def missing(self, artifact: Artifact) -> bool:
        """Not there, or damaged (and now set aside)."""
        # A large sweep asks for half a million scores: looked for in a listing, and what is not there is
        # not remembered.
        if artifact.key not in self._listed(artifact.kind):
            return True
        path = artifact.path
        if path not in self._missing:
            existed = self.store.exists(artifact)
            self._missing[path] = not (existed and self.store.valid(artifact))
            if existed and self._missing[path]:
                self._damaged.add(path)
        return self._missing[path]

    def damaged(self, artifact: Artifact) -> bool:
        """There, but not as published: made again even where nothing asks for it now."""
        return self.missing(artifact) and artifact.path in self._damaged

    def shards_of(self, latents: LatentsReference) -> tuple[Artifact, ...]:
        """The shards of these latents; none while the token set that says how many is missing."""
        key = latents.artifact.path
        if key not in self._shards:
            self._shards[key] = None if self.missing(latents.tokens) else self._count(latents)
        return shards(latents, self._shards[key] or 0)

    def fvu(self, latents: LatentsReference) -> float:
        """As recorded with these latents, which are all there."""
        return recorded_fvu(self.store, latents, len(self.shards_of(latents)))

    def _listed(self, kind: Kind) -> set[str]:
        if kind not in self._folders:
            folder = self.store.root / kind.value
            self._folders[kind] = {each.name for each in os.scandir(folder)} if folder.is_dir() else set()
        return self._folders[kind]

    def _count(self, latents: LatentsReference) -> int:
        held_out = read_held_out(self.store, latents.tokens)
        return len(shard_cuts(held_out))
