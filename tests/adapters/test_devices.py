"""What this machine computes on; GPUs and MPS are played by the CPU."""

import json
import subprocess
import sys

import pytest
import torch

from saeuniv.adapters import devices


@pytest.fixture
def machine(monkeypatch):
    """A function that gives this machine GPUs, or an MPS whose results are right or wrong."""
    cpu = devices._sample("cpu")

    def make(*, gpus: int = 0, mps: bool = False, error: float = 0.0) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (1000 + number, 2000))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(devices, "_sample", lambda device: cpu * (1 + error * (device == "mps")))

    return make


@pytest.mark.parametrize(
    ("having", "device"),
    [
        ({}, "cpu"),
        ({"gpus": 2}, "cuda"),
        ({"gpus": 1, "mps": True}, "cuda"),
        ({"mps": True, "error": 1e-6}, "mps"),
        ({"mps": True, "error": 1e-2}, "cpu"),
    ],
)
def test_a_gpu_comes_first_then_mps_that_computes_correctly_then_the_cpu(machine, having, device):
    machine(**having)
    assert devices.best_device() == device


def test_the_small_computation_agrees_with_itself_and_not_with_a_wrong_one(monkeypatch):
    assert devices.agrees_with_cpu("cpu")
    right = devices._sample("cpu")
    wrong = right.clone()
    wrong[0, 3, 5] += 1e-2  # a single number
    monkeypatch.setattr(devices, "_sample", lambda device: right if device == "cpu" else wrong)
    assert not devices.agrees_with_cpu("mps")


def test_devices_that_are_not_there_are_refused_with_the_way_out(machine):
    machine(gpus=1)
    assert devices.require("cpu") == ("cpu",)
    assert devices.require("cuda") == ("cuda",)
    with pytest.raises(ValueError, match=r"cuda:0,cuda:1: expected 2 GPUs .*, got 1\. Choose resources"):
        devices.require("cuda:0,cuda:1")
    machine()
    with pytest.raises(ValueError, match=r"cuda: expected 1 GPUs .*, got 0\. Choose resources.device=cpu"):
        devices.require("cuda")
    machine(mps=True, error=0.1)
    with pytest.raises(ValueError, match=r"resources\.device=mps: expected a device that computes what"):
        devices.require("mps")


def test_a_model_on_several_gpus_is_spread_over_their_free_memory(machine):
    machine(gpus=4)
    assert devices.device_map(("cuda:2",)) == {}
    spread = devices.device_map(devices.require("cuda:1,cuda:3"))
    assert spread == {"device_map": "balanced", "max_memory": {1: 1001, 3: 1003}}


def test_as_a_program_it_says_what_torch_can_use():
    command = [sys.executable, "-W", "ignore", "-m", "saeuniv.adapters.devices"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [devices.best_device(), devices.visible_gpus()]
