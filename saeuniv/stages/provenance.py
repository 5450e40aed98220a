"""What results were made from: seconds, bytes and hashes of artifacts, and the versions that made them."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from saeuniv.store import Artifact, ArtifactError, Kind, Store
from saeuniv.store.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)

_COMMIT = "git_commit"


def provenance(
    label: str, store: Store, *, made_from: Iterable[Artifact], joined: Iterable[Artifact]
) -> dict[str, object]:
    """Fields of summary.json: seconds and bytes by stage, hashes, commits, and what versions are mixed.

    Keys do not hold versions: a mixture is no fault, but one warning names it.

    Args:
        label: whose results they are, for the warning.
        store: where they are; artifacts that are not there are left out.
        made_from: everything the results rest on.
        joined: scores of the control, whose cost its own results tell; their versions count here too.
    """
    seconds: dict[str, float] = defaultdict(float)
    size: dict[str, int] = defaultdict(int)
    hashes: dict[str, str] = {}
    manifests: list[Manifest] = []
    for artifact, manifest in _published(store, made_from):
        kind = artifact.kind.value
        seconds[kind] += manifest["seconds"]
        size[kind] += sum(file["bytes"] for file in manifest["files"].values())
        hashes[artifact.path] = store.digest(artifact)
        manifests.append(manifest)
    commits = {_commit(manifest) for manifest in manifests}
    manifests += [manifest for _, manifest in _published(store, joined)]
    mixed = mixtures(manifests)
    if mixed:
        named = "; ".join(f"{name} {', '.join(versions)}" for name, versions in mixed.items())
        _log.warning(
            "%s: expected one version behind all artifacts, got %s. Numbers may differ in their last digits; "
            "a new store=... makes everything with one.",
            label,
            named,
        )
    return {
        "seconds_by_stage": {kind: round(value, 3) for kind, value in sorted(seconds.items())},
        "bytes_by_stage": dict(sorted(size.items())),
        "git_commits": sorted(commits),
        "mixtures": mixed,
        "artifacts": dict(sorted(hashes.items())),
    }


def mixtures(manifests: Iterable[Manifest]) -> dict[str, list[str]]:
    """The commits and the versions of each package, where artifacts differ in them.

    A package that was not installed where an artifact was made had no part in it.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for manifest in manifests:
        found[_COMMIT].add(_commit(manifest))
        for package, version in manifest["versions"].items():
            found[package].add(version)
    return {name: sorted(versions) for name, versions in found.items() if len(versions) > 1}


def _commit(manifest: Manifest) -> str:
    return manifest["git_commit"] or "unknown"


def _published(store: Store, artifacts: Iterable[Artifact]) -> Iterator[tuple[Artifact, Manifest]]:
    """What of these artifacts is in the store, shard by shard; a damaged manifest is left out."""
    for artifact in (part for whole in artifacts for part in _parts(store, whole)):
        if store.exists(artifact):
            try:
                yield artifact, read_manifest(store.folder(artifact))
            except ArtifactError as error:
                _log.warning("%s: left out of the summary: %s", artifact.path, error)


def _parts(store: Store, artifact: Artifact) -> Iterator[Artifact]:
    """An artifact itself; of latents, their shards."""
    if artifact.kind is not Kind.latents:
        yield artifact
        return
    for each in sorted(store.folder(artifact).glob("[0-9]*")):
        yield replace(artifact, shard=int(each.name))
