"""What a job does with the tasks that are written down for it."""

import json
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from saeuniv.stages.serial import task_json
from saeuniv.store import Store
from saeuniv.sweep import job
from saeuniv.sweep.job import RunJob, progress_made, read_error
from tests.sweep.dummies import Dummy, dummy, made


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch):
    """The environment of a job; what it sets and how it logs is put back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["SAEUNIV_TASK_MODULES"] = "tests.sweep.dummies"
    os.environ |= {"SLURM_ARRAY_JOB_ID": "28", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "31"}
    log = logging.getLogger("saeuniv")
    level = log.level
    yield
    log.setLevel(level)


def written(store: Store, *tasks: Dummy, gpus: int = 0, minutes: int = 60) -> RunJob:
    """A job for tasks, which are written down."""
    folder = store.root / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        (folder / f"{task.key}.task.json").write_text(task_json(task))
    keys = tuple(task.key for task in tasks)
    return RunJob(store.root, keys, gpus=gpus, minutes=minutes, stage="scores")


def test_a_failure_is_written_down_and_stops_no_other_task(store: Store) -> None:
    tasks = [
        dummy(store.root, "a", end="wrong"),
        dummy(store.root, "b", end="bug"),
        dummy(store.root, "c", "missing"),
        dummy(store.root, "d", end="idle"),
        dummy(store.root, "e"),
    ]
    with pytest.raises(RuntimeError, match=r"^4 of 5 tasks failed: dummy a; dummy b; dummy c; dummy d$"):
        written(store, *tasks)()
    assert store.exists(made("e"))
    found = [read_error(store.root, task.key) for task in tasks]
    expected = (
        "a: expected better work. Choose another.",
        "KeyError('no such thing')",
        f"{made('missing').path}: expected a published artifact",
        "expected it to publish 1 artifacts, not all are in",
    )
    assert all(each and each.message.startswith(said) for each, said in zip(found, expected, strict=False))
    assert found[4] is None
    assert found[0] and found[0].job == "28_3" and found[0].host and found[0].time.endswith("+00:00")


def test_a_job_that_runs_again_does_what_is_left_and_forgets_old_failures(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = dummy(store.root, "a", end="wrong"), dummy(store.root, "b")
    with pytest.raises(RuntimeError, match="1 of 2"):
        written(store, a, b)()
    run = written(store, replace(a, end="well"), b)
    assert run() is None
    assert read_error(store.root, a.key) is None
    assert caplog.text.count("b begins") == 1 and "dummy b: done before" in caplog.text


def test_a_task_that_is_not_written_down_stops_no_other(store: Store) -> None:
    run = written(store, dummy(store.root, "a"))
    with pytest.raises(RuntimeError, match="1 of 2 tasks failed: 0123456789abcdef"):
        replace(run, keys=("0123456789abcdef", *run.keys))()
    error = read_error(store.root, "0123456789abcdef")
    assert error and "expected the task of a job, found none" in error.message
    assert store.exists(made("a"))


def test_a_store_that_the_node_does_not_see_is_named(tmp_path: Path) -> None:
    run = RunJob(tmp_path / "elsewhere", ("0123456789abcdef",), gpus=0, minutes=1, stage="scores")
    with pytest.raises(FileNotFoundError, match=r"store=.*elsewhere: expected the store .* all nodes share"):
        run()
    assert not (tmp_path / "elsewhere").exists()


def test_a_job_without_its_gpus_fails_before_any_work(store: Store, monkeypatch) -> None:
    done, todo = dummy(store.root, "a"), dummy(store.root, "b")
    written(store, done)()
    devices = SimpleNamespace(visible_gpus=lambda: 0)
    monkeypatch.setitem(sys.modules, "saeuniv.adapters.devices", devices)
    run = written(store, done, todo, gpus=2)
    with pytest.raises(RuntimeError, match=r"scores: expected 2 GPU\(s\) on .*, torch sees none\. Check"):
        run()
    assert not store.exists(made("b"))
    assert read_error(store.root, done.key) is None
    error = read_error(store.root, todo.key)
    assert error and "hydra.launcher.scores.gpus=0" in error.message
    devices.visible_gpus = lambda: 2
    run()
    assert store.exists(made("b"))


def test_jobs_are_offline_and_tell_how_far_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job, "_PROGRESS_EVERY_SECONDS", 0.0)
    written(store, replace(dummy(store.root, "a"), outputs=(made("a"), made("b"))))()
    assert "dummy a: 1 of 2" in caplog.text
    assert {os.environ[f"{name}_OFFLINE"] for name in ("HF_HUB", "TRANSFORMERS", "HF_DATASETS")} == {"1"}


def after(minutes: float) -> None:
    """The job has been running so long."""
    os.environ[job.STARTED] = str(time.time() - 60 * minutes)


def test_a_preempted_job_is_requeued_however_often(store: Store) -> None:
    run = written(store, dummy(store.root, "a"))
    after(minutes=50)
    for _ in range(5):
        assert run.checkpoint().function is run
    assert read_error(store.root, run.keys[0]) is None


def test_a_job_that_times_out_twice_without_publishing_fails(store: Store) -> None:
    done, todo = dummy(store.root, "a"), dummy(store.root, "b")
    written(store, done)()
    run = written(store, done, todo)
    after(minutes=58)
    assert run.checkpoint().function == run
    with pytest.raises(
        SystemExit, match=r"job 28_3 .* limit of 60 minutes, .*hydra\.launcher\.scores\.minutes=120"
    ):
        run.checkpoint()
    error = read_error(store.root, todo.key)
    assert error and "hydra.launcher.scores.minutes=120" in error.message
    assert read_error(store.root, done.key) is None


@pytest.mark.parametrize("published", ["output", "shard", "checkpoint"])
def test_a_job_that_publishes_between_timeouts_goes_on(store: Store, published: str) -> None:
    whole = replace(dummy(store.root, "a"), outputs=(made("a"), made("b")))
    run = written(store, whole)
    after(minutes=58)
    run.checkpoint()
    for number in range(3):
        if published == "checkpoint":
            # `without` of a dummy leaves it whole
            folder = store.checkpoint(whole.key)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "state.pt").write_text(str(number))
            os.utime(folder / "state.pt", ns=(0, 1000 + number))
        else:
            output = made("a") if published == "output" and not number else replace(made("b"), shard=number)
            with store.publish(output) as folder:
                (folder / "name.txt").write_text("x")
        assert run.checkpoint().function == run
    with pytest.raises(SystemExit):
        run.checkpoint()


def test_another_job_for_the_same_tasks_has_its_own_two_timeouts(store: Store) -> None:
    run = written(store, dummy(store.root, "a"))
    after(minutes=58)
    run.checkpoint()
    os.environ["SLURM_ARRAY_JOB_ID"] = "29"
    run.checkpoint()
    with pytest.raises(SystemExit, match="29_3"):
        run.checkpoint()


def test_progress_survives_tasks_that_cannot_be_read(store: Store) -> None:
    run = written(store, dummy(store.root, "a"))
    before = progress_made(store.root, (*run.keys, "0123456789abcdef"))
    run()
    assert json.loads(json.dumps(before)) == before != progress_made(store.root, run.keys)
