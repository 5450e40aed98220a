"""What is taken in: the same bytes, verified first; nothing of what is damaged, moved out or made to run."""

import io
import itertools
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import saeuniv
from saeuniv.config import ConfigError
from saeuniv.results import load
from saeuniv.store import Artifact, ArtifactError, Kind, Store, artifact
from saeuniv.store.manifest import sha256_of_file
from saeuniv.sweep.sharing import contract as contracts
from saeuniv.sweep.sharing import plan_export, plan_import, read_contract, write_export
from tests.shared_sweeps import dictionary
from tests.stored_runs import StoredRun
from tests.sweep.sharing.conftest import killed_at, told, wanted
from tests.sweep.sharing.test_export import files_below


@pytest.fixture(scope="module")
def whole(run: StoredRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of everything, not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    write_export(plan_export(wanted(run, out)), out, told)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def change(out: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change export.json as somebody would who knows how it is hashed."""
    values = json.loads((out / "export.json").read_text())
    del values["sha256"]
    edit(values)
    text = json.dumps({**values, "sha256": contracts._digest(values)})
    (out / "export.json").write_text(text)


def replace_file(out: Path, name: str, content: bytes) -> None:
    """Another file under a name, listed as it is."""
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(content)
    about = {"sha256": sha256_of_file(out / name), "bytes": len(content)}
    change(out, lambda values: values["files"].update({name: about}))


def refused(out: Path, tmp_path: Path) -> str:
    """Every fault, after a look that nothing was placed."""
    with pytest.raises(ConfigError) as error:
        plan_import(out, tmp_path / "there", name=None, told=told)
    assert not (tmp_path / "there").exists()
    return "\n".join(error.value.faults)


def test_what_was_exported_is_imported_with_the_same_bytes(
    run: StoredRun, whole: Path, tmp_path: Path
) -> None:
    store, there = Store(tmp_path / "store"), tmp_path / "there"
    found = plan_import(whole, there, name=None, told=told)
    assert found.place(store, told) == (8, 1)
    for kind in ("dictionaries", "latents"):
        assert files_below(store.root / kind) == files_below(run.store.root / kind)
    assert files_below(there / "s" / "one" / "results") == files_below(whole / "results" / "one" / "results")
    assert load(there / "s" / "one") == load(run.folder)
    assert (there / "s" / "sweep.csv").read_bytes() == (run.folder.parent / "sweep.csv").read_bytes()


def test_after_it_artifacts_verify_and_what_exports_them_again_gives_the_same(
    whole: Path, tmp_path: Path
) -> None:
    store, there = Store(tmp_path / "store"), tmp_path / "there"
    plan_import(whole, there, name=None, told=told).place(store, told)
    for path in read_contract(whole).artifacts:
        kind, key, *shard = path.split("/")
        made = Artifact(Kind(kind), key, {}, shard=int(shard[0]) if shard else None)
        assert Store(store.root).valid(made)
    assert store.valid(dictionary("a", 0)), "as a run that asks for it would name it"
    loaded = saeuniv.load(there / "s" / "one")
    assert len(loaded.matches(0, 1)) == 3 and np.isfinite(loaded.matrix("partial_correlation")).all()


def test_what_is_there_is_kept(run: StoredRun, whole: Path, tmp_path: Path) -> None:
    store, there = Store(tmp_path / "store"), tmp_path / "there"
    for _ in range(2):
        found = plan_import(whole, there, name="mine", told=told)
        placed = found.place(store, told)
    assert placed == (0, 0) and load(there / "mine" / "one") == load(run.folder)
    other = there / "mine" / "one" / "results" / "layer_pairs.csv"
    other.write_text(other.read_text().replace("0.5", "0.6"))
    with pytest.raises(ConfigError, match=r"found others\. Import under another name: --name NAME\."):
        plan_import(whole, there, name="mine", told=told)


def test_a_damaged_artifact_of_the_store_is_replaced(whole: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan_import(whole, tmp_path / "there", name=None, told=told).place(store, told)
    path = store.root / dictionary("a", 0).path / "cfg.json"
    path.write_text("{}")
    assert plan_import(whole, tmp_path / "there", name=None, told=told).place(store, told) == (1, 0)
    assert path.read_text() != "{}"


def test_damage_and_loss_are_all_named_at_once(out: Path, tmp_path: Path) -> None:
    cfg, tensors = (
        out / "dictionaries" / "tiny_s0" / "layers.0" / name for name in ("cfg.json", "sae.safetensors")
    )
    cfg.unlink()
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    (out / "results" / "one" / "results" / "nulls.csv").write_text("x")
    said = refused(out, tmp_path)
    assert f"{cfg}: expected a file, found none." in said
    assert f"{tensors}: expected sha256" in said
    assert "nulls.csv: expected" in said and "bytes, got 1." in said


def test_killed_at_every_moment_it_places_artifacts_and_results_whole(
    run: StoredRun, whole: Path, tmp_path: Path
) -> None:
    """Process n is killed (SIGKILL) in the middle of file 3n - 2 that it places."""
    for moment in itertools.count(1, 3):
        store, there = Store(tmp_path / f"store{moment}"), tmp_path / f"there{moment}"
        found = plan_import(whole, there, name=None, told=told)
        killed = killed_at(moment, lambda kill, found=found, store=store: found.place(store, kill))
        for path, (made, _) in found.artifacts.items():
            assert store.valid(made) or not (store.root / path).exists()
        results = there / "s" / "one" / "results"
        assert not results.exists() or load(results.parent) == load(run.folder)
        if not killed:
            break
        found.place(store, told)
        for kind in ("dictionaries", "latents"):
            assert files_below(store.root / kind) == files_below(run.store.root / kind)
        assert files_below(results) == files_below(whole / "results" / "one" / "results")
    assert moment > 10


def test_an_unfinished_export_is_refused(out: Path, tmp_path: Path) -> None:
    (out / "export.json").unlink()
    assert "saeuniv export wrote, found no export.json in it." in refused(out, tmp_path)
    assert "found no folder" in refused(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 1, "sha256": ""}'])
def test_a_list_that_is_none_is_refused(text: str, out: Path, tmp_path: Path) -> None:
    (out / "export.json").write_text(text)
    assert "export.json: expected" in refused(out, tmp_path)


def test_a_changed_list_is_noticed(out: Path, tmp_path: Path) -> None:
    path = out / "export.json"
    path.write_text(path.read_text().replace('"unknown"', '"mit"'))
    assert "it is damaged. Fetch it again." in refused(out, tmp_path)


def test_a_newer_format_is_refused(out: Path, tmp_path: Path) -> None:
    change(out, lambda values: values.update(format=2))
    assert "expected an export of format 1, got 2. Read it with the version" in refused(out, tmp_path)


@pytest.mark.parametrize(
    "name", ["../x.json", "/x.json", "results/../../x.json", "a\\b.json", "C:/x.json", "a//b.json", ""]
)
def test_a_path_out_of_the_folder_is_refused(name: str, out: Path, tmp_path: Path) -> None:
    change(out, lambda values: values["files"].update({name: {"sha256": "0" * 64, "bytes": 0}}))
    assert f"expected paths below its folder, got {name!r}" in refused(out, tmp_path)
    change(out, lambda values: (values["files"].pop(name), values["artifacts"].update({"latents/x": name})))
    assert f"expected paths below its folder, got {name!r}" in refused(out, tmp_path)


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_a_sweep_of_another_folder_is_refused(name: str, out: Path, tmp_path: Path) -> None:
    change(out, lambda values: values.update(name=name))
    assert f"expected the name of a sweep, got {name!r}" in refused(out, tmp_path)
    with pytest.raises(ConfigError, match="expected the name of a sweep, got"):
        change(out, lambda values: values.update(name="s"))
        plan_import(out, tmp_path / "there", name=name, told=told)


def test_links_are_refused(out: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    cfg = out / "dictionaries" / "tiny_s0" / "layers.0" / "cfg.json"
    shutil.copyfile(cfg, secret)
    cfg.unlink()
    cfg.symlink_to(secret)
    shutil.move(out / "latents", tmp_path / "latents")
    (out / "latents").symlink_to(tmp_path / "latents")
    said = refused(out, tmp_path)
    assert f"{cfg}: expected a file, found a link." in said
    assert "latents.safetensors: expected a file, found a link." in said


@pytest.mark.parametrize("ending", [".pt", ".bin", ".pkl"])
def test_pickles_are_refused(ending: str, out: Path, tmp_path: Path) -> None:
    replace_file(out, f"dictionaries/x{ending}", pickle.dumps({}))
    assert f"got dictionaries/x{ending}, which would be unpickled." in refused(out, tmp_path)
    replace_file(out, "dictionaries/x.py", b"")
    assert "got dictionaries/x.py." in refused(out, tmp_path)


def test_pickles_under_other_names_are_refused(out: Path, tmp_path: Path) -> None:
    replace_file(out, "dictionaries/x.safetensors", pickle.dumps({"a": 1}))
    arrays = io.BytesIO()
    np.savez(arrays, a=np.array([{}], dtype=object))
    replace_file(out, "dictionaries/x.npz", arrays.getvalue())
    said = refused(out, tmp_path)
    assert "x.safetensors: expected a file that is safe to read" in said
    assert "x.npz: expected a file that is safe to read" in said


def test_a_manifest_of_another_key_is_refused(out: Path, tmp_path: Path) -> None:
    one, other = (dictionary("a", layer).path for layer in (0, 1))

    def exchange(values: dict[str, Any]) -> None:
        folders = values["artifacts"]
        folders[one], folders[other] = folders[other], folders[one]

    change(out, exchange)
    assert f"expected {one}, got the manifest of {other}." in refused(out, tmp_path)


def test_a_spec_that_does_not_give_the_key_is_refused(out: Path, tmp_path: Path) -> None:
    """A manifest is no proof of itself: keys are computed again."""
    made = dictionary("a", 0)
    with Store(tmp_path / "forged").publish(
        Artifact(made.kind, made.key, {"hookpoint": "resid_post[5]"})
    ) as folder:
        shutil.copyfile(out / "dictionaries/tiny_s0/layers.0/cfg.json", folder / "cfg.json")
        shutil.copyfile(out / "dictionaries/tiny_s0/layers.0/sae.safetensors", folder / "sae.safetensors")
    forged = (tmp_path / "forged" / made.path / "manifest.json").read_bytes()
    replace_file(out, "dictionaries/tiny_s0/layers.0/manifest.json", forged)
    assert f"expected {made.path}, got the manifest of dictionaries/" in refused(out, tmp_path)


def test_artifacts_of_another_format_are_refused(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(saeuniv.store.FORMAT, Kind.latents, 3)
    assert "expected latents of format 3, got 2. Read it with the version of saeuniv" in refused(
        out, tmp_path
    )


def test_a_file_that_the_manifest_does_not_name_is_refused(out: Path, tmp_path: Path) -> None:
    replace_file(out, "dictionaries/tiny_s0/layers.0/more.json", b"{}")
    assert "expected the files of its manifest (cfg.json, sae.safetensors)" in refused(out, tmp_path)


def test_a_file_that_changes_after_it_was_verified_is_not_published(out: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = plan_import(out, tmp_path / "there", name=None, told=told)
    (out / "dictionaries" / "tiny_s0" / "layers.0" / "cfg.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"cfg\.json: expected .* it is damaged"):
        found.place(store, told)
    assert not store.exists(dictionary("a", 0))


def test_a_manifest_of_others_is_kept_only_beside_its_own_files(tmp_path: Path) -> None:
    made = artifact(Kind.dictionaries, {"x": 1})
    with Store(tmp_path / "one").publish(made) as folder:
        (folder / "cfg.json").write_text("{}")
    manifest = tmp_path / "one" / made.path / "manifest.json"
    store = Store(tmp_path / "other")
    with (
        pytest.raises(ArtifactError, match=r"expected what .* says"),
        store.publish(made, manifest=manifest) as folder,
    ):
        (folder / "cfg.json").write_text("{ }")
    assert not store.exists(made)
    with store.publish(made, manifest=manifest) as folder:
        (folder / "cfg.json").write_text("{}")
    assert (tmp_path / "other" / made.path / "manifest.json").read_bytes() == manifest.read_bytes()
    assert store.valid(made)
