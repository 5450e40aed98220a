"""Whole sweeps of dummies on a real SLURM: what fails, what is left out, what is done again."""

from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.config import ConfigError
from saeuniv.results import read_status
from saeuniv.sweep import claims, slurm
from saeuniv.sweep.drive import check, drive
from tests.slurm.conftest import Cluster
from tests.slurm.driver import Sweep, latents, scores, wait
from tests.sweep.dummy_reports import report

pytestmark = pytest.mark.usefixtures("cluster")


def test_what_fails_stops_only_what_needs_it_and_only_that_is_done_again(root: Path, tmp_path: Path) -> None:
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(
            latents(root, "good"),
            latents(root, "bad", end="wrong"),
            scores(root, "fine", "good"),
            scores(root, "wrong", "good", end="wrong"),
            scores(root, "killed", "good", end="killed"),
            scores(root, "cancelled", "good", end="told"),
            scores(root, "lost", "good", "bad"),
        ),
        reports=(
            report(root, tmp_path / "sweep" / "some", "fine", "wrong"),
            report(root, tmp_path / "sweep" / "none", "lost"),
        ),
    )
    driver = sweep.start()
    wait(lambda: sweep.begins("cancelled"))
    slurm.cancel([sweep.job("cancelled")])
    ended = driver.end()
    assert ended.code == 1
    assert ended.not_run == {"lost"}
    assert ended.failures.keys() == {"bad", "wrong", "killed", "cancelled", "none"}
    for name, state in (
        ("wrong", "FAILED, NonZeroExitCode"),
        ("killed", "FAILED"),
        ("cancelled", "CANCELLED"),
    ):
        assert f"job {sweep.job(name)}: {state}" in ended.failures[name]
        assert "last lines of " in ended.failures[name]
    assert ended.failures["wrong"].startswith("wrong: expected better work. Choose another. (")
    assert "1 of 1 tasks failed: scores wrong" in ended.failures["wrong"]
    assert "killed begins" not in ended.failures["bad"]
    assert "1 tasks that need what failed were not run" in ended.err
    assert sweep.trace("lost") == []
    assert (tmp_path / "sweep" / "some" / "results" / "read.txt").read_text() == "fine\n"

    again = replace(sweep, tasks=tuple(replace(task, end="well") for task in sweep.tasks))
    ended = again.run()
    assert (ended.code, ended.failures, ended.not_run) == (0, {}, set())
    assert "8 jobs submitted (1 latents, 4 scores, 2 report, 1 sweep), 0 tasks attached to" in ended.out
    assert {name: sweep.begins(name) for name in ("good", "fine", "bad", "lost")} == {
        "good": 1,
        "fine": 1,
        "bad": 2,
        "lost": 1,
    }
    assert [read_status(each.folder)["state"] for each in sweep.reports] == ["done", "done"]
    assert (tmp_path / "sweep" / "sweep.csv").is_file()


def test_jobs_that_are_held_have_failed_and_nothing_waits_for_them(
    cluster: Cluster, root: Path, tmp_path: Path
) -> None:
    """More of them than MaxArraySize, which is 16."""
    names = [f"l{number:02d}" for number in range(17)]
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(*(latents(root, name) for name in names), scores(root, "last", "l16")),
        reports=(report(root, tmp_path / "sweep" / "r", "l00", "last"),),
        launcher={"latents": {"sbatch": {"hold": True}}},
    )
    ended = sweep.run()
    assert (ended.code, ended.failures.keys(), ended.not_run) == (1, set(names), {"last", "r", "sweep"})
    assert ended.failures["l16"] == (
        f"ended without its results (job {sweep.job('l16')}: PENDING, JobHeldUser)"
    )
    held = [sweep.job(name) for name in names]
    assert len({job.partition("_")[0] for job in held}) == 2 and "_" not in held[16]
    waiting = sweep.job("last")

    some = replace(sweep, tasks=(*sweep.tasks[:1], *sweep.tasks[16:]), launcher={})
    ended = some.run()
    assert (ended.code, ended.failures, ended.not_run) == (0, {}, set())
    assert "5 jobs submitted (2 latents, 1 scores, 1 report, 1 sweep), 0 tasks attached to" in ended.out
    left = {job for job, state in slurm.states([*held, waiting]).items() if state.live}
    assert left == set(held[1:16])
    slurm.cancel(held)


