"""What doctor says of this machine: Python, GPUs, SLURM and accounts."""

import io
import json
import stat
from pathlib import Path

import pytest
from rich.console import Console

from saeuniv.store import Store
from saeuniv.sweep import doctor as doctor_module
from saeuniv.sweep.check import Check, all_well, checks_json, checks_table
from saeuniv.sweep.doctor import SmiFacts, TorchFacts, doctor, gpus, hub_cache, numba

CPU_TORCH = TorchFacts("2.13.0+cpu", None, ())


def by_name(checks: tuple[Check, ...] | list[Check]) -> dict[str, Check]:
    return {each.name: each for each in checks}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without accounts, a machine without SLURM and GPUs, a torch that is not loaded."""
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_API_KEY", "NETRC", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(doctor_module, "torch_facts", lambda: CPU_TORCH)
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(bare: Path, name: str, lines: str) -> None:
    path = bare / "bin" / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_machine_without_slurm_and_accounts_is_well(bare: Path, store: Store) -> None:
    checks = by_name(doctor(store.root))
    assert all_well(tuple(checks.values()))
    assert "torch 2." in checks["packages"].said and "saeuniv 0" in checks["packages"].said
    assert {name for name, each in checks.items() if each.ok is None} <= {
        *("torch", "slurm", "hub token", "W&B key", "disk", "file system")
    }
    assert checks["slurm"].said.startswith("no sbatch here")
    assert list((bare / "home").iterdir()) == []
    assert not store.root.exists()


def test_keys_and_tokens_are_found_and_never_shown(
    bare: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "home" / ".cache" / "huggingface").mkdir(parents=True)
    (bare / "home" / ".cache" / "huggingface" / "token").write_text("hf_secret")
    monkeypatch.setenv("WANDB_API_KEY", "wandb_secret")
    checks = doctor(store.root)
    assert by_name(checks)["hub token"].ok and by_name(checks)["W&B key"].ok
    assert "secret" not in repr(checks)


def test_a_token_in_the_environment_counts(bare: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    checks = doctor(store.root)
    assert by_name(checks)["hub token"].ok and "secret" not in repr(checks)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "home/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{}/xdg"}, "xdg/huggingface/hub"),
        ({"HF_HOME": "{}/hf", "XDG_CACHE_HOME": "{}/xdg"}, "hf/hub"),
        ({"HF_HUB_CACHE": "{}/cache", "HF_HOME": "{}/hf"}, "cache"),
    ],
)
def test_the_hub_cache_is_where_its_client_has_it(
    bare: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(bare))
    assert hub_cache() == bare / folder


def test_slurm_is_described_in_a_line(bare: Path, store: Store) -> None:
    for name in ("sbatch", "srun", "squeue", "scancel"):
        program(bare, name, "")
    config = ("ClusterName = ci", "MaxArraySize = 16", "MinJobAge = 300 sec", "SLURM_VERSION = 22.05.8")
    lines = "\n".join((*config, "AccountingStorageType = accounting_storage/none"))
    program(bare, "scontrol", f"echo '{lines}'")
    checks = by_name(doctor(store.root))
    assert checks["slurm"] == Check("slurm", True, "ci answers, version 22.05.8, arrays of up to 16 jobs", "")
    assert checks["accounting"].ok is None and "more than 300 s ago" in checks["accounting"].said
    program(bare, "scontrol", f"echo '{lines.replace('storage/none', 'storage/slurmdbd')}'")
    program(bare, "sacct", "")
    assert by_name(doctor(store.root))["accounting"].ok
    program(bare, "sacct", "echo 'sacct: error: no connection' >&2; exit 1")
    assert "no connection" in by_name(doctor(store.root))["accounting"].said
    program(bare, "scontrol", "echo 'Unable to contact slurm controller' >&2; exit 1")
    found = by_name(doctor(store.root))
    assert found["slurm"].ok is False and "Unable to contact" in found["slurm"].said


@pytest.mark.parametrize(
    ("asked", "torch", "smi", "ok", "said"),
    [
        (0, CPU_TORCH, None, None, "no GPU here: models run on the CPU"),
        (0, TorchFacts("2", "12.8", ("H200", "H200")), None, True, "2 x H200"),
        (
            0,
            CPU_TORCH,
            SmiFacts("570.1", ("H200",)),
            False,
            "built for the CPU only, sees 0 GPUs; the driver",
        ),
        (1, CPU_TORCH, None, False, "1 GPU(s) asked for, 0 there"),
        (
            2,
            TorchFacts("2", "12.8", ("H200",)),
            SmiFacts("1", ("H200",)),
            False,
            "2 GPU(s) asked for, 1 there",
        ),
        (2, TorchFacts("2", "12.8", ("H200", "H200")), None, True, "2 x H200"),
        (0, "No module named 'torch'", None, False, "No module named 'torch'"),
    ],
)
def test_gpus_are_those_that_torch_can_use(
    asked: int, torch: TorchFacts | str, smi: SmiFacts | None, ok: bool | None, said: str
) -> None:
    check = gpus(asked, torch, smi)
    assert check.ok is ok and said in check.said
    assert bool(check.remedy) is (ok is False)


def test_torch_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "_TORCH_CODE", "print('noise'); print('[\"2.9\", null, []]')")
    assert doctor_module.torch_facts() == TorchFacts("2.9", None, ())
    monkeypatch.setattr(doctor_module, "_TORCH_CODE", "raise ImportError('libcudart is missing')")
    assert doctor_module.torch_facts() == "ImportError: libcudart is missing"
    monkeypatch.setattr(doctor_module, "_TORCH_CODE", "import os; os.abort()")
    assert doctor_module.torch_facts() == "importing torch ended with -6"
    monkeypatch.setattr(doctor_module, "_TORCH_CODE", "import time; time.sleep(9)")
    monkeypatch.setattr(doctor_module, "_TORCH_TIMEOUT_S", 0.1)
    assert "took more than" in str(doctor_module.torch_facts())


def test_nvidia_smi_names_driver_and_gpus(bare: Path) -> None:
    assert doctor_module.smi_facts() is None
    program(bare, "nvidia-smi", "echo '570.12, NVIDIA H200'; echo '570.12, NVIDIA H200'")
    assert doctor_module.smi_facts() == SmiFacts("570.12", ("NVIDIA H200", "NVIDIA H200"))
    program(bare, "nvidia-smi", "echo 'No devices were found'; exit 6")
    assert doctor_module.smi_facts() is None


def test_numba_is_spoken_of_where_it_is_installed(
    bare: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module.importlib.util, "find_spec", lambda name: None)
    assert numba(store.root) == []
    monkeypatch.setattr(doctor_module.importlib.util, "find_spec", lambda name: object())
    assert numba(store.root)[0].ok
    (bare / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(bare / "file" / "numba"))
    assert numba(store.root)[0].ok is False


def test_checks_are_shown_with_what_to_do() -> None:
    checks = [
        Check("a", True, "fine", ""),
        Check("b", False, "[wrong]", "Mend it."),
        Check("c", None, "so", ""),
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(checks_table(checks))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert lines == [["ok", "a", "fine"], ["wrong", "b", "[wrong]"], ["Mend", "it."], ["note", "c", "so"]]
    assert [each["ok"] for each in json.loads(json.dumps(checks_json(checks)))] == [True, False, None]
    assert not all_well(checks) and all_well([checks[0], checks[2]])
