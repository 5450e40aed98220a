"""The state of a training: written now and then, whole or not at all, and read by the same training only."""

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from saeuniv.adapters import training_state
from saeuniv.adapters.training_state import TrainingState

SETTINGS = {"seed": 3, "width": 32}
CONTENT = {
    "step": 7,
    "weights": {"w": torch.arange(600.0).view(20, 30), "b": torch.full((3,), torch.nan)},
    "optimizers": [{"state": {0: {"z": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
}


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_state, "INTERVAL_S", 0.0)
    monkeypatch.setattr(training_state, "PAUSE_PER_WRITE", 0)


def _written(folder: Path, content: dict[str, Any] = CONTENT, settings: dict[str, Any] = SETTINGS) -> Path:
    TrainingState(folder, settings).write(lambda: content)
    (file,) = folder.iterdir()
    return file


def test_what_was_written_is_read(tmp_path):
    folder = tmp_path / "checkpoints" / "a"
    assert TrainingState(folder, SETTINGS).read() is None
    assert not folder.exists(), "nothing is made where nothing is written"
    _written(folder)
    _written(folder, {**CONTENT, "step": 8})
    read = TrainingState(folder, dict(reversed(SETTINGS.items()))).read()
    assert read is not None and read["step"] == 8
    torch.testing.assert_close(read["weights"], CONTENT["weights"], rtol=0, atol=0, equal_nan=True)
    assert read["optimizers"] == [
        {"state": {0: {"z": pytest.approx(torch.ones(2))}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    ]


def test_without_a_folder_nothing_is_kept():
    state = TrainingState(None, SETTINGS)
    state.write(lambda: pytest.fail("asked for a state that has nowhere to go"))
    assert state.read() is None


def test_it_is_written_once_per_interval_and_more_rarely_where_that_is_slow(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(training_state.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(training_state, "INTERVAL_S", 60.0)
    monkeypatch.setattr(training_state, "PAUSE_PER_WRITE", 20)
    state = TrainingState(tmp_path, SETTINGS)
    written: list[float] = []

    def content(seconds: float) -> dict[str, Any]:
        written.append(clock[0])
        clock[0] += seconds
        return CONTENT

    for now, slow in [(1059, 1), (1061, 1), (1121, 1), (1122, 5), (1226, 1), (1227, 1)]:
        clock[0] = now
        state.write(lambda slow=slow: content(slow))
    assert written == [1061, 1122, 1227]


def test_a_state_of_other_settings_or_versions_is_named_and_not_used(tmp_path, caplog, monkeypatch):
    _written(tmp_path)
    assert TrainingState(tmp_path, {**SETTINGS, "seed": 4}).read() is None
    monkeypatch.setattr(training_state, "version", lambda _package: "9")
    assert TrainingState(tmp_path, SETTINGS).read() is None
    assert (
        caplog.messages
        == [
            f"{tmp_path / 'state.pt'} is not used: it is of a training with other settings or versions of "
            f"packages. The training starts from zero."
        ]
        * 2
    )


def test_no_damage_goes_unseen(tmp_path, caplog):
    file = _written(tmp_path)
    whole = file.read_bytes()
    places = range(0, len(whole), 97)
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert TrainingState(tmp_path, SETTINGS).read() is None
        file.write_bytes(whole[:place])
        assert TrainingState(tmp_path, SETTINGS).read() is None
    assert len(caplog.records) == 2 * len(places)
    assert "state.pt is not used: its bytes are not those that were written." in caplog.messages[0]
    file.write_bytes(whole)
    assert TrainingState(tmp_path, SETTINGS).read() is not None


def test_code_in_a_state_is_not_run(tmp_path, caplog):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    buffer = io.BytesIO()
    torch.save({"settings": Evil(), "state": {}}, buffer)
    content = buffer.getvalue()
    (tmp_path / "state.pt").write_bytes(hashlib.sha256(content).digest() + content)
    assert TrainingState(tmp_path, SETTINGS).read() is None
    assert not (tmp_path / "ran").exists() and "is not used: Weights only load failed" in caplog.text


def test_what_a_killed_writer_left_is_removed_and_the_last_whole_state_read(tmp_path, monkeypatch):
    file = _written(tmp_path)

    def killed(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training_state.os, "fsync", killed)
        TrainingState(tmp_path, SETTINGS).write(lambda: {**CONTENT, "step": 8})
    assert list(tmp_path.iterdir()) == [file]
    (tmp_path / "0a1b2c3d.tmp").write_bytes(file.read_bytes()[:100])
    read = TrainingState(tmp_path, SETTINGS).read()
    assert read is not None and read["step"] == 7
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_takes_no_state_is_named_and_training_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    state = TrainingState(tmp_path / "file" / "folder", SETTINGS)
    state.write(lambda: CONTENT)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the state of the training could not be written: " in caplog.text
    assert state.read() is None
