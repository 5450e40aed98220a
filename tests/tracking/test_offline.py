"""The last line of a command: the dashboard's address, or the command that uploads."""

from pathlib import Path

from saeuniv.tracking import last_line, write_outcome


def _tracked(folder: Path, **outcome: str | None) -> Path:
    (folder / "wandb").mkdir(parents=True)
    write_outcome(folder, **{"mode": "online", "run_id": folder.name, "url": None, **outcome})
    return folder


def test_one_uploaded_run_is_told_by_its_address_and_several_by_their_project(tmp_path):
    base = "https://wandb.ai/me/saeuniv"
    first, second = (_tracked(tmp_path / name, url=f"{base}/runs/{name}") for name in ("a", "b"))
    assert last_line([first], first) == f"W&B: {base}/runs/a"
    assert last_line([first, second], tmp_path) == f"W&B: {base}"


def test_runs_on_disk_are_told_with_the_command_that_uploads_them(tmp_path):
    waiting = _tracked(tmp_path / "a", mode="offline")
    uploaded = _tracked(tmp_path / "b", url="https://wandb.ai/me/saeuniv/runs/b")
    expected = f"W&B: 1 of 2 runs not uploaded; upload: saeuniv sync {tmp_path}"
    assert last_line([waiting, uploaded], tmp_path) == expected


def test_where_a_run_was_not_written_the_command_makes_it_anew(tmp_path):
    assert last_line([tmp_path / "none"], tmp_path).endswith(f"saeuniv sync {tmp_path} --rebuild")


def test_an_upload_without_an_address_is_told_all_the_same(tmp_path):
    assert last_line([_tracked(tmp_path / "a")], tmp_path) == "W&B: uploaded; wandb sync said no address"
