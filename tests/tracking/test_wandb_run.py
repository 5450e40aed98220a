"""The W&B run of a comparison, read back; and everything that may go wrong with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saeuniv.config import Tracking, TrackingMode
from saeuniv.results import MATCH_COLUMNS, writes_matches
from saeuniv.tracking import TrackingOutcome, run_id, track
from saeuniv.tracking.content import axes
from tests.tracking.reading import records

_KEY = "0123456789abcdef0123456789abcdef01234567"


def _track(folder: Path, mode: TrackingMode = TrackingMode.offline, **changes) -> TrackingOutcome:
    given = {
        "sweep": "tiny",
        "comparison": "s0-s1",
        "job_type": "comparison",
    }
    return track(folder, settings=Tracking(mode=mode), **{**given, **changes})


@pytest.fixture
def outcome(folder) -> TrackingOutcome:
    return _track(folder)


def test_every_stored_matrix_is_in_the_table_equal_in_value(folder, outcome, read_back):
    table = read_back(outcome.folder).table
    with np.load(folder / "matrices.npz", allow_pickle=False) as stored:
        matrices = {name: stored[name] for name in stored}
    layers_a, layers_b = matrices.pop("layers_a").tolist(), matrices.pop("layers_b").tolist()
    assert set(matrices) <= set(table["columns"])
    assert [row[1:3] for row in table["data"]] == [[a, b] for a in layers_a for b in layers_b]
    for name, matrix in matrices.items():
        column = table["columns"].index(name)
        told = np.array([row[column] for row in table["data"]], float).reshape(matrix.shape)
        np.testing.assert_array_equal(told, matrix, err_msg=name)


def test_the_run_is_named_grouped_and_configured(outcome, read_back, results):
    back = read_back(outcome.folder)
    assert outcome.mode == "offline"
    assert back.run["run_id"] == outcome.run_id == run_id("saeuniv", "tiny", "s0-s1")
    assert (back.run["project"], back.run["run_group"], back.run["job_type"]) == (
        "saeuniv",
        "tiny",
        "comparison",
    )
    assert back.run["display_name"] == "s0-s1"
    config = {key: value for key, value in back.config.items() if key != "_wandb"}
    assert config == axes(results)
    assert (config["model_a"], config["hookpoint_b"]) == ("tiny_s0", "resid_post")
    assert (config["alignment"], config["d_sae_a"]) == ("hungarian", 256)
    assert back.exit_code == 0


def test_the_run_holds_images_means_and_every_file(folder, results, outcome, read_back):
    back = read_back(outcome.folder)
    for metric in results.metrics:
        path = outcome.folder / "files" / back.history[f"heatmap/{metric}.path"]
        assert path.read_bytes() == (folder / f"heatmap_{metric}.png").read_bytes()
        assert back.history[f"score/{metric}"] == pytest.approx(np.nanmean(results.matrix(metric)))
    assert back.history["null/cka"] == pytest.approx(0.001)
    assert back.history["quality/undefined_cka"] == pytest.approx(1 / 6)
    expected = {path.name for path in folder.iterdir()}
    assert back.artifacts[f"results-{outcome.run_id}"] == expected
    assert {"layer_pairs.csv", "matrices.npz", "heatmap_cka.png"} <= expected


def test_no_secret_and_no_command_line_is_written(folder, home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", _KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_NeverToBeSeen")
    monkeypatch.setattr(sys, "argv", ["launch.py", "some.password=OnTheCommandLine"])
    outcome = _track(folder)
    assert outcome.mode == "offline"
    files = [path for root in (folder.parent, home) for path in root.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        for secret in (_KEY, "hf_NeverToBeSeen", "OnTheCommandLine"):
            assert secret.encode() not in path.read_bytes(), path


def test_everything_is_written_beside_the_results_and_the_environment_is_left_alone(
    folder, home, monkeypatch
):
    monkeypatch.setenv("WANDB_DIR", str(home / "elsewhere"))
    monkeypatch.setenv("WANDB_RUN_GROUP", "of somebody else")
    before = dict(os.environ)
    outcome = _track(folder)
    assert dict(os.environ) == before
    assert list(home.iterdir()) == []
    assert outcome.folder.parent == folder.parent / "wandb"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["results", "wandb"]


def test_a_second_execution_replaces_the_run(folder, read_back):
    first, second = _track(folder), _track(folder, job_type="control")
    assert first.run_id == second.run_id
    assert list((folder.parent / "wandb").glob("offline-run-*")) == [second.folder]
    back = read_back(second.folder)
    assert back.run["job_type"] == "control"
    assert "resume" not in back.run


def test_the_id_depends_on_project_sweep_and_comparison():
    ids = {run_id(*names) for names in (("p", "s", "c"), ("q", "s", "c"), ("p", "sc", ""), ("p", "s", "d"))}
    assert len(ids) == 4
    assert all(len(each) == 16 for each in ids)


def test_off_writes_nothing(folder):
    before = sorted(folder.parent.rglob("*"))
    outcome = _track(folder, TrackingMode.off)
    assert (outcome.mode, outcome.run_id, outcome.folder) == ("off", None, None)
    assert sorted(folder.parent.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_told_and_raises_nothing(folder, caplog):
    (folder.parent / "wandb").write_text("in the way")
    outcome = _track(folder)
    assert (outcome.mode, outcome.folder) == ("failed", None)
    assert outcome.message.startswith("W&B: not tracked (")
    assert f"The results are in {folder}." in outcome.message
    assert [r.levelname for r in caplog.records if r.name.startswith("saeuniv")] == ["WARNING"]


def test_tracking_prints_nothing(folder, capfd):
    _track(folder)
    assert capfd.readouterr() == ("", "")


def test_missing_results_are_told_and_raise_nothing(tmp_path):
    assert "expected the folder of a comparison" in _track(tmp_path / "results").message


@pytest.mark.parametrize("name", ["wandb.init", "wandb.Table", "wandb.Run.log_artifact"])
def test_a_failure_of_wandb_is_told_and_the_earlier_run_stays(folder, read_back, monkeypatch, name):
    earlier = _track(folder)

    def fail(*args, **kwargs):
        raise RuntimeError("the service did not start")

    monkeypatch.setattr(name, fail)
    outcome = _track(folder)
    assert outcome.mode == "failed"
    assert "not tracked (RuntimeError: the service did not start)" in outcome.message
    assert read_back(earlier.folder).exit_code == 0
    assert sorted(path.name for path in folder.parent.iterdir()) == ["results", "wandb"]


class _Sync:
    """Stands in for the `wandb sync` process."""

    def __init__(self, monkeypatch, returncode: int = 0, *, hangs: bool = False):
        self.calls, self.returncode, self.hangs = [], returncode, hangs
        run = subprocess.run
        monkeypatch.setattr(subprocess, "run", lambda c, **k: self(c, **k) if "sync" in c else run(c, **k))

    def __call__(self, command, **given):
        self.calls.append((command, given))
        if self.hangs:
            raise subprocess.TimeoutExpired(command, given["timeout"])
        if not self.returncode:
            (run,) = Path(command[-1]).glob("run-*.wandb")
            run.with_suffix(".wandb.synced").touch()
        return subprocess.CompletedProcess(command, self.returncode)


def test_online_uploads_the_run_that_is_on_disk(folder, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", _KEY)
    sync = _Sync(monkeypatch)
    outcome = _track(folder, TrackingMode.auto)
    assert outcome.mode == "online"
    ((command, given),) = sync.calls
    assert command[1:] == ["-m", "wandb", "sync", "--yes", "-n", "8", str(outcome.folder)]
    assert given["stdin"] == subprocess.DEVNULL
    assert given["timeout"] <= 300
    assert given["env"]["WANDB_DATA_DIR"] == str(folder.parent / "wandb" / "data")
    assert list(outcome.folder.glob("run-*.wandb"))


@pytest.mark.parametrize(
    ("fault", "text"), [({"returncode": 1}, "exit status 1"), ({"hangs": True}, "no answer")]
)
def test_a_failed_upload_leaves_the_offline_run(folder, monkeypatch, fault, text):
    monkeypatch.setenv("WANDB_API_KEY", _KEY)
    _Sync(monkeypatch, **fault)
    outcome = _track(folder, TrackingMode.online)
    assert outcome.mode == "offline"
    assert text in outcome.message
    assert f"upload: saeuniv sync {folder.parent}" in outcome.message


def test_online_without_a_key_stays_offline_and_never_asks(folder, monkeypatch):
    sync = _Sync(monkeypatch)
    outcome = _track(folder, TrackingMode.online)
    assert sync.calls == []
    assert outcome.mode == "offline"
    assert "no API key found" in outcome.message


def test_sigterm_closes_the_run(folder):
    code = f"""
