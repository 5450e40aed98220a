"""What results were made from, and the versions that made it."""

import logging
from pathlib import Path

import pytest

from saeuniv.stages.provenance import mixtures, provenance
from saeuniv.store import Artifact, Kind, Store, artifact, manifest
from saeuniv.store.manifest import read_manifest

VERSIONS = {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.0"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Publishes an artifact as a process of these versions would."""

    def make(name: str, *, kind=Kind.scores, commit: str | None = "abc", shard=None, **versions) -> Artifact:
        made = artifact(kind, {"name": name}, shard=shard)
        monkeypatch.setattr(manifest, "git_commit", lambda: commit)
        monkeypatch.setattr(manifest, "versions", lambda: VERSIONS | versions)
        with store.publish(made, seconds=10.0) as folder:
            (folder / "values.bin").write_bytes(b"1234")
        return made

    return make


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def test_cost_and_hashes_are_told_of_what_is_there(store, make, caplog) -> None:
    latents = artifact(Kind.latents, {"name": "latents"})
    shards = [make("latents", kind=Kind.latents, shard=shard) for shard in (0, 1)]
    one, absent = make("one"), artifact(Kind.scores, {"name": "absent"})
    told = provenance("a-b", store, made_from=[latents, one, absent], joined=[])
    assert told["bytes_by_stage"] == {"latents": 8, "scores": 4}
    assert told["seconds_by_stage"]["latents"] == pytest.approx(20.0, abs=1)
    assert told["artifacts"] == {each.path: store.digest(each) for each in (*shards, one)}
    assert (told["git_commits"], told["mixtures"]) == (["abc"], {})
    assert warnings(caplog) == []


def test_a_mixture_is_told_and_named_in_one_warning(store, make, caplog) -> None:
    made = [make("one"), make("two", commit="def"), make("three", torch="2.12.0")]
    told = provenance("a-b", store, made_from=made, joined=[])
    assert told["mixtures"] == {"git_commit": ["abc", "def"], "torch": ["2.12.0", "2.13.0"]}
    assert told["git_commits"] == ["abc", "def"]
    (warning,) = warnings(caplog)
    assert "a-b: expected one version behind all artifacts" in warning
    assert "git_commit abc, def; torch 2.12.0, 2.13.0" in warning


def test_scores_of_the_control_mix_but_cost_nothing_here(store, make) -> None:
    told = provenance("a-b", store, made_from=[make("one")], joined=[make("control", numpy="2.5.0")])
    assert told["mixtures"] == {"numpy": ["2.4.0", "2.5.0"]}
    assert (told["bytes_by_stage"], len(told["artifacts"])) == ({"scores": 4}, 1)


def test_a_wheel_beside_a_checkout_is_a_mixture_and_a_package_not_installed_is_none(store, make) -> None:
    made = [make("one"), make("wheel", commit=None), make("more", datasets="4.0.0")]
    manifests = [read_manifest(store.folder(each)) for each in made]
    assert mixtures(manifests) == {"git_commit": ["abc", "unknown"]}


def test_a_damaged_manifest_is_left_out_with_a_warning(store, make, caplog) -> None:
    one, two = make("one"), make("two")
    (store.folder(one) / "manifest.json").write_text("{")
    told = provenance("a-b", store, made_from=[one, two], joined=[])
    assert list(told["artifacts"]) == [two.path]
    (warning,) = warnings(caplog)
    assert f"{one.path}: left out of the summary" in warning
