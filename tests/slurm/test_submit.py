"""Jobs on a real SLURM: what becomes of those that end well, fail, die, are cancelled, signalled or held."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.config.launcher import StageResources
from saeuniv.stages.serial import task_json
from saeuniv.store import Store
from saeuniv.sweep import slurm, submit
from saeuniv.sweep.job import RunJob, read_error
from tests.sweep.dummies import Dummy, dummy, made

pytestmark = pytest.mark.usefixtures("cluster")

RESOURCES = StageResources(gpus=0, cpus=1, memory_gb=0.5, minutes=30)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that jobs find tasks in, at a path that wants quoting."""
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return Store(tmp_path / "a 'store'")


def send(
    tasks: Sequence[Dummy], comment: str, *, dependency: str | None = None, resources=RESOURCES
) -> list[str]:
    """Submit each task as a job of one array."""
    root = tasks[0].root
    (root / "jobs").mkdir(parents=True, exist_ok=True)
    for task in tasks:
        (root / "jobs" / f"{task.key}.task.json").write_text(task_json(task))
    return submit.submit(
        [RunJob(root, (task.key,), gpus=0, minutes=30, stage="scores") for task in tasks],
        name="a test",
        resources=resources,
        dependency=dependency,
        comment=comment,
        folder=root / "submitit",
        array_parallelism=8,
    )


def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def end_states(ids: Sequence[str]) -> list[str]:
    """How the jobs ended, once all have."""
    wait(lambda: not any(each.live for each in slurm.states(ids).values()))
    found = slurm.states(ids)
    return [found[each].state for each in ids]


def log_of(store: Store, comment: str, job: str) -> str:
    return submit.log_path(store.root / "submitit", comment, job).read_text()


def test_an_array_submitted_from_inside_a_job_does_its_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    resources = replace(RESOURCES, cpus=2, setup=[f"env > '{tmp_path}/'$SLURM_ARRAY_TASK_ID"])
    ids = send([dummy(store.root, name) for name in "abc"], "three", resources=resources)
    assert [each.partition("_")[2] for each in ids] == ["0", "1", "2"]
    assert end_states(ids) == ["COMPLETED"] * 3
    assert all(store.exists(made(name)) for name in "abc")
    assert "b begins" in log_of(store, "three", ids[1])
    environment = (tmp_path / "1").read_text().split("\n")
    expected = (
        "OMP_NUM_THREADS=2",
        "SRUN_CPUS_PER_TASK=2",
        "SLURM_MEM_PER_NODE=512",
        "SLURM_ARRAY_TASK_ID=1",
    )
    assert {each for each in expected if each not in environment} == set()


def test_whatever_goes_wrong_with_jobs_is_seen_and_stops_only_what_needs_them(store: Store) -> None:
    ends = {"well": "COMPLETED", "wrong": "FAILED", "dead": "FAILED", "killed": "FAILED", "slow": "CANCELLED"}
    tasks = [dummy(store.root, end, end=end) for end in ends]
    ids = send(tasks, "ends")
    good = send([dummy(store.root, "fine", "well")], "good", dependency=f"afterok:{ids[0]}")
    bad = send([dummy(store.root, "lost", "well")], "bad", dependency=f"afterok:{ids[0]}:{ids[1]}")
    last = send([dummy(store.root, "anyway")], "last", dependency=f"afterany:{bad[0]}:{good[0]}")
    wait((store.root / "slow.begun").exists)
    slurm.cancel([ids[4]])
    assert end_states(ids) == list(ends.values())
    assert end_states([*good, *bad, *last]) == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert not store.exists(made("lost"))
    error = read_error(store.root, tasks[1].key)
    assert error and error.job == ids[1] and error.message == "wrong: expected better work. Choose another."
    assert read_error(store.root, tasks[3].key) is None
    assert "1 of 1 tasks failed: dummy wrong" in log_of(store, "ends", ids[1])
    slurm.cancel(ids)


