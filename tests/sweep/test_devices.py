"""What models will compute on is decided when work is planned, and each GPU serves one task at a time."""

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from saeuniv.config import Cluster, ConfigError, Device, Launcher, Resources, StageResources
from saeuniv.stages.encode import Encode
from saeuniv.stages.task import Progress, Task
from saeuniv.sweep import devices
from saeuniv.sweep.devices import Devices, Gpus, Here
from saeuniv.sweep.inline import execute
from saeuniv.sweep.plan import Plan, Request, plan
from saeuniv.sweep.pool import Pool
from tests.sweep.conftest import cells
from tests.sweep.dummies import Dummy


def _has(monkeypatch, device: str, gpus: int) -> None:
    monkeypatch.setattr(devices, "here", lambda: Here(device, gpus))


def _both(resources: Resources, launcher: Launcher | None = None) -> tuple[str, str]:
    chosen = Devices(resources, launcher)
    return chosen.latents, chosen.training


def test_a_device_that_is_named_is_taken_and_auto_looks_at_this_machine(monkeypatch) -> None:
    _has(monkeypatch, "cuda", 2)
    assert _both(Resources()) == ("cuda", "cuda")
    assert _both(Resources(device=Device.cuda)) == ("cuda", "cuda")
    assert _both(Resources(device=Device.cpu)) == ("cpu", "cpu")
    assert _both(Resources(), Launcher(cluster=Cluster.local)) == ("cuda", "cuda")
    _has(monkeypatch, "mps", 0)
    assert _both(Resources(device=Device.mps)) == ("mps", "cpu"), "what mps makes of training is not known"


def test_with_slurm_auto_looks_at_what_the_jobs_of_a_stage_ask_for(monkeypatch) -> None:
    _has(monkeypatch, "cuda", 2)
    launcher = Launcher(cluster=Cluster.slurm)
    assert _both(Resources(), launcher) == ("cpu", "cpu")
    one = StageResources(gpus=1)
    assert _both(Resources(), replace(launcher, latents=one)) == ("cuda", "cpu")
    assert _both(Resources(), replace(launcher, dictionaries=one)) == ("cpu", "cuda")
    assert _both(Resources(device=Device.cpu), replace(launcher, latents=one)) == ("cpu", "cpu")
    _has(monkeypatch, "cpu", 0)
    asked = replace(launcher, default=one)
    assert _both(Resources(device=Device.cuda), asked) == ("cuda", "cuda"), "planned on a machine without"


def test_a_device_that_will_not_be_there_is_refused_before_anything_runs(monkeypatch, tmp_path) -> None:
    _has(monkeypatch, "cpu", 0)
    for device in (Device.cuda, Device.mps):
        expected = (
            rf"resources.device={device.value}: expected such a device on this machine, got cpu\. Choose"
        )
        with pytest.raises(ConfigError, match=expected):
            plan([Request(cells(f"resources.device={device.value}"), tmp_path, "", "s")])
    launcher = Launcher(cluster=Cluster.slurm, latents=StageResources(gpus=1))
    chosen = Devices(Resources(device=Device.cuda), launcher)
    assert chosen.latents == "cuda"
    with pytest.raises(
        ConfigError, match=r"stage dictionaries, got hydra.launcher.dictionaries.gpus=0\. Choose"
    ):
        _ = chosen.training
    with pytest.raises(ConfigError, match="such a device in jobs of SLURM, got cuda"):
        _ = Devices(Resources(device=Device.mps), launcher).latents


def test_a_model_is_spread_over_gpus_only(monkeypatch) -> None:
    _has(monkeypatch, "cuda", 2)
    assert _both(Resources(device=Device.cuda, n_devices=2)) == ("cuda:0,cuda:1", "cuda")
    _has(monkeypatch, "cpu", 0)
    with pytest.raises(ConfigError, match=r"resources.n_devices=2: expected GPUs .*, got cpu. Choose"):
        _ = Devices(Resources(n_devices=2)).latents


def test_torch_is_asked_only_where_there_is_a_driver(monkeypatch, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="a greeting\n" + json.dumps(["cuda", 4]) + "\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(devices, "_DRIVERS", (tmp_path / "driver",))
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    look = devices.here.__wrapped__
    assert (look(), asked) == (Here("cpu", 0), [])
    (tmp_path / "driver").touch()
    assert look() == Here("cuda", 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (look(), len(asked)) == (Here("cpu", 0), 1)


@dataclass(frozen=True)
class OnGpu(Dummy):
    """A dummy that computes on GPUs and writes down which: `begin 1`, later `end 1`."""

    wanted: int = 1
    device: str = "cuda"

    @property
    def n_gpus(self) -> int:
        return self.wanted

    def on_gpus(self, numbers) -> "OnGpu":
        return replace(self, device="+".join(map(str, numbers)))

    def __call__(self, progress: Progress) -> None:
        with (self.root / "trace").open("a") as trace:
            trace.write(f"begin {self.device}\n")
            trace.flush()
            super().__call__(progress)
            trace.write(f"end {self.device}\n")


def _trace(tasks: list[Task], root: Path, workers: int) -> list[str]:
    pool = Pool(workers)
    try:
        assert not execute(Plan(root, tuple(tasks), ()), pool).failures
    finally:
        pool.close()
    return (root / "trace").read_text().splitlines()


def _tasks(root: Path, *wanted: int) -> list[Task]:
    return [OnGpu(root, (), (), 1.0, name=f"t{i}", wanted=each) for i, each in enumerate(wanted)]


def test_each_worker_has_a_gpu_of_its_own(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("saeuniv.sweep.devices.here", lambda: Here("cuda", 2))
    trace = _trace(_tasks(tmp_path, 1, 1, 1, 1, 1, 1), tmp_path, workers=2)
    assert {each.split()[1] for each in trace} == {"0", "1"}
    at_work: set[str] = set()
    for what, gpu in (each.split() for each in trace):
        if what == "begin":
            assert gpu not in at_work, trace
            at_work.add(gpu)
        else:
            at_work.remove(gpu)


def test_gpus_are_handed_out_once_and_come_back() -> None:
    one, two, nine = _tasks(Path(), 1, 2, 9)
    gpus = Gpus(range(2))
    assert gpus.take(0, one).device == "0"
    assert gpus.take(1, two) is None, "one is left"
    assert gpus.take(2, one).device == "1"
    assert gpus.take(3, Dummy(Path(), (), (), 1.0, name="other")) is not None, "needs none"
    gpus.give_back(0)
    gpus.give_back(2)
    gpus.give_back(3)
    assert gpus.take(1, two).device == "0+1"
    assert gpus.take(4, nine) is nine, "there will never be as many: it says so itself"


def test_encoding_is_told_its_gpus(make_plan) -> None:
    encode = next(each for each in make_plan().tasks if isinstance(each, Encode))
    assert (encode.device, encode.n_gpus) == ("cpu", 0)
    spread = replace(encode, device="cuda:0,cuda:1")
    assert spread.n_gpus == 2 and spread.on_gpus([2, 3]).device == "cuda:2,cuda:3"
    assert replace(encode, device="cuda").on_gpus([1]).device == "cuda:1"
    assert spread.key == encode.key and spread.group == encode.group
