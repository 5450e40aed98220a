"""Sweeps: cells of one comparison fill one matrix, each comparison has one folder, failures stay alone."""

import shutil
from pathlib import Path

import pytest

from saeuniv.results import load
from tests.pipeline.conftest import Desk, Trained, contents

QUICK = ("tracking=off", "resources.processes=1")


def sweep_folders(desk: Desk) -> list[Path]:
    multirun = desk.here / "multirun"
    return sorted(path for path in multirun.iterdir() if path.name != "single") if multirun.is_dir() else []


def test_a_sweep_over_layers_gives_what_a_list_of_layers_gives(desk: Desk) -> None:
    metrics = ("metrics=[raw_correlation,cka]", *QUICK)
    swept = desk.launch("-m", "layers.a=0,1", "layers.b=range(0,2)", *metrics)
    assert swept.returncode == 0, swept.stderr
    assert swept.stdout.count(" artifacts cached.") == 1
    (sweep,) = sweep_folders(desk)
    listed = desk.launch("layers.a=[0,1]", "layers.b=[0,1]", *metrics)
    assert listed.returncode == 0, listed.stderr
    assert desk.results(sweep.name) == desk.results()
    assert len(desk.results()) == 2


@pytest.mark.presets
def test_a_sweep_over_metrics_gives_what_a_list_of_metrics_gives(desk: Desk) -> None:
    swept = desk.launch("-m", "metrics=[raw_correlation],[cka]", "control=none", "layers.a=0", *QUICK)
    assert swept.returncode == 0, swept.stderr
    (sweep,) = sweep_folders(desk)
    listed = desk.launch("metrics=[raw_correlation,cka]", "control=none", "layers.a=0", *QUICK)
    assert listed.returncode == 0, listed.stderr
    ours, theirs = desk.results(sweep.name), desk.results()
    assert ours == theirs


@pytest.mark.presets
def test_each_alignment_has_a_folder_and_the_same_command_finds_it_in_any_order(desk: Desk) -> None:
    argv = ("alignment=hungarian,max_corr", "metrics=[matched_correlation]", "control=none", "layers.a=0")
    first = desk.launch("-m", *argv, *QUICK)
    assert first.returncode == 0, first.stderr
    (sweep,) = sweep_folders(desk)
    before = contents(sweep)
    assert [folder.name.split("-")[2] for folder in desk.comparisons(sweep.name)] == ["hungarian", "max_corr"]
    again = desk.launch("-m", *reversed(argv), *QUICK)
    assert again.returncode == 0, again.stderr
    assert sweep_folders(desk) == [sweep]
    after = contents(sweep)
    results = [path for path in before if "/results/" in path and not path.endswith("config.yaml")]
    assert {path: before[path] for path in results} == {path: after[path] for path in results}
    assert " scores: " in first.stderr
    assert " scores: " not in again.stderr


def test_layers_read_as_one_are_one_row(desk: Desk) -> None:
    done = desk.launch("layers.a=[[0,1]]", "metrics=[raw_correlation]", "control=none", *QUICK)
    assert done.returncode == 0, done.stderr
    results = load(desk.comparison)
    assert (results.layers_a, results.layers_b) == (("0+1",), ("0", "1"))
    row = results.row("raw_correlation", "0+1", "1")
    assert row is not None and row.value is not None
    assert (row.d_sae_a, row.d_sae_b) == (128, 64)


@pytest.fixture
def other_tokenizer(desk: Desk, trained: Trained) -> Path:
    """Two folders of the model tiny_s1: `same` as it is, `other` with two ids of its vocabulary exchanged."""
    import json

    stored = next(
        path.parent
        for path in (desk.store / "models").glob("*/manifest.json")
        if (spec := json.loads(path.read_text())["spec"])["seed"] == 1 and spec["steps"] == 30
    )
    for name in ("same", "other"):
        shutil.copytree(stored, desk.here / name)
        (desk.here / name / "manifest.json").unlink()
    file = desk.here / "other" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = sorted(vocabulary)[100:102]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    file.write_text(json.dumps(tokenizer))
    dictionaries = desk.here / "dictionaries"
    for path in (desk.store / "dictionaries").glob("*/manifest.json"):
        spec = json.loads(path.read_text())["spec"]
        if spec["model"] == stored.name:
            layer = spec["hookpoint"].partition("[")[2].rstrip("]")
            shutil.copytree(path.parent, dictionaries / f"layers.{layer}")
    return desk.here


@pytest.mark.presets
def test_models_of_different_tokenizers_are_compared_at_ends_of_words_or_refused(
    desk: Desk, other_tokenizer: Path
) -> None:
    b = [argument for argument in ("b=local", "b.path=other,same", "sae_b=local", "sae_b.path=dictionaries")]
    own = ("a.steps=30", "a.n_layers=2", "sae.n_tokens=40000", "width_a=64", "nulls.draws=19")
    text = ("bootstrap.draws=100", "data.max_sequences_per_document=4", "control=none", "allow_mixed=true")
    launch = str(Path(__file__).resolve().parents[2] / "launch.py")
    asked = (launch, "-m", *own, *text, *b, "metrics=[raw_correlation]")
    refused = desk.python(*asked, "data.tokens=same", *QUICK)
    assert refused.returncode == 2, refused.stderr
    assert (
        "data.tokens=same: expected models that share a tokenizer, got tiny_d64l2_s0 and " in refused.stderr
    )
    assert "Traceback" not in refused.stderr and sweep_folders(desk) == []
    done = desk.python(*asked, *QUICK)
    assert done.returncode == 0, done.stderr
    (sweep,) = sweep_folders(desk)
    other, same = (load(folder) for folder in desk.comparisons(sweep.name))
    assert same.summary["kept_word_ends"] is None
    assert 0.9 < float(str(other.summary["kept_word_ends"])) < 1
    assert 0 < float(str(other.summary["kept_fraction_b"])) < 0.3
