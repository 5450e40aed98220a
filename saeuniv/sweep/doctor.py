"""What `saeuniv doctor` looks at on this machine: Python, GPUs, the store, SLURM and accounts."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from saeuniv.store import check_writable
from saeuniv.sweep import slurm
from saeuniv.sweep.check import Check
from saeuniv.sweep.slurm import QueueError
from saeuniv.sweep.storage import storage

_TORCH_TIMEOUT_S = 120.0
_SMI_TIMEOUT_S = 20.0

# In a process of its own: importing torch takes seconds and may end the process.
_TORCH_CODE = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps([torch.__version__, torch.version.cuda, gpus]))
"""


_NO_SLURM = Check("slurm", None, "no sbatch here: sweeps run on this machine (hydra/launcher=local)", "")


class TorchFacts(NamedTuple):
    """What torch says of itself."""

    version: str
    cuda: str | None
    """The CUDA it was built for; None: for the CPU only."""

    gpus: tuple[str, ...]
    """The names of those it can use."""


class SmiFacts(NamedTuple):
    """What NVIDIA's driver says."""

    driver: str
    gpus: tuple[str, ...]


def doctor(store: Path) -> tuple[Check, ...]:
    """Everything that can be told on this machine alone; see `saeuniv.sweep.probing` for the nodes."""
    on_cluster = shutil.which("sbatch") is not None
    with ThreadPoolExecutor() as threads:
        torch = threads.submit(_torch)  # seconds
        checks = [
            Check("python", True, f"{platform.python_version()} at {sys.executable}", ""),
            _packages(),
        ]
        rest = [
            *storage(store, on_cluster=on_cluster),
            *(_slurm() if on_cluster else [_NO_SLURM]),
            *_hub(),
            _tracking(),
            *numba(store),
        ]
        return (*checks, torch.result(), *rest)


def torch_facts() -> TorchFacts | str:
    """What torch says in a fresh process; where it says nothing, why."""
    command = [sys.executable, "-W", "ignore", "-c", _TORCH_CODE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"importing torch took more than {_TORCH_TIMEOUT_S:.0f} s"
    try:
        version, cuda, gpus = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return (done.stderr.strip().splitlines() or [f"importing torch ended with {done.returncode}"])[-1]
    return TorchFacts(version, cuda, tuple(gpus))


def smi_facts() -> SmiFacts | None:
    """What nvidia-smi says; None where there is no such program or no GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.split(", ", 1) for line in done.stdout.splitlines() if ", " in line]
    return SmiFacts(lines[0][0], tuple(name for _, name in lines)) if lines else None


def gpus(asked: int, torch: TorchFacts | str, smi: SmiFacts | None) -> Check:
    """Whether torch can use as many GPUs as are asked for; 0: whichever there are."""
    if isinstance(torch, str):
        return Check("torch", False, torch, "Install it again: pip install torch.")
    built = f"CUDA {torch.cuda}" if torch.cuda else "the CPU only"
    said = f"torch {torch.version}, built for {built}"
    if len(torch.gpus) >= max(asked, 1):
        return Check("torch", True, f"{said}; {len(torch.gpus)} x {torch.gpus[0]}", "")
    if smi is not None and len(smi.gpus) >= max(asked, 1) > len(torch.gpus):
        there = f"the driver {smi.driver} has {len(smi.gpus)} x {smi.gpus[0]}"
        said = f"{said}, sees {len(torch.gpus)} GPUs; {there}"
        return Check("torch", False, said, "Install a torch that was built for this driver (pytorch.org).")
    if asked:
        said = f"{said}; {asked} GPU(s) asked for, {len(torch.gpus)} there"
        return Check("torch", False, said, "Choose nodes that have them: partition, gres, constraint.")
    return Check("torch", None, f"{said}; no GPU here: models run on the CPU", "")


def numba(store: Path) -> list[Check]:
    """Whether compiled kernels can be kept; nothing where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return []
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or store / "numba").expanduser()
    if check_writable(folder) is None:
        return [Check("numba", True, f"kernels are kept in {folder}", "")]
    remedy = "Set NUMBA_CACHE_DIR to a folder that can be written to."
    return [Check("numba", False, f"{folder} cannot be written to: every process compiles anew", remedy)]


def hub_cache() -> Path:
    """Where files of Hugging Face's hub are kept, as its client decides it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    whole = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(whole or Path(os.environ.get("HF_HOME") or home) / "hub").expanduser()


def _torch() -> Check:
    return gpus(0, torch_facts(), smi_facts())


def _packages() -> Check:
    try:
        required = importlib.metadata.requires("saeuniv") or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", False, "saeuniv is not installed", "Install it: pip install -e .")
    names = [re.split(r"[^\w.-]", each)[0] for each in required if "extra ==" not in each]
    versions = {name: _version(name) for name in ("saeuniv", *names)}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        remedy = f"Install them: pip install {' '.join(missing)}."
        return Check("packages", False, f"not installed: {', '.join(missing)}", remedy)
    return Check("packages", True, ", ".join(f"{name} {version}" for name, version in versions.items()), "")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _slurm() -> list[Check]:
    if reason := slurm.available():
        return [Check("slurm", False, reason, "")]
    try:
        answer = slurm.ask(["scontrol", "show", "config"])
    except QueueError as error:
        return [Check("slurm", False, str(error), "")]
    config = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", answer.stdout, re.MULTILINE))
    name, version = config.get("ClusterName", "?"), config.get("SLURM_VERSION", "?")
    limit = f"arrays of up to {config.get('MaxArraySize', '?')} jobs"
    return [Check("slurm", True, f"{name} answers, version {version}, {limit}", ""), _accounting(config)]


def _accounting(config: Mapping[str, str]) -> Check:
    name = "accounting"
    remembered = f"{config.get('MinJobAge', '300')} s"
    remedy = "Nothing depends on it; why a job ended is then in its log (saeuniv logs)."
    if "slurmdbd" not in config.get("AccountingStorageType", ""):
        said = f"none: of jobs that ended more than {remembered} ago SLURM knows nothing"
        return Check(name, None, said, remedy)
    try:
        answer = slurm.ask(["sacct", "-n", "-X", "-S", "now-1minutes", "-o", "JobID"])
    except QueueError as error:
        return Check(name, None, str(error), remedy)
    if answer.returncode:
        return Check(name, None, f"sacct says: {slurm.words(answer)}", remedy)
    return Check(name, True, "sacct answers", "")


def _hub() -> list[Check]:
    """The cache of Hugging Face's hub and the token for gated models, which is never shown."""
    folder = hub_cache()
    if check_writable(folder) is None:
        cache = Check("hub cache", True, str(folder), "")
    else:
        remedy = "Set HF_HOME to a folder that can be written to."
        cache = Check("hub cache", False, f"{folder} cannot be written to", remedy)
    home = Path(os.environ.get("HF_HOME") or folder.parent).expanduser()
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    if os.environ.get("HF_TOKEN") or file.is_file():
        return [cache, Check("hub token", True, "there is one", "")]
    remedy = "Needed for gated models only: hf auth login, or HF_TOKEN."
    return [cache, Check("hub token", None, "there is none", remedy)]


def _tracking() -> Check:
    from saeuniv.tracking.mode import has_api_key

    if has_api_key():
        return Check("W&B key", True, "there is one", "")
    remedy = "Runs are kept offline; to have them online: wandb login, or WANDB_API_KEY."
    return Check("W&B key", None, "there is none", remedy)
