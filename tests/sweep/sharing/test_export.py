"""What an export holds: bytes of the store, pages without text, a card; nothing where a fault stands."""

import json
import re
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from saeuniv.adapters import formats
from saeuniv.adapters.checkpoints import LocalFolder
from saeuniv.config import ConfigError
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.results import load
from saeuniv.stages.stored import stored_comparison
from saeuniv.store import ArtifactError
from saeuniv.store.manifest import sha256_of_file
from saeuniv.sweep.sharing import plan_export, read_contract, write_export
from saeuniv.sweep.sharing.dictionaries import Place, shelve
from saeuniv.sweep.sharing.plan import sizes
from tests.report.pages import page_data
from tests.shared_sweeps import dictionary, write_sparsify
from tests.stored_runs import StoredRun
from tests.sweep.sharing.conftest import Exported, killed_at, told, wanted


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_artifacts_and_results_are_copied_byte_by_byte(
    run: StoredRun, export: Exported, tmp_path: Path
) -> None:
    contract, out = export(), tmp_path / "out"
    for path, folder in contract.artifacts.items():
        assert files_below(out / folder) == files_below(run.store.root / path)
    own = files_below(run.folder / "results")
    there = files_below(out / "results" / "one" / "results")
    assert own.keys() == there.keys()
    assert [name for name in own if own[name] != there[name]] == ["report.html"]
    kinds = {path.split("/")[0] for path in contract.artifacts}
    assert kinds == {"dictionaries", "latents"}, "no tokens"
    assert not list(out.rglob("*.part"))


def test_every_file_is_listed_with_its_hash_and_the_list_can_be_read(
    export: Exported, tmp_path: Path
) -> None:
    contract, out = export(), tmp_path / "out"
    assert {*contract.files, "export.json"} == {*files_below(out)}
    for name, about in contract.files.items():
        assert (sha256_of_file(out / name), (out / name).stat().st_size) == tuple(about)
    assert read_contract(out) == contract
    assert contract.versions["saeuniv"] and contract.name == "s"


def test_dictionaries_lie_as_sparsify_has_them(export: Exported, tmp_path: Path) -> None:
    export()
    model = tmp_path / "out" / "dictionaries" / "tiny_s0"
    assert sorted(each.name for each in model.iterdir()) == ["layers.0", "layers.1"]
    source = LocalFolder(model, "there")
    form, entries = formats.find(source, source.names())
    assert form.name == "sparsify" and [entry.layer for entry in entries] == [0, 1]
    assert formats.read(model / "layers.1").decoder.shape == (3, 4)


def test_text_is_left_out_but_matches_and_numbers_are_not(
    run: StoredRun, export: Exported, tmp_path: Path
) -> None:
    contract, name = export(), "results/one/results/report.html"
    before = page_data((run.folder / "results" / "report.html").read_text())
    after = page_data((tmp_path / "out" / name).read_text())
    assert before["matches"]["tokens"] and before["matches"]["documents"], "the text that is to go"
    assert after["matches"]["tokens"] == after["matches"]["documents"] == []
    numbers = [[match[:6] for match in pair["matches"]] for pair in before["matches"]["pairs"]]
    assert [[match[:6] for match in pair["matches"]] for pair in after["matches"]["pairs"]] == numbers
    assert after["metrics"] == before["metrics"]
    histograms = [pair["histogram"] for pair in before["matches"]["pairs"]]
    assert [pair["histogram"] for pair in after["matches"]["pairs"]] == histograms
    assert "contexts in report.html" in {each["what"] for each in contract.left_out}
    page = page_data((tmp_path / "out" / "results" / "sweep.html").read_text())
    assert page["comparisons"][0]["link"] == "one/results/report.html"
    for text in files_below(tmp_path / "out").values():
        assert b"cat sat" not in text


def test_text_goes_along_where_it_is_asked_for(run: StoredRun, export: Exported, tmp_path: Path) -> None:
    contract = export(run, with_text=True)
    name = "one/results/report.html"
    assert (tmp_path / "out" / "results" / name).read_bytes() == (
        run.folder / "results" / "report.html"
    ).read_bytes()
    assert run.tokens[0].path in contract.artifacts
    assert contract.left_out == ()


def test_runs_of_wandb_and_files_of_others_stay(own: StoredRun, export: Exported, tmp_path: Path) -> None:
    (own.folder / "wandb" / "offline-run-1").mkdir(parents=True)
    (own.folder / "results" / "notes.txt").write_text("mine")
    (own.folder / "results" / "heatmap_link.png").symlink_to(own.folder / "results" / "status.json")
    contract = export(own, "results")
    assert not [name for name in contract.files if "wandb" in name or "notes" in name or "link" in name]
    what = {each["what"] for each in contract.left_out}
    assert {"runs of W&B", "one/results/notes.txt", "one/results/heatmap_link.png"} <= what


