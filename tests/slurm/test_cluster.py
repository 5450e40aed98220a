"""The cluster of the tests is what they take it for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.conftest import SCRIPT, Cluster, started_cluster


def test_three_nodes_with_fake_gpus_are_idle(cluster):
    nodes = cluster.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T %c %m %G").splitlines()
    assert nodes == [f"{node} idle 8 16000 gpu:2" for node in ("n1", "n2", "n3")]


def test_a_job_finishes_on_each_partition(cluster):
    jobs = [submit(cluster, "true", "-p", partition) for partition in ("main", "high", "preempt")]
    wait_for(lambda: [state(cluster, job) for job in jobs] == ["COMPLETED"] * 3, timeout_s=10)


def test_a_job_sees_only_the_gpus_that_it_asked_for(cluster, tmp_path):
    wraps = {n: f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/{n}; sleep 1" for n in (1, 2)}
    jobs = [submit(cluster, wraps[n], f"--gres=gpu:{n}") for n in (1, 2)]
    wait_for(lambda: [state(cluster, job) for job in jobs] == ["COMPLETED"] * 2, timeout_s=15)
    assert [(tmp_path / f"{n}").read_text() for n in (1, 2)] == ["0\n", "0,1\n"]


def test_a_job_of_high_preempts_one_of_preempt_which_is_requeued_and_completes(cluster, tmp_path):
    """About 20 s: preemption takes 12 to 13 s with any GraceTime up to 10 s, the requeued job waits 6 s."""
    runs = tmp_path / "runs"
    low = submit(cluster, first_run_sleeps(runs), "-p", "preempt", "-w", "n1", "--gres=gpu:2")
    wait_for(runs.exists, timeout_s=10)
    high = submit(cluster, "true", "-p", "high", "-w", "n1", "--gres=gpu:2")
    wait_for(lambda: state(cluster, high) == "COMPLETED", timeout_s=30)
    assert state(cluster, low) == "PENDING"
    wait_for(lambda: state(cluster, low) == "COMPLETED", timeout_s=20)
    assert runs.read_text().split() == ["run0", "run1"]


def test_a_requeued_job_runs_again_within_ten_seconds(cluster, tmp_path):
    runs = tmp_path / "runs"
    job = submit(cluster, first_run_sleeps(runs))
    wait_for(runs.exists, timeout_s=10)
    began = time.monotonic()
    cluster.run("scontrol", "requeue", job)
    wait_for(lambda: state(cluster, job) == "COMPLETED", timeout_s=20)
    assert time.monotonic() - began < 12
    assert runs.read_text().split() == ["run0", "run1"]


def test_an_array_longer_than_the_largest_is_refused(cluster):
    assert "MaxArraySize            = 16" in cluster.run("scontrol", "show", "config")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit(cluster, "true", "--array=0-16")
    assert "Invalid job array specification" in refused.value.stderr


def test_sacct_says_that_accounting_is_disabled(cluster):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.run("sacct")
    assert "accounting storage is disabled" in refused.value.stderr


def test_sacct_knows_how_a_job_ended_where_there_is_accounting(accounting_cluster):
    assert os.environ["SLURM_CONF"] == str(accounting_cluster.conf)
    job = submit(accounting_cluster, "exit 3")
    sacct = ("sacct", "-n", "-X", "-P", "-j", job, "-o", "State,ExitCode")
    wait_for(lambda: accounting_cluster.run(*sacct) == "FAILED|3:0", timeout_s=15)


def test_old_jobs_are_forgotten_and_a_stopped_cluster_leaves_no_process(tmp_path):
    with started_cluster(tmp_path, "--min-job-age=2") as cluster:
        again = subprocess.run([SCRIPT, "start", tmp_path, "--min-job-age=2"], capture_output=True, text=True)
        assert (again.returncode, again.stdout) == (0, f"export SLURM_CONF={cluster.conf}\n")
        other = subprocess.run([SCRIPT, "start", tmp_path], capture_output=True, text=True)
        assert other.returncode == 1 and "other options" in other.stderr
        old = submit(cluster, "true")
        pid = tmp_path / "pid"
        submit(cluster, f"trap '' TERM; echo $$ > {pid}; while true; do sleep 1; done")
        wait_for(pid.exists, timeout_s=10)
        assert processes_with(str(cluster.conf)) >= {pid.read_text().strip()}
        wait_for(lambda: state(cluster, old) == "", timeout_s=20)
    assert processes_with(str(cluster.conf)) == set()


def test_missing_packages_are_installed_and_a_failed_start_leaves_no_process(tmp_path):
    """Without sbatch on the path; our apt-get installs nothing, so that the start fails at its last step."""
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho told the log\n')
    apt.chmod(0o755)
    folder = tmp_path / "cluster"
    start = subprocess.run(
        [sys.executable, SCRIPT, "start", folder],
        env={"PATH": str(apt.parent)},
        capture_output=True,
        text=True,
    )
    assert (start.returncode, start.stdout) == (1, "")
    assert "No such file or directory: 'sbatch'" in start.stderr
    assert "told the log" in start.stderr and "slurmctld.log" in start.stderr
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install -y --no-install-recommends slurm-client")
    assert processes_with(str(folder / "slurm.conf")) == set()


def test_stopping_what_does_not_run_is_quiet(tmp_path):
    stop = subprocess.run([SCRIPT, "stop", tmp_path / "never"], capture_output=True, text=True)
    assert (stop.returncode, stop.stdout, stop.stderr) == (0, "", "")


def submit(cluster: Cluster, script: str, *options: str) -> str:
    return cluster.run("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", script)


def state(cluster: Cluster, job: str) -> str:
    """A job's state; empty when SLURM has forgotten it."""
    return dict(
        line.split() for line in cluster.run("squeue", "-h", "-t", "all", "-o", "%i %T").splitlines()
    ).get(job, "")


def first_run_sleeps(runs: Path) -> str:
    """A script that notes each run, and ends only in its second."""
    return f'echo run${{SLURM_RESTART_COUNT:-0}} >> {runs}; test -n "$SLURM_RESTART_COUNT" || sleep 100'


def wait_for(condition: Callable[[], bool], *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.1)


def processes_with(conf: str) -> set[str]:
    """Ids of the processes whose environment or command line names a configuration."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(conf.encode() in (process / part).read_bytes() for part in ("environ", "cmdline")):
                found.add(process.name)
        except OSError:
            continue
    return found
