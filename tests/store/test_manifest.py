import json
import os
import subprocess
import tracemalloc
from pathlib import Path

from saeuniv.store import (
    FORMAT,
    Kind,
    Store,
    manifest,
)
from tests.store.samples import SPEC, an_artifact, publish


def test_the_manifest_says_what_it_is_and_what_made_it(store: Store) -> None:
    what = an_artifact(pair=(1, 2))
    publish(store, what)
    found = manifest.read_manifest(store.folder(what))
    assert found["spec"] == SPEC | {"pair": [1, 2]}
    assert found["parents"] == ["models/0123456789abcdef"]
    assert found["format"] == FORMAT[Kind.latents]
    assert found["files"]["values.bin"]["bytes"] == 2560
    assert found["versions"].keys() >= {"python", "saeuniv", "torch", "numpy"}
    assert found["git_commit"] is None or len(found["git_commit"]) == 40
    assert found["seconds"] >= 0


def test_the_manifest_is_json_that_people_can_read(store: Store) -> None:
    publish(store, an_artifact())
    text = (store.folder(an_artifact()) / "manifest.json").read_text()
    assert json.loads(text)["kind"] == "latents"
    assert len(text.splitlines()) > 20


def test_the_commit_is_that_of_the_checkout_and_never_of_another_project(monkeypatch, tmp_path) -> None:
    installed = tmp_path / ".venv" / "saeuniv" / "store" / "manifest.py"
    installed.parent.mkdir(parents=True)
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True)
    monkeypatch.setattr(manifest, "__file__", str(installed))
    assert manifest.git_commit.__wrapped__() is None
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "saeuniv" / "store" / "manifest.py"))
    (tmp_path / "saeuniv").mkdir()
    assert len(manifest.git_commit.__wrapped__()) == 40


def test_large_files_are_hashed_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 64 * 2**20)
    tracemalloc.start()
    digest = manifest.sha256_of_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert digest == "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351"
    assert peak < 2**20