def test_results_alone_need_no_store(own: StoredRun, export: Exported) -> None:
    shutil.rmtree(own.store.root)
    assert {name.split("/")[0] for name in export(own, "results").files} == {"results", "README.md"}


def test_the_card_has_what_the_hub_reads(own: StoredRun, tmp_path: Path, export: Exported) -> None:
    config = own.folder / "results" / "config.yaml"
    hub = "a:\n  name: EleutherAI/pythia-70m\n  revision: step3000\nb:\n  name: EleutherAI/pythia-70m\n"
    config.write_text(config.read_text().replace("a:\n  seed: 0\nb:\n  seed: 1\n", hub))
    export(own, "dictionaries", license="apache-2.0")
    card = (tmp_path / "out" / "README.md").read_text()
    front = OmegaConf.to_container(OmegaConf.create(card.split("---\n")[1]))
    assert isinstance(front, dict)
    assert (front["license"], front["base_model"]) == ("apache-2.0", ["EleutherAI/pythia-70m"])
    assert "sparse-autoencoder" in front["tags"]
    assert "| model | tiny_s0 | EleutherAI/pythia-70m | step3000 |" in card
    assert 'SparseCoder.load_from_disk("dictionaries/tiny_s0/layers.0")' in card
    assert "saeuniv import DIR" in card


def test_a_licence_that_nobody_named_is_unknown(export: Exported, tmp_path: Path) -> None:
    export()
    assert (tmp_path / "out" / "README.md").read_text().startswith("---\nlicense: unknown\n")


def test_licences_beside_local_models_go_along(own: StoredRun, export: Exported, tmp_path: Path) -> None:
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    for name in ("LICENSE", "NOTICE.txt", "license.py"):
        (model / name).write_text(name)
    config = own.folder / "results" / "config.yaml"
    config.write_text(config.read_text().replace("a:\n  seed: 0", f"a:\n  path: {model}"))
    export(own, "results")
    found = files_below(tmp_path / "out" / "licences")
    assert found == {"mine/LICENSE": b"LICENSE", "mine/NOTICE.txt": b"NOTICE.txt"}


def test_a_local_dictionary_is_copied_and_one_that_changed_is_named(own: StoredRun, tmp_path: Path) -> None:
    saes = tmp_path / "saes"
    for layer in (0, 1):
        write_sparsify(saes / f"layers.{layer}", layer)
    comparison = stored_comparison(own.folder, own.store.root)
    comparison.results.__dict__["config"] = f"# Replay: x\nsae:\n  path: {saes}\n"
    source = LocalFolder(saes, "saes")
    keys = [
        formats_key(source.identity(f"layers.{layer}", "cfg.json", "sae.safetensors")) for layer in (0, 1)
    ]
    places = {
        key: Place(key, "m", Hookpoint(HookpointKind.resid_post, layer), "gpt2", {}, comparison, "a")
        for layer, key in enumerate(keys)
    }
    (saes / "layers.1" / "cfg.json").write_text((saes / "layers.1" / "cfg.json").read_text() + "\n")
    shelf = shelve(places)
    assert [piece.path for piece in shelf.pieces] == [
        "dictionaries/m/h.0/cfg.json",
        "dictionaries/m/h.0/sae.safetensors",
    ]
    assert [each["what"] for each in shelf.left_out] == [f"dictionary {keys[1]} of m at resid_post[1]"]
    assert shelf.artifacts == {} and shelf.published == ()


def formats_key(identity: dict[str, str]) -> str:
    from saeuniv.store import Kind, artifact_key

    return artifact_key(Kind.dictionaries, identity)


def test_what_tells_dictionaries_of_a_model_apart_is_in_the_name_of_their_folder(own: StoredRun) -> None:
    comparison = stored_comparison(own.folder, own.store.root)
    places = {}
    for number, k in enumerate((8, 16)):
        recipe = {"k": k, "width": 64, "hookpoint": "resid_post[0]", "model": "m"}
        made = dictionary("a", number)
        hookpoint = Hookpoint(HookpointKind.resid_post, 0)
        places[made.key] = Place(made.key, "m/x", hookpoint, "", recipe, comparison, "a")
    folders = list(shelve(places).folders)
    assert folders == ["dictionaries/m_x-k_8/layers.0", "dictionaries/m_x-k_16/layers.0"]


def test_sizes_are_those_of_what_is_written(run: StoredRun, export: Exported, tmp_path: Path) -> None:
    planned = sizes(plan_export(wanted(run, tmp_path / "out")).pieces)
    contract = export()
    assert sum(n_files for _, n_files, _ in planned) == len(contract.files)
    assert sum(n_bytes for _, _, n_bytes in planned) == sum(each.bytes for each in contract.files.values())


