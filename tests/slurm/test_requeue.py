"""Sweeps on a real SLURM whose jobs are interrupted, and a SLURM that forgets its jobs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.commands import status
from saeuniv.sweep import slurm
from tests.slurm.conftest import Cluster
from tests.slurm.driver import Sweep, latents, scores, wait
from tests.sweep.dummies import Model, made


def test_interrupted_jobs_are_requeued_with_what_they_have_published(
    cluster: Cluster, root: Path, tmp_path: Path
) -> None:
    """Side by side, as each takes SLURM six seconds or more.

    low: preempted by a job of another partition. once: signalled, as before a preemption.
    long: runs into its time limit again and again, with something published in between; idle: without.
    """
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(
            Model(root, (), (made("low"),), 1.0, "low", "slow"),
            replace(latents(root, "long", end="told"), outputs=tuple(made(f"part{n}") for n in range(4))),
            latents(root, "idle", end="told"),
            replace(scores(root, "once", end="told"), outputs=(made("half"), made("rest"))),
            scores(root, "after", "part3"),
            scores(root, "never", "idle"),
        ),
        launcher={
            "models": {"partition": "preempt", "gres": "gpu:2", "sbatch": {"nodelist": "n1"}},
            # As if each run had begun long ago: any signal is that before the time limit.
            "latents": {"setup": ["export SAEUNIV_JOB_STARTED=0"], "minutes": 45},
        },
    )
    sweep.tell("part0", "half")
    driver = sweep.start()
    wait(lambda: sweep.begins("low") and sweep.begins("idle"))
    wait(lambda: sweep.trace("part0 made") and sweep.trace("half made"))
    high = ("sbatch", "--parsable", "-o", "/dev/null", "-p", "high", "-w", "n1", "--gres=gpu:2")
    cluster.run(*high, "--wrap", "true")
    for time in range(1, 4):
        jobs = [
            sweep.job("long"),
            *([sweep.job("idle")] if time < 3 else []),
            *([sweep.job("once")][: 2 - time]),
        ]
        cluster.run("scancel", "--signal=USR2", *jobs)
        wait(lambda: sweep.begins("long") == time + 1)  # noqa: B023
        if time == 1:
            wait(lambda: sweep.begins("idle") == 2 and sweep.begins("once") == 2)
            sweep.tell("rest")
        sweep.tell(f"part{time}")
        wait(lambda: sweep.trace(f"part{time} made"))  # noqa: B023
    ended = driver.end()
    assert (ended.code, ended.failures.keys(), ended.not_run) == (1, {"idle"}, {"never"})
    assert ended.failures["idle"].startswith(f"latents: expected job {sweep.job('idle')} on ")
    assert "limit of 45 minutes, but twice in a row it did not" in ended.failures["idle"]
    assert "hydra.launcher.latents.minutes=90" in ended.failures["idle"]
    assert f"(job {sweep.job('idle')}: FAILED, " in ended.failures["idle"]
    began = {name: sweep.begins(name) for name in ("low", "once", "long", "idle", "after", "never")}
    assert began == {"low": 2, "once": 2, "long": 4, "idle": 2, "after": 1, "never": 0}
    published = ("low", "half", "rest", *(f"part{n}" for n in range(4)))
    assert [len(sweep.trace(f"{name} made")) for name in published] == [1] * 7


def test_what_became_of_jobs_that_squeue_has_forgotten(
    accounting_cluster: Cluster,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With accounting and without."""
    sweep = Sweep(
        tmp_path / "sweep",
        tasks=(latents(root, "bad", end="killed"), latents(root, "good"), scores(root, "lost", "bad")),
        detach=True,
    )
    assert sweep.run().code == 0
    wait(lambda: accounting_cluster.run("squeue", "-h", "-t", "all") == "")

    def said() -> dict[str, tuple[str, str]]:
        capsys.readouterr()
        status.main([str(sweep.folder), "--json"])
        return {
            task["label"]: (task["state"], task["said"])
            for task in json.loads(capsys.readouterr().out)["tasks"]
        }

    done = {"good": ("done", ""), "sweep": ("done", "")}
    wait(lambda: said()["lost"] == ("failed", "CANCELLED"))
    assert said() == done | {"bad": ("failed", "FAILED ExitCode_9:0"), "lost": ("failed", "CANCELLED")}
    monkeypatch.setattr(slurm, "_no_accounting", {str(accounting_cluster.conf)})
    unknown = ("failed", "SLURM no longer knows the job")
    assert said() == done | {"bad": unknown, "lost": unknown}

    again = replace(sweep, tasks=tuple(replace(task, end="well") for task in sweep.tasks), detach=False)
    ended = again.run()
    assert (ended.code, ended.failures) == (0, {})
    assert "3 jobs submitted (1 latents, 1 scores, 1 sweep), 0 tasks attached to" in ended.out
    assert [sweep.begins(name) for name in ("bad", "good", "lost")] == [2, 1, 1]
