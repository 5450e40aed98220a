"""Drivers of a sweep on a real SLURM: killed, doubled, detached, and told nothing by the queue."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.commands import cancel, logs, retry, status
from saeuniv.sweep import claims
from saeuniv.sweep.drive import drive
from saeuniv.sweep.record import read_record
from tests.slurm.driver import Sweep, latents, scores, wait
from tests.sweep.dummies import made
from tests.sweep.dummy_reports import report

pytestmark = pytest.mark.usefixtures("cluster")

Shown = pytest.CaptureFixture[str]


def states(sweep: Sweep, shown: Shown) -> dict[str, str]:
    """Label of each task -> its state, as `saeuniv status` says."""
    shown.readouterr()
    assert status.main([str(sweep.folder), "--json"]) == 0
    return {task["label"]: task["state"] for task in json.loads(shown.readouterr().out)["tasks"]}


def test_what_a_killed_driver_left_is_attached_to_by_two_at_once(root: Path, tmp_path: Path) -> None:
    """The same plan from another folder and in another order, and one that shares a part of it."""
    first = Sweep(
        tmp_path / "first",
        tasks=(
            latents(root, "a", end="told"),
            latents(root, "b", end="told"),
            scores(root, "ab", "a", "b"),
            scores(root, "aa", "a"),
        ),
        reports=(report(root, tmp_path / "first" / "r", "ab", "aa"),),
    )
    killed = first.start()
    wait(lambda: first.begins("a") and first.begins("b") and first.is_submitted)
    killed.kill()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    same = replace(first, tasks=first.tasks[::-1]).start(stand=elsewhere)
    other = Sweep(
        tmp_path / "other",
        tasks=(
            replace(latents(root, "b, c", end="wrong"), outputs=(made("b"), made("c"))),
            scores(root, "aa", "a"),
            scores(root, "bc", "b", "c"),
        ),
    )
    beside = other.start()
    wait(lambda: (one := read_record(first.folder)) and one.stood == str(elsewhere))
    wait(lambda: other.begins("b, c"))
    first.tell("a", "b")
    ended = same.end()
    assert (ended.code, ended.failures, ended.not_run) == (0, {}, set())
    assert "0 jobs submitted, 6 tasks attached to" in ended.out
    ended = beside.end()
    assert (ended.code, ended.failures.keys(), ended.not_run) == (1, {"b, c"}, {"bc"})
    assert "3 jobs submitted (1 latents, 1 scores, 1 sweep), 1 tasks attached to" in ended.out
    assert ended.failures["b, c"].startswith("b, c: expected better work")
    assert "RuntimeError: 1 of 1 tasks failed: latents b, c" in ended.failures["b, c"]
    begun = [line.split(" begins in ")[0] for line in first.trace(r".* begins")]
    assert sorted(begun) == ["a", "aa", "ab", "b", "b, c"]
    assert all(line.endswith("offline=1") for line in first.trace(r".* begins"))


def test_two_drivers_that_start_at_once_submit_each_task_once(root: Path, tmp_path: Path) -> None:
    one = Sweep(tmp_path / "one", tuple(latents(root, name) for name in "abc"))
    two = Sweep(tmp_path / "two", tuple(latents(root, name) for name in "bcd"))
    starters = tmp_path / "starters"
    starters.mkdir()
    drivers = [sweep.start(starters=starters) for sweep in (one, one, two)]
    wait(lambda: len(list(starters.iterdir())) == len(drivers))
    (starters / "go").touch()
    assert [driver.end().code for driver in drivers] == [0, 0, 0]
    assert [one.begins(name) for name in "abcd"] == [1, 1, 1, 1]


def test_what_others_have_made_since_the_planning_is_not_submitted(
    root: Path, tmp_path: Path, capsys: Shown
) -> None:
    sweep = Sweep(tmp_path / "sweep", (latents(root, "a"),), (report(root, tmp_path / "sweep" / "r", "a"),))
    work = sweep.plan
    for task in (*sweep.tasks, *sweep.reports):
        task(lambda done, total: None)
    drive(work, sweep.summary, sweep.place, detach=True)
    assert "1 jobs submitted (1 sweep), 0 tasks attached to" in capsys.readouterr().out


@pytest.mark.parametrize("point", ["claimed", "submitted"])
def test_a_driver_that_dies_in_the_middle_of_submission(
    root: Path, tmp_path: Path, capsys: Shown, point: str
) -> None:
    tasks = (latents(root, "a", end="told"), latents(root, "b", end="told"), scores(root, "ab", "a", "b"))
    sweep = Sweep(tmp_path / "sweep", tasks)
    assert sweep.run(SAEUNIV_FAULT=point).code == 137
    submitted = point == "submitted"
    if submitted:
        wait(lambda: sweep.begins("a") and sweep.begins("b"))
    assert states(sweep, capsys) == dict.fromkeys("ab", "running" if submitted else "unknown")
    driver = sweep.start()
    wait(lambda: claims.read_claim(root, sweep.tasks[2].key))
    sweep.tell("a", "b")
    ended = driver.end()
    assert (ended.code, ended.failures) == (0, {})
    said = "2 jobs submitted (1 scores, 1 sweep), 2 tasks" if submitted else "4 jobs submitted"
    assert said in ended.out
    assert ("is taken over" in ended.err) == submitted
    assert [sweep.begins(name) for name in ("a", "b", "ab")] == [1, 1, 1]


def test_a_detached_sweep_is_watched_cancelled_and_asked_for_again(
    root: Path, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "multirun" / "sweep"
    sweep = Sweep(
        folder,
        (latents(root, "a"), latents(root, "b", end="told"), scores(root, "ab", "a", "b")),
        (report(root, folder / "r", "ab"),),
        detach=True,
    )
    folder.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    ended = sweep.run()
    assert ended.code == 0
    assert "5 jobs submitted" in ended.out and "`saeuniv status sweep`" in ended.out
    wait(lambda: sweep.trace("a made") and sweep.begins("b"))
    wait(lambda: states(sweep, capsys)["a"] == "done")
    assert states(sweep, capsys) == {
        "a": "done",
        "b": "running",
        "ab": "waiting",
        "r": "waiting",
        "sweep": "waiting",
    }
    assert status.main([]) == 0
    assert capsys.readouterr().out.startswith("sweep ")
    assert status.main(["sweep"]) == 0
    assert "running  r\n" in capsys.readouterr().out
    assert logs.main(["sweep", "--stage", "latents"]) == 0
    said = capsys.readouterr().out
    assert f"== latents b (job {sweep.job('b')}, running) " in said and "INFO b begins" in said

    assert cancel.main(["sweep"]) == 0
    assert "4 jobs cancelled. `saeuniv retry sweep` goes on." in capsys.readouterr().out
    wait(lambda: set(states(sweep, capsys).values()) == {"done", "failed"})
    assert states(sweep, capsys)["a"] == "done"
    status.main(["sweep"])
    said = capsys.readouterr().out
    assert f"failed latents b (job {sweep.job('b')}): CANCELLED" in said
    assert "failed   r\n" in said
    assert logs.main(["sweep", "--failed"]) == 0
    assert "INFO b begins" in capsys.readouterr().out
    assert cancel.main(["sweep"]) == 0
    assert "0 jobs cancelled" in capsys.readouterr().out

    asked: list[tuple[str, Sequence[str]]] = []
    monkeypatch.setattr(retry, "launch", lambda: asked.append((os.getcwd(), retry.sys.argv[1:])))
    monkeypatch.setattr("sys.argv", ["saeuniv", "retry"])
    assert retry.main(["sweep"]) == 0
    assert asked == [(str(folder.parent), ["sweep.name=sweep"])]
    sweep.tell("b")
    ended = replace(sweep, detach=False).run()
    assert (ended.code, "4 jobs submitted" in ended.out) == (0, True)
    assert sweep.begins("a") == 1
    assert set(states(sweep, capsys).values()) == {"done"}


def test_a_queue_that_does_not_answer_is_never_taken_for_an_empty_one(root: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    silent = tmp_path / "silent"
    fake = programs / "squeue"
    real = subprocess.run(["which", "squeue"], check=True, capture_output=True, text=True).stdout.strip()
    fake.write_text(f'#!/bin/sh\n[ -e {silent} ] && echo no contact >&2 && exit 1\nexec {real} "$@"\n')
    fake.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    sweep = Sweep(tmp_path / "sweep", (latents(root, "a", end="told"), scores(root, "aa", "a")))
    driver = sweep.start(PATH=path)
    wait(lambda: sweep.begins("a"))
    silent.touch()
    given = claims.all_claims(root)
    for _ in range(3):
        refused = sweep.run(PATH=path)
        assert (refused.code, "QueueError: squeue failed: no contact" in refused.err) == (1, True)
    assert claims.all_claims(root) == given and not driver.ended
    silent.unlink()
    sweep.tell("a")
    ended = driver.end()
    assert (ended.code, ended.failures) == (0, {})
    assert ended.err.count("SLURM does not answer") == 1
    assert [sweep.begins(name) for name in ("a", "aa")] == [1, 1]
