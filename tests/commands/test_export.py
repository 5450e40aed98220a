"""`saeuniv export`, `saeuniv import` and `saeuniv --cite` as they are called."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv import cli
from saeuniv.commands import cite, export
from saeuniv.results import Row
from saeuniv.store import Store
from saeuniv.sweep.sharing import progress
from tests.commands.conftest import Call
from tests.shared_sweeps import dictionary, make_shared_sweep
from tests.stored_runs import StoredRun

import_ = importlib.import_module("saeuniv.commands.import")


@pytest.fixture
def run(here: Path, make_row: Callable[..., Row], monkeypatch: pytest.MonkeyPatch) -> StoredRun:
    """The sweep `s` where the user stands."""
    monkeypatch.setenv("SAEUNIV_STORE", str(here / "store"))
    return make_shared_sweep(here, make_row, drawn=False)


def test_sizes_are_said_first_and_nothing_is_written_in_a_dry_run(
    run: StoredRun, call: Call, here: Path
) -> None:
    ended = call(export.main, "s", "out", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines() if line.strip()]
    assert rows[0] == ["kind", "files", "size"]
    assert [(row[0], row[1]) for row in rows if row[0] in ("dictionaries", "latents", "card")] == [
        ("dictionaries", "12"),
        ("latents", "12"),
        ("card", "1"),
    ]
    assert "left out: tokens of the latents: text is left out without --with-text" in ended.out
    assert ended.out.endswith("Nothing was written.\n") and not (here / "out").exists()


def test_a_sweep_goes_out_and_comes_in(
    run: StoredRun, call: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = call(export.main, "s", "out", "--license", "mit")
    assert (ended.code, ended.err) == (0, "") and ended.out.endswith("export: out/export.json\n")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    monkeypatch.delenv("SAEUNIV_STORE")
    ended = call(import_.main, "../out", "--name", "theirs", "--store", "cache")
    assert (ended.code, ended.err) == (0, "")
    assert "store: cache: 8 artifacts placed, 0 were there." in ended.out
    assert "results: multirun/theirs: 1 placed, 0 were there." in ended.out
    assert "this one is found with SAEUNIV_STORE=cache" in ended.out
    assert Store(Path("cache")).valid(dictionary("a", 0))
    before, after = (
        path / "one" / "results" / "layer_pairs.csv" for path in (run.folder.parent, Path("multirun/theirs"))
    )
    assert before.read_bytes() == after.read_bytes()


@pytest.mark.parametrize("named", ["s/one", "multirun/s/one", "multirun/s/one/results"])
def test_one_comparison_goes_out_under_the_name_of_its_sweep(
    named: str, run: StoredRun, call: Call, here: Path
) -> None:
    assert call(export.main, named, "out", "--what", "results").code == 0
    assert json.loads((here / "out" / "export.json").read_text())["name"] == "s"
    assert [path.name for path in (here / "out").iterdir() if path.is_dir()] == ["results"]


def test_faults_are_said_and_nothing_is_written(run: StoredRun, call: Call, here: Path) -> None:
    (here / "out").write_text("mine")
    ended = call(export.main, "s", "out", "--what", "resluts")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "out: expected a new or an empty folder, found a file or a link. Choose another.\n"
        "--what resluts: expected some of dictionaries,latents,results, got another. Choose of these.\n"
    )
    assert call(export.main, "s", "new", "--what", "").code == call(export.main, "nil", "new").code == 2
    assert (here / "out").read_text() == "mine" and not (here / "new").exists()


def test_damage_ends_with_1_and_can_be_mended(run: StoredRun, call: Call, here: Path) -> None:
    (run.store.root / dictionary("a", 0).path / "cfg.json").write_text("{}")
    ended = call(export.main, "s", "out", "--what", "dictionaries")
    assert ended.code == 1 and "it is damaged. What is copied stays in out: the same" in ended.out
    assert not (here / "out" / "export.json").exists()


def test_what_is_no_export_is_refused(call: Call, here: Path) -> None:
    ended = call(import_.main, "nowhere")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "nowhere: expected the folder that saeuniv export wrote, found no folder.\n"


def test_a_long_copy_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((0.0, 29.0, 31.0, 31.0, 32.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress("exported", 4_000_000) as told:
        for _ in range(3):
            told(1_000_000)
    assert capsys.readouterr().err == "exported: 2.0 MB of 4.0 MB\n"


def test_what_to_cite_is_printed(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = call(cite.main)
    assert (ended.code, ended.err) == (0, "") and "2410.06981" in ended.out and "Made with" not in ended.out
    monkeypatch.setattr(sys, "argv", ["saeuniv", "--cite"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0 and capsys.readouterr().out == ended.out


def test_what_a_sweep_was_made_with_is_cited_from_its_results(run: StoredRun, call: Call, here: Path) -> None:
    ended = call(cite.main, "s")
    assert ended.code == 0
    assert [line.split()[:2] for line in ended.out.partition("Made with\n")[2].splitlines()] == [
        ["model", "tiny_s0"],
        ["model", "tiny_s1"],
        ["dictionaries", "of"],
        ["dictionaries", "of"],
    ]
    assert call(cite.main, "nil").code == 2
