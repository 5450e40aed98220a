"""An artifact and its files, for the tests of the store."""

from pathlib import Path

from saeuniv.store import Artifact, Kind, Store, artifact, manifest

SPEC = {"model": "pythia", "layer": 3, "widths": [1, 2], "rate": 0.5}


def an_artifact(shard: int | None = None, **changed: object) -> Artifact:
    parents = ("models/0123456789abcdef",)
    return artifact(Kind.latents, SPEC | changed, parents=parents, shard=shard)


def write(folder: Path) -> None:
    (folder / "values.bin").write_bytes(bytes(range(256)) * 10)
    (folder / "nested").mkdir()
    (folder / "nested" / "names.txt").write_text("a\nb\n")


def publish(store: Store, what: Artifact) -> Path:
    with store.publish(what) as folder:
        write(folder)
    return store.folder(what)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in manifest.file_names(folder)}
