"""Dictionaries of a hub, found again in its client's cache by their keys, without the network."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from saeuniv.store import Kind, artifact_key
from saeuniv.store.manifest import sha256_of_file
from saeuniv.sweep.sharing.origins import origins
from saeuniv.sweep.sharing.used import Used
from tests.shared_sweeps import write_sparsify

COMMIT = "c" * 40
REPOSITORY = "EleutherAI/sae-pythia-70m-32k"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository at a commit, as the client keeps it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--EleutherAI--sae-pythia-70m-32k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for layer in (0, 1):
        write_sparsify(folder / "snapshots" / COMMIT / f"layers.{layer}", layer)
    return folder / "snapshots" / COMMIT


def key(commit: str = COMMIT) -> str:
    return artifact_key(Kind.dictionaries, {"repository": REPOSITORY, "commit": commit, "folder": "layers.1"})


def test_a_key_is_found_with_commit_folder_and_hashes(snapshot: Path) -> None:
    source = Used("dictionaries", "of m", REPOSITORY, "main", "")
    found = origins([source], {key()})
    assert list(found) == [key()]
    one = found[key()]
    assert (one.form, one.repository, one.commit, one.folder) == ("sparsify", REPOSITORY, COMMIT, "layers.1")
    names = ("cfg.json", "sae.safetensors")
    assert one.hashes() == {name: sha256_of_file(snapshot / "layers.1" / name) for name in names}


def test_another_commit_is_another_dictionary(snapshot: Path) -> None:
    source = Used("dictionaries", "of m", REPOSITORY, "main", "")
    assert origins([source], {key("d" * 40)}) == {}


def test_what_is_not_in_the_cache_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert origins([Used("dictionaries", "of m", REPOSITORY, "main", "")], {key()}) == {}


def test_a_large_file_of_the_cache_is_named_by_its_hash(snapshot: Path) -> None:
    """It is not read again: a release is many gigabytes."""
    blob = snapshot.parent.parent / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    path = snapshot / "layers.1" / "sae.safetensors"
    path.rename(blob)
    path.symlink_to(blob)
    found = origins([Used("dictionaries", "of m", REPOSITORY, "main", "")], {key()})
    assert found[key()].hashes()["sae.safetensors"] == "a" * 64
