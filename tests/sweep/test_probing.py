"""What nodes answer, what is made of it, and of silence."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.config.launcher import Launcher, StageResources
from saeuniv.store import Store
from saeuniv.sweep import probing, slurm, submit
from saeuniv.sweep.check import Check
from saeuniv.sweep.doctor import SmiFacts, TorchFacts
from saeuniv.sweep.probe import RunProbe, answer, look_around, question, read_answer
from saeuniv.sweep.probing import probe
from saeuniv.sweep.slurm import JobState, QueueError

CPU_TORCH = TorchFacts("2.13.0+cpu", None, ())


def by_name(checks: tuple[Check, ...] | list[Check]) -> dict[str, Check]:
    return {each.name: each for each in checks}


def a_probe(root: Path, gpus: int = 0) -> RunProbe:
    return RunProbe(root, "one", gpus, 5, 0.0)


def ask(root: Path) -> None:
    question(root, "one").parent.mkdir(parents=True, exist_ok=True)
    question(root, "one").write_text("{}")


def test_a_job_answers_through_the_store(store: Store) -> None:
    ask(store.root)
    assert read_answer(store.root, "one") is None
    a_probe(store.root)()
    here = look_around(store.root, ask_torch=False)
    there = read_answer(store.root, "one")
    assert there is not None and there == replace(here, skew=there.skew)
    assert len(there.code) == len(there.hub) == 12 and there.torch is None
    assert {path.name for path in (store.root / "probe").iterdir()} == {"one.json", "one.answer.json"}


def test_what_torch_and_the_driver_say_is_read_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said = TorchFacts("2.13", "12.8", ("H200",))
    monkeypatch.setattr("saeuniv.sweep.probe.torch_facts", lambda: said)
    monkeypatch.setattr("saeuniv.sweep.probe.smi_facts", lambda: SmiFacts("570", ("H200",)))
    ask(store.root)
    a_probe(store.root, gpus=1)()
    there = read_answer(store.root, "one")
    assert there and (there.torch, there.smi) == (said, SmiFacts("570", ("H200",)))


def test_a_job_that_does_not_see_the_store_says_so_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    ask(store.root)
    with pytest.raises(FileNotFoundError, match=r"store=.*elsewhere: expected the store of the submitting"):
        a_probe(tmp_path / "elsewhere")()
    assert not (tmp_path / "elsewhere").exists()


class Cluster:
    """Stands for SLURM: `run` is what becomes of each job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: Callable[[RunProbe, Path], JobState | None]):
        self.jobs: dict[str, tuple[RunProbe, StageResources]] = {}
        self.states: dict[str, JobState] = {}
        self.cancelled: list[str] = []
        self._run = run
        monkeypatch.setattr(submit, "submit", self.submit)
        monkeypatch.setattr(
            slurm, "states", lambda ids: {each: self.states[each] for each in ids if each in self.states}
        )
        monkeypatch.setattr(slurm, "cancel", self.cancelled.extend)
        monkeypatch.setattr(probing, "_POLL_S", 0.01)

    def submit(
        self, jobs: list[RunProbe], *, resources, comment: str, folder: Path, **_: object
    ) -> list[str]:
        name = str(len(self.jobs) + 1)
        self.jobs[name] = (jobs[0], resources)
        (folder / comment).mkdir(parents=True)
        state = self._run(jobs[0], submit.log_path(folder, comment, name))
        if state:
            self.states[name] = state
        return [name]


def answers(job: RunProbe, log: Path) -> JobState:
    job()
    return JobState("COMPLETED")


def asked(store: Store, launcher: Launcher | None = None, **given: object) -> dict[str, Check]:
    given = {"settle_seconds": 0.0, **given}
    return by_name(probe(store.root, launcher or Launcher(), **given))  # type: ignore[arg-type]