def test_tasks_that_share_a_job_fail_one_by_one(root: Path, tmp_path: Path) -> None:
    tasks = (
        scores(root, "wrong", end="wrong"),
        scores(root, "well"),
        scores(root, "killed", end="killed"),
        scores(root, "after"),
    )
    sweep = Sweep(tmp_path / "sweep", tasks, launcher={"job_minutes": 1.0})
    ended = sweep.run()
    assert "2 jobs submitted (1 scores, 1 sweep)" in ended.out
    assert (ended.code, ended.failures.keys(), ended.not_run) == (1, {"wrong", "killed", "after"}, set())
    assert ended.failures["wrong"].startswith("wrong: expected better work")
    assert ended.failures["after"].startswith(f"ended without its results (job {sweep.job('after')}: FAILED")
    assert [sweep.begins(task.label) for task in tasks] == [1, 1, 1, 0]


def test_a_report_that_would_come_too_early_is_written_again(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "r"
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(scores(root, "a", end="wrong"), scores(root, "b", end="told")),
        reports=(report(root, folder, "a", "b"),),
        detach=True,
    )
    sweep.run()
    wait(lambda: sweep.begins("a") and sweep.begins("b"))
    wait(lambda: not slurm.states([sweep.job("a")])[sweep.job("a")].live)
    tasks = (replace(sweep.tasks[0], end="told"), sweep.tasks[1])
    again = replace(sweep, tasks=tasks, detach=False)
    driver = again.start()
    wait(lambda: sweep.begins("a") == 2)
    sweep.tell("b")
    wait(lambda: (folder / "results" / "read.txt").exists())
    sweep.tell("a")
    ended = driver.end()
    assert (ended.code, ended.failures) == (0, {})
    assert "3 jobs submitted (1 scores, 1 report, 1 sweep), 1 tasks attached to" in ended.out
    assert (folder / "results" / "read.txt").read_text() == "b\na b\n"
    assert sweep.reports[0].is_done()


def test_what_was_taken_before_slurm_refused_goes_on(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = (latents(root, "a", end="told"), scores(root, "b", "a"))
    sweep = Sweep(tmp_path / "sweep", tasks, launcher={"scores": {"partition": "nowhere"}})
    with pytest.raises(ValueError, match=r"expected sbatch to take .*invalid partition specified: nowhere"):
        drive(sweep.plan, sweep.summary, sweep.place, detach=True)
    assert "1 jobs submitted (1 latents), 0 tasks attached to" in capsys.readouterr().out
    assert [each.label for each in claims.all_claims(root)] == ["a"]
    driver = replace(sweep, launcher={}).start()
    wait(lambda: len(claims.all_claims(root)) == 3)
    sweep.tell("a")
    ended = driver.end()
    assert (ended.code, "2 jobs submitted (1 scores, 1 sweep), 1 tasks" in ended.out) == (0, True)
    assert [sweep.begins(name) for name in "ab"] == [1, 1]


def test_a_dependency_that_can_never_be_met_is_stuck(cluster: Cluster) -> None:
    sbatch = ("sbatch", "--parsable", "-o", "/dev/null")
    failed = cluster.run(*sbatch, "--wrap", "false")
    waiting = cluster.run(*sbatch, f"--dependency=afterok:{failed}", "--wrap", "true")
    assert slurm.states([waiting])[waiting].waits
    wait(lambda: slurm.states([waiting])[waiting].stuck)
    assert slurm.states([waiting])[waiting].reason == "DependencyNeverSatisfied"
    slurm.cancel([waiting])


def test_what_slurm_would_refuse_is_said_before_anything_is_submitted(
    cluster: Cluster, root: Path, tmp_path: Path
) -> None:
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(latents(root, "a"), scores(root, "b", "a")),
        launcher={"latents": {"partition": "nowhere"}, "scores": {"gpus": 5}},
    )
    before = cluster.run("squeue", "-h", "-t", "all")
    with pytest.raises(ConfigError) as refused:
        check(sweep.plan, sweep.place, max_gpu_hours=None)
    one, two = refused.value.faults
    assert one.startswith("hydra.launcher.latents: SLURM refuses such jobs: ") and "nowhere" in one
    assert two.startswith("hydra.launcher.scores: SLURM refuses such jobs: ")
    assert "Requested node configuration is not available" in two
    assert cluster.run("squeue", "-h", "-t", "all") == before
    assert claims.all_claims(root) == () and not sweep.folder.exists()
    assert check(sweep.plan, replace(sweep, launcher={}).place, max_gpu_hours=None) is None