def test_all_faults_are_said_at_once_and_nothing_is_written(own: StoredRun, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    shutil.rmtree(own.store.root / "latents")
    given = wanted(own, tmp_path / "full", "latents", "wights", license="MIT licence")
    with pytest.raises(ConfigError) as error:
        plan_export(given)
    said = "\n".join(error.value.faults)
    assert re.search(r"full: expected a new or an empty folder, found one that is not empty\.", said)
    assert "--what wights: expected some of dictionaries,latents,results" in said
    assert "--license MIT licence: expected an identifier" in said
    assert "latents" in said and "Make it again: saeuniv nulls.draws=19" in said
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["x"]


def test_a_disk_without_room_is_refused(
    run: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(ConfigError, match=r"of room, got 1 B\. Choose another disk, or less"):
        plan_export(wanted(run, tmp_path / "out"))


def test_a_damaged_artifact_is_not_exported_and_can_be_mended(own: StoredRun, tmp_path: Path) -> None:
    export = plan_export(wanted(own, tmp_path / "out", "dictionaries"))
    path = own.store.root / dictionary("b", 1).path / "sae.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    out = tmp_path / "out"
    with pytest.raises(ArtifactError, match=r"sae\.safetensors: expected .* it is damaged\."):
        write_export(export, out, told)
    assert not (out / "export.json").exists()
    content[-1] ^= 1
    path.write_bytes(content)
    write_export(plan_export(wanted(own, out, "dictionaries")), out, told)
    assert {*read_contract(out).files, "export.json"} == {*files_below(out)}


def test_an_artifact_that_was_made_again_is_remarked_on(own: StoredRun, tmp_path: Path) -> None:
    assert plan_export(wanted(own, tmp_path / "out")).remarks == []
    path = own.folder / "results" / "summary.json"
    summary = json.loads(path.read_text())
    latents = next(name for name in summary["artifacts"] if name.startswith("latents/"))
    summary["artifacts"][latents] = "0" * 64
    path.write_text(json.dumps(summary))
    (remark,) = plan_export(wanted(own, tmp_path / "out")).remarks
    assert remark.startswith(f"{latents} was made again since the results of ")


def test_killed_at_every_moment_it_leaves_whole_files_and_goes_on_where_it_was(
    run: StoredRun, export: Exported, tmp_path: Path
) -> None:
    """Process n is killed (SIGKILL) in the middle of file 3n - 2."""
    out, export_again = tmp_path / "killed", export()
    whole, artifacts = files_below(tmp_path / "out"), export_again.artifacts.values()
    kept: dict[str, int] = {}
    moment = 1
    while killed_at(moment, lambda kill: write_export(plan_export(wanted(run, out)), out, kill)):
        there = files_below(out)
        parts = [name for name in there if name.endswith(".part")]
        assert all(there[name] == whole[name] for name in there.keys() - parts - {"README.md"})
        assert "export.json" not in there and len(parts) <= 2
        with pytest.raises(ConfigError, match=r"was killed, or runs still: the same saeuniv export again"):
            read_contract(out)
        assert all((out / name).stat().st_ino == inode for name, inode in kept.items()), "not copied again"
        of_artifacts = [name for name in there.keys() - parts if name.rpartition("/")[0] in artifacts]
        kept = {name: (out / name).stat().st_ino for name in of_artifacts if "manifest" not in name}
        moment += 3
    assert moment > 10 and kept
    assert {*files_below(out)} == {*whole}
    assert read_contract(out).files.keys() == export_again.files.keys()
    for path, folder in read_contract(out).artifacts.items():
        assert files_below(out / folder) == files_below(run.store.root / path)


def test_only_the_same_export_continues_an_unfinished_one(run: StoredRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed_at(20, lambda kill: write_export(plan_export(wanted(run, out)), out, kill))
    before = files_below(out)
    with pytest.raises(
        ConfigError, match=r"what an unfinished export of the same left, found \d+ other files"
    ):
        plan_export(wanted(run, out, "results"))
    assert files_below(out) == before


def test_what_a_kill_left_is_read_before_it_is_believed(run: StoredRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert killed_at(20, lambda kill: write_export(plan_export(wanted(run, out)), out, kill))
    damaged = next(iter(sorted(out.rglob("sae.safetensors"))))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    contract = write_export(plan_export(wanted(run, out)), out, told)
    for name, about in contract.files.items():
        assert sha256_of_file(out / name) == about.sha256


def test_the_results_in_an_export_can_be_loaded_where_they_are(
    run: StoredRun, export: Exported, tmp_path: Path
) -> None:
    export()
    there = load(tmp_path / "out" / "results" / "one")
    assert there == load(run.folder)
    assert json.loads((tmp_path / "out" / "export.json").read_text())["format"] == 1
