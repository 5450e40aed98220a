"""A run that is killed anywhere and started again ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from saeuniv.results import load
from saeuniv.store import FAULT_POINTS
from tests.pipeline.conftest import ONE_PAIR, Desk, Trained, contents, read_status, recorded

KILLED = 137


@pytest.fixture(scope="module")
def unbroken(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The comparison of one layer pair, never interrupted."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "here").mkdir()
    without = shutil.ignore_patterns("matches", "scores")
    shutil.copytree(trained.desk.store, folder / "store", ignore=without, copy_function=os.link)
    desk = Desk(folder / "here", folder / "store")
    done = desk.launch(*ONE_PAIR)
    assert done.returncode == 0, done.stderr
    return desk


def has_ended_like(desk: Desk, unbroken: Desk) -> bool:
    """Equal bytes in the store and the results, equal recorded hashes, nothing left over."""
    assert contents(desk.store) == contents(unbroken.store)
    assert desk.results() == unbroken.results()
    assert recorded(desk.comparison) == recorded(unbroken.comparison)
    assert list(desk.store.rglob("*.tmp")) == []
    assert list(desk.comparison.glob(".*-new-*")) == []
    return read_status(desk.comparison)["state"] == "done"


# One of the points with every change, all of them with the presets.
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(each, marks=() if each == "after_rename" else pytest.mark.presets)
        for each in FAULT_POINTS
    ],
)
def test_a_run_killed_while_it_publishes_ends_with_the_same_bytes(
    point: str, encoded_desk: Desk, unbroken: Desk
) -> None:
    for nth, kind in (("", "matches"), (":2", "scores")):
        killed = encoded_desk.launch(*ONE_PAIR, SAEUNIV_FAULT=f"{point}:{kind}{nth}")
        assert killed.returncode == KILLED, killed.stderr
        assert encoded_desk.comparisons() == []
    done = encoded_desk.launch(*ONE_PAIR)
    assert done.returncode == 0, done.stderr
    assert has_ended_like(encoded_desk, unbroken)


@pytest.mark.presets
def test_a_run_killed_at_every_earlier_stage_ends_with_the_same_bytes(
    empty_desk: Desk, trained: Trained
) -> None:
    argv = ("control=none", "tracking=off", "resources.processes=1", "metrics=[cka]")
    faults = (
        "files_written:tokens",
        "manifest_written:models:2",
        "after_rename:dictionaries:2",
        "before_rename:latents:2",
    )
    for fault in faults:
        killed = empty_desk.launch(*argv, SAEUNIV_FAULT=fault)
        assert killed.returncode == KILLED, killed.stderr
    done = empty_desk.launch(*argv)
    assert done.returncode == 0, done.stderr
    everything = contents(trained.desk.store)
    made = contents(empty_desk.store)
    assert {path.partition("/")[0] for path in made} == {
        *("tokens", "models", "dictionaries", "latents", "matches", "scores")
    }
    assert {path: everything.get(path) for path in made} == made
    hashes = recorded(trained.folders[0])
    assert {path: hashes.get(path) for path in recorded(empty_desk.comparison)} == recorded(
        empty_desk.comparison
    )
    assert list(empty_desk.store.glob(".*")) == []


@pytest.mark.presets
def test_a_dead_worker_is_named_and_the_run_goes_on_where_it_was(encoded_desk: Desk, unbroken: Desk) -> None:
    argv = (*ONE_PAIR[:-2], "resources.processes=2", ONE_PAIR[-1])
    failed = encoded_desk.launch(*argv, SAEUNIV_FAULT="before_rename:scores:2")
    assert failed.returncode == 1
    assert failed.stderr.count("a worker process died (killed, or out of memory)") == 1
    assert "Traceback" not in failed.stderr
    told = read_status(encoded_desk.comparison)
    assert told["state"] == "failed"
    assert told["error"] == "1 of 2 scores were not computed; the same command goes on."
    reasons = {row.metric: row.value_reason for row in load(encoded_desk.comparison).rows}
    assert sorted(reasons.values()) == ["", "not_computed"]
    done = encoded_desk.launch(*ONE_PAIR)
    assert done.returncode == 0, done.stderr
    assert has_ended_like(encoded_desk, unbroken)


def test_an_interrupted_run_ends_its_workers_and_goes_on_where_it_was(
    encoded_desk: Desk, unbroken: Desk
) -> None:
    running = encoded_desk.start(*ONE_PAIR[:-2], "resources.processes=2", ONE_PAIR[-1])
    wait_for_a_score(running, encoded_desk.store)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert said.splitlines()[-1].startswith("Interrupted. The same command goes on")
    assert "Traceback" not in said
    assert group_is_gone(running.pid)
    done = encoded_desk.launch(*ONE_PAIR)
    assert done.returncode == 0, done.stderr
    assert has_ended_like(encoded_desk, unbroken)


def test_workers_end_when_the_run_is_killed(encoded_desk: Desk) -> None:
    running = encoded_desk.start(*ONE_PAIR[:-2], "resources.processes=2", ONE_PAIR[-1])
    wait_for_a_score(running, encoded_desk.store)
    running.kill()
    running.wait(timeout=60)
    ended = group_is_gone(running.pid)
    running.communicate(timeout=60)
    assert ended


def wait_for_a_score(running: subprocess.Popen[str], store: Path) -> None:
    """Until the first score is published, while workers are at work."""
    end = time.monotonic() + 90
    while time.monotonic() < end and running.poll() is None:
        if any((store / "scores").glob("[0-9a-f]*/manifest.json")):
            return
        time.sleep(0.05)
    running.kill()
    raise AssertionError(f"no score before the run ended: {running.communicate()[1]}")


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left, after some seconds at most."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


@pytest.mark.presets
def test_shards_that_several_tasks_share_are_those_of_one(desk: Desk, trained: Trained) -> None:
    for kind in ("latents", "matches", "scores"):
        shutil.rmtree(desk.store / kind)
    quick = ("resources.processes=1", "tracking=off", "control=none", "metrics=[raw_correlation]")
    done = desk.launch("resources.encode_tasks=2", *quick)
    assert done.returncode == 0, done.stderr
    everything = contents(trained.desk.store)
    made = {path: sha256 for path, sha256 in contents(desk.store).items() if path.startswith("latents/")}
    assert made and {path: everything[path] for path in made} == made
