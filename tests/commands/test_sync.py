"""`saeuniv sync`: what is checked before anything is uploaded, what is refused, what is made anew."""

import shutil
from pathlib import Path

import pytest

from saeuniv.commands import sync
from saeuniv.config import ConfigError
from saeuniv.results import write_results
from saeuniv.tracking import run_folders, run_id
from tests.tracking.reading import records

_CONFIG = "# Replay: saeuniv\ntracking:\n  mode: 'off'\n  project: mine\n  entity: me\n"

_HEADER = b":W&B\xe1\xbe\x00"
"""All that a process killed within the first 32 KiB leaves."""


@pytest.fixture
def comparison(tmp_path, make_results, monkeypatch) -> Path:
    """The folder of a comparison in a sweep, without a run; nobody's API key is at hand."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    made = make_results(lambda metric, i, j: 0.5, 1, 1, ("cka",))
    folder = tmp_path / "swept" / "a-b-hungarian-0"
    write_results(
        folder,
        rows=made.rows,
        null_rows=made.null_rows,
        layers_a=made.layers_a,
        layers_b=made.layers_b,
        summary={"comparison": folder.name, "sweep": "named", "job_type": "control"},
        config=_CONFIG,
        status={"state": "done"},
        figures=None,
    )
    return folder


def test_a_run_is_made_from_results_alone_and_refused_where_its_files_are_gone(comparison, capsys):
    sweep = str(comparison.parent)
    with pytest.raises(ConfigError, match=rf"found none\. .* saeuniv sync {sweep} --rebuild"):
        sync.main([sweep])
    with pytest.raises(ConfigError, match=r"expected an API key of W&B, found none\. Run `wandb login`"):
        sync.main([sweep, "--rebuild"])
    (run,) = run_folders([comparison])
    (record,) = records(run)["run"]
    assert record["run_id"] == run_id("mine", "named", comparison.name)
    assert (record["project"], record["entity"], record["job_type"]) == ("mine", "me", "control")
    assert capsys.readouterr().out == f"{comparison.name}: waits\n"

    assert sync.main([sweep, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{comparison.name}: would be uploaded\n"

    staged = next(each for each in (comparison / "wandb" / "data").rglob("tmp*") if each.is_file())
    staged.unlink()
    with pytest.raises(ConfigError) as refused:
        sync.main([sweep])
    assert "needs files that are gone: " in refused.value.faults[0]
    assert str(staged) in refused.value.faults[0]
    assert refused.value.faults[-1].endswith(f"saeuniv sync {sweep} --rebuild")

    moved = comparison.parent.with_name("moved")
    shutil.move(comparison.parent, moved)
    with pytest.raises(ConfigError, match=r"layer_pairs\.csv"):
        sync.main([str(moved), "--dry-run"])


def test_a_run_that_was_cut_off_is_refused(comparison):
    folder = comparison / "wandb" / "offline-run-20260101_000000-abc"
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(_HEADER)
    with pytest.raises(ConfigError, match="was cut off while it was written"):
        sync.main([str(comparison)])
    (folder / "run-abc.wandb").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="cannot be read"):
        sync.main([str(comparison)])


def test_a_dry_run_of_a_rebuild_writes_nothing(comparison, capsys):
    assert sync.main([str(comparison), "--rebuild", "--dry-run"]) == 0
    assert "would be made anew" in capsys.readouterr().out
    assert not (comparison / "wandb").exists()


def test_results_that_cannot_be_read_are_told_and_nothing_is_uploaded(comparison, capsys):
    (comparison / "results" / "summary.json").unlink()
    assert sync.main([str(comparison), "--rebuild"]) == 1
    assert "summary.json missing" in capsys.readouterr().err


def test_what_is_no_sweep_is_refused_with_the_sweeps_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"found no such folder\. Sweeps below .*: none\."):
        sync.main(["nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="found no results in it"):
        sync.main(["empty"])
