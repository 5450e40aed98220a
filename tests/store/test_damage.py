import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.store import (
    ArtifactError,
    Store,
    folders,
    manifest,
)
from tests.store.samples import an_artifact, content, publish


def forget() -> None:
    """Verify as the next process would."""
    folders._verified.clear()


def flip(folder: Path) -> None:
    path = folder / "values.bin"
    data = bytearray(path.read_bytes())
    data[1234] ^= 1
    path.write_bytes(data)


def truncate(folder: Path) -> None:
    os.truncate(folder / "values.bin", 2559)


def remove(folder: Path) -> None:
    (folder / "nested" / "names.txt").unlink()


def add(folder: Path) -> None:
    (folder / "nested" / "extra").touch()


def flip_in_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("pythia", "pythib"))


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff{")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (flip, r"values\.bin: expected sha256 \w{64}, got \w{64}\."),
    (truncate, r"values\.bin: expected 2560 bytes, got 2559\."),
    (remove, r"nested/names\.txt: expected 4 bytes, got no such file\."),
    (add, r"nested/extra: expected no such file, found one\."),
    (flip_in_manifest, r"manifest\.json: expected sha256 \w{64}, got \w{64}\."),
    (break_manifest, r"manifest\.json: expected a manifest, got something else"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found_named_set_aside_and_made_again(store: Store, caplog, damage, message: str) -> None:
    what = an_artifact()
    sound = content(publish(store, what))
    damage(store.folder(what))
    with pytest.raises(ArtifactError, match=rf"{what.path} in .* is damaged\. .*{message}.* made again"):
        store.open(what)
    with caplog.at_level(logging.WARNING):
        assert not store.valid(what)
    assert what.path in caplog.text
    assert "set aside in" in caplog.text
    assert not store.exists(what)
    aside = list((store.root / "damaged").iterdir())
    assert [each.name.rsplit("-", 1)[0] for each in aside] == [f"latents-{what.key}"]
    assert content(publish(store, what)) == sound
    assert store.valid(what)


def test_a_byte_that_changes_unseen_by_the_file_system_is_found_by_the_next_process(store: Store) -> None:
    what = an_artifact()
    path = publish(store, what) / "values.bin"
    before = path.stat()
    flip(path.parent)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.valid(what)
    forget()
    assert not store.valid(what)


def test_an_artifact_is_read_once_per_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    what = an_artifact()
    publish(store, what)
    forget()
    read: list[Path] = []
    original = manifest.sha256_of_file
    monkeypatch.setattr(manifest, "sha256_of_file", lambda path: read.append(path) or original(path))
    for _ in range(3):
        store.open(what)
    assert len(read) == 2


def test_an_artifact_in_the_folder_of_another_is_damage(store: Store) -> None:
    publish(store, an_artifact())
    store.folder(an_artifact()).rename(store.folder(an_artifact(layer=9)))
    with pytest.raises(
        ArtifactError, match=f"expected {an_artifact(layer=9).path}, got {an_artifact().path}"
    ):
        store.open(an_artifact(layer=9))


def test_an_artifact_published_while_another_was_verified_is_not_set_aside(store: Store) -> None:
    what = an_artifact()
    publish(store, what)
    seen = folders._inode(store.folder(what))
    store.folder(what).rename(store.root / "moved")
    publish(store, what)
    store._set_aside(what, seen)
    assert store.valid(what)