@pytest.mark.parametrize("told", [("scancel", "--signal=USR2"), ("scontrol", "requeue")])
def test_a_job_that_is_preempted_with_or_without_a_signal_is_requeued_and_completes(
    store: Store, told: tuple[str, str]
) -> None:
    task = dummy(store.root, "once", end="slow")
    (job,) = send([task], told[0])
    wait((store.root / "once.begun").exists)
    # What a kill in the middle of a write leaves; submitit refuses to go on where it finds one.
    (store.root / "submitit" / told[0] / f"{job}_0_result.pkl.save_tmp").touch()
    subprocess.run([*told, job], check=True)
    wait(lambda: store.exists(task.outputs[0]))
    assert end_states([job]) == ["COMPLETED"]
    log = log_of(store, told[0], job)
    assert log.count("once begins") == 2
    assert ("Calling checkpoint method" in log) == (told[0] == "scancel")


def test_jobs_need_nothing_of_a_driver_that_died_when_sbatch_had_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_and_die(command: Sequence[str], *, stdin: str = ""):
        slurm.ask(command, stdin=stdin)
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "ask", ask_and_die)
    with pytest.raises(KeyboardInterrupt):
        send([dummy(store.root, name) for name in "ab"], "orphans")
    array = slurm.find("orphans")
    assert array and slurm.find("orphan") is None
    ids = submit.job_ids(array, 2)
    assert end_states(ids) == ["COMPLETED"] * 2
    assert slurm.states(ids)[ids[0]].comment == "orphans"
    assert store.exists(made("a")) and store.exists(made("b"))


def test_a_job_that_can_never_start_is_stuck(store: Store) -> None:
    held = send([dummy(store.root, "held")], "held", resources=replace(RESOURCES, sbatch={"hold": True}))
    state = slurm.states([*held, "4000000"])
    assert list(state) == held
    assert state[held[0]] == ("PENDING", "JobHeldUser", "held")
    assert state[held[0]].stuck and state[held[0]].live
    slurm.cancel(held)
    assert end_states(held) == ["CANCELLED"]
    slurm.cancel(held)


def test_what_slurm_would_refuse_is_known_before_anything_is_submitted(tmp_path: Path) -> None:
    def refusal(n: int = 1, **changes: object) -> str | None:
        return submit.test(replace(RESOURCES, **changes), name="x", n=n, folder=tmp_path / "none")  # type: ignore[arg-type]

    assert refusal(n=3) is None
    assert refusal(gpus=2, gres="gpu:2") is None
    assert "invalid partition specified: nowhere" in (refusal(partition="nowhere") or "")
    assert "Requested node configuration is not available" in (refusal(gpus=5) or "")
    assert "Invalid job array specification" in (refusal(n=slurm.max_array_size() + 1) or "")
    assert "unrecognized option" in (refusal(sbatch={"no-such-option": 1}) or "")
    assert not (tmp_path / "none").exists()


def test_a_refusal_leaves_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match=r"sbatch to take .*invalid partition specified: nowhere"):
        send([dummy(store.root, "a")], "refused", resources=replace(RESOURCES, partition="nowhere"))
    assert list((store.root / "submitit").iterdir()) == []


def test_the_accounting_knows_what_squeue_has_forgotten(
    accounting_cluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = send([dummy(store.root, "well"), dummy(store.root, "wrong", end="wrong")], "accounted")
    assert end_states(ids) == ["COMPLETED", "FAILED"]
    monkeypatch.setattr(slurm, "_queued", lambda arrays: {})
    # It is told of the end of a job a little after the queue is.
    wait(lambda: [each.live for each in slurm.states(ids).values()] == [False, False])
    assert slurm.states([*ids, "4000000"]) == {
        ids[0]: slurm.JobState("COMPLETED"),
        ids[1]: slurm.JobState("FAILED", "ExitCode_1:0"),
    }


def test_this_cluster_answers() -> None:
    assert slurm.available() is None
    assert slurm.cluster_name()
    assert slurm.max_array_size() > 1
    assert slurm.states(["4000000"]) == {}