import os, signal, wandb
from pathlib import Path
from saeuniv.config import Tracking, TrackingMode
from saeuniv.tracking import track
wandb.Table = lambda **given: os.kill(os.getpid(), signal.SIGTERM)
settings = Tracking(mode=TrackingMode.offline)
track(Path({str(folder)!r}), settings=settings, sweep="s", comparison="c", job_type="comparison")
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 143
    (run,) = (folder.parent / "wandb").glob("offline-run-*")
    found = records(run)
    assert [row["item"]["pair_idx"] for row in found["history"]] == list(range(6))
    assert [each["exit_code"] for each in found["exit"]] == [143]


def test_a_row_for_every_layer_pair_comes_before_the_tables(outcome, results):
    found = records(outcome.folder)
    rows = [row["item"] for row in found["history"]]
    assert [row["pair_idx"] for row in rows[:-1]] == list(range(6))
    last = rows[5]
    assert (last["pair/layer_a"], last["pair/layer_b"]) == ("1", "2")
    assert last["pair/partial_correlation"] == results.matrix("partial_correlation")[1, 2]
    assert "pair/cka" not in last, "undefined"
    assert "pair/cka_excess" in rows[0]
    (stepped,) = [each for each in found["metric"] if "step_metric" in each]
    assert (stepped["glob_name"], stepped["step_metric"]) == ("pair/*", "pair_idx")
    assert "NaN" not in json.dumps(found)


def test_matches_become_a_table_of_histograms_and_their_contact_sheet_an_image(folder):
    Image.new("RGB", (2, 2)).save(folder / "contact_sheet.png")
    columns = dict.fromkeys(MATCH_COLUMNS, np.array([1.0])) | {"direction": np.array(["both"], object)}
    with writes_matches(folder) as write:
        write(dict.fromkeys(("layer_a", "layer_b", "alignment", "condition"), "0"), columns)
    found = records(_track(folder).folder)
    (last,) = found["history"][-1:]
    assert last["item"]["histograms.nrows"] == 40
    assert last["item"]["contact_sheet._type"] == "image-file"
    assert "matches.parquet" in json.dumps(found["artifact"])