def test_one_job_is_asked_for_each_of_the_different_resources(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeuniv.sweep.probe.torch_facts", lambda: TorchFacts("2.13", "12.8", ("H200",)))
    cluster = Cluster(monkeypatch, answers)
    own = {stage: StageResources(gpus=1, minutes=90) for stage in ("models", "latents")}
    checks = asked(store, Launcher(**own, scores=StageResources(minutes=600)))  # type: ignore[arg-type]
    assert [(job.gpus, resources.minutes) for job, resources in cluster.jobs.values()] == [(0, 5), (1, 5)]
    assert all(each.ok for each in checks.values())
    assert list(checks) == [
        *("tokens, dictionaries, scores, report: store", "tokens, dictionaries, scores, report: code"),
        *("models, latents: store", "models, latents: code", "models, latents: GPU"),
    ]
    assert [*(store.root / "probe").iterdir(), *(store.root / "submitit").iterdir()] == []
    assert cluster.cancelled == []


def test_a_node_that_is_not_like_this_machine_is_described(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(job: RunProbe, log: Path) -> JobState:
        job()
        path = answer(job.root, job.nonce)
        said = json.loads(path.read_text())
        said |= {"host": "n1", "code": "other", "commit": "c" * 40, "hub": "other", "numba": "read-only"}
        path.write_text(json.dumps(said | {"skew": said["skew"] - 40.0, "torch": CPU_TORCH, "smi": None}))
        return JobState("COMPLETED")

    monkeypatch.setattr("saeuniv.sweep.probe.torch_facts", lambda: CPU_TORCH)
    Cluster(monkeypatch, differs)
    checks = asked(store, Launcher(default=StageResources(gpus=1)))
    assert {name.removeprefix("all stages: "): each.ok for name, each in checks.items()} == {
        **{"store": True, "code": False, "GPU": False, "clock": False, "hub cache": None, "numba": False}
    }
    assert "n1 runs another saeuniv" in checks["all stages: code"].said
    assert "n1 is 40.0 s ahead of this machine" in checks["all stages: clock"].said
    assert "hydra.launcher.default.python" in checks["all stages: code"].remedy


def test_a_store_that_nodes_do_not_share_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_a_log(job: RunProbe, log: Path) -> JobState:
        return JobState("FAILED", "RaisedSignal:53(Real-time_signal_19)")

    def with_a_log(job: RunProbe, log: Path) -> JobState:
        with pytest.raises(FileNotFoundError) as error:
            replace(job, root=Path("/nowhere"))()
        log.write_text(f"FileNotFoundError: {error.value}\n")
        return JobState("FAILED", "NonZeroExitCode")

    for run in (without_a_log, with_a_log):
        Cluster(monkeypatch, run)
        (check,) = asked(store).values()
        assert (check.name, check.ok) == ("all stages: store", False)
        assert "share" in check.said and "SAEUNIV_STORE" in check.remedy


def test_a_job_that_fails_shows_the_end_of_its_log_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(job: RunProbe, log: Path) -> JobState:
        log.write_text("much\n" * 50 + "ModuleNotFoundError: No module named 'saeuniv'\n")
        return JobState("FAILED", "NonZeroExitCode")

    Cluster(monkeypatch, fails)
    started = time.monotonic()
    (check,) = asked(store, settle_seconds=60.0).values()
    assert time.monotonic() - started < 30
    assert (check.name, check.ok) == ("all stages: job", False)
    assert check.said.count("\n") == 6 and "No module named 'saeuniv'" in check.said
    assert "hydra.launcher.default.python" in check.remedy
    assert len(list((store.root / "submitit").iterdir())) == 1  # its log stays
    assert list((store.root / "probe").iterdir()) == []


def test_a_job_that_waits_too_long_or_for_ever_is_cancelled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, lambda job, log: JobState("PENDING", "Resources"))
    (check,) = asked(store, wait_seconds=0.05).values()
    assert check.ok is None and "PENDING (Resources)" in check.said and cluster.cancelled == ["1"]
    cluster = Cluster(monkeypatch, lambda job, log: JobState("PENDING", "BadConstraints"))
    (check,) = asked(store).values()
    assert check.ok is False and "will never start" in check.said and cluster.cancelled == ["1"]


def test_a_request_that_slurm_refuses_is_told_and_the_others_are_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, answers)
    taken = cluster.submit

    def refuse(jobs: list[RunProbe], *, resources: StageResources, **given: object) -> list[str]:
        if resources.gpus:
            raise ValueError("expected sbatch to take it, but it says: Invalid gres.")
        return taken(jobs, resources=resources, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(submit, "submit", refuse)
    checks = asked(store, Launcher(latents=StageResources(gpus=9)))
    assert "Invalid gres" in checks["latents: job"].said
    assert "hydra.launcher.latents" in checks["latents: job"].remedy
    assert checks["tokens, models, dictionaries, scores, report: store"].ok


def test_a_queue_that_does_not_answer_is_not_an_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, lambda job, log: None)
    calls: list[int] = []

    def silent(ids: object) -> dict[str, JobState]:
        calls.append(1)
        if len(calls) == 5:
            for path in (store.root / "probe").glob("*.json"):
                RunProbe(store.root, path.stem, 0, 5, 0.0)()
        raise QueueError("squeue failed")

    monkeypatch.setattr(slurm, "states", silent)
    assert asked(store)["all stages: store"].ok
    assert len(calls) == 5


def test_an_interrupted_probe_leaves_no_job_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, lambda job, log: JobState("RUNNING"))

    def interrupted(ids: object) -> dict[str, JobState]:
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asked(store)
    assert cluster.cancelled == ["1"]
    assert list((store.root / "probe").iterdir()) == []
