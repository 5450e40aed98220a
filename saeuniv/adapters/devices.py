"""What this machine computes on. Run as a program it says so, for planning, which imports no torch."""

import json
import sys

import torch
from torch import Tensor

# What a device that computes correctly may differ by from the CPU, relative to the largest value.
_TOLERANCE = 1e-4


def visible_gpus() -> int:
    """How many GPUs torch can use; 0 where there is no driver or torch is built without CUDA."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def best_device() -> str:
    """Cuda where torch can use a GPU; mps where it computes what the CPU computes; else cpu."""
    if visible_gpus():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() and agrees_with_cpu("mps") else "cpu"


def agrees_with_cpu(device: str) -> bool:
    """Whether a small transformer-like computation gives on `device` what it gives on the CPU.

    Wrong results without an error have been seen on MPS, depending on the versions of macOS and torch.
    """
    expected, got = _sample("cpu"), _sample(device).cpu()
    return bool(((got - expected).abs() <= _TOLERANCE * expected.abs().max()).all())


def require(device: str) -> tuple[str, ...]:
    """The devices that `device` names (`cuda:0,cuda:1`: both), if torch can use them here.

    Raises:
        ValueError: it cannot.
    """
    devices = tuple(device.split(","))
    n_gpus = visible_gpus()
    wanted = [int(each.partition(":")[2] or 0) for each in devices if each.startswith("cuda")]
    if wanted and max(wanted) >= n_gpus:
        raise ValueError(
            f"{device}: expected {max(wanted) + 1} GPUs that torch {torch.__version__} can use here, got "
            f"{n_gpus}. Choose resources.device=cpu or a smaller resources.n_devices; saeuniv doctor says "
            f"why a GPU cannot be used."
        )
    if "mps" in devices and not (torch.backends.mps.is_available() and agrees_with_cpu("mps")):
        raise ValueError(
            "resources.device=mps: expected a device that computes what the CPU computes, and there is none "
            "here, or its results differ. Choose resources.device=cpu."
        )
    return devices


def device_map(devices: tuple[str, ...]) -> dict[str, object]:
    """What from_pretrained is given so that a model is spread over several GPUs; nothing for one device."""
    if len(devices) == 1:
        return {}
    numbers = [int(each.partition(":")[2]) for each in devices]
    free = {number: torch.cuda.mem_get_info(number)[0] for number in numbers}
    return {"device_map": "balanced", "max_memory": free}


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory after use: another process may need it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _sample(device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 32, generator=generator).to(device)
    weights = torch.randn(32, 32, generator=generator).to(device)
    keys = torch.nn.functional.layer_norm(x, (32,)) @ weights
    attended = torch.nn.functional.scaled_dot_product_attention(x, keys, x, is_causal=True)
    return attended + torch.nn.functional.gelu(attended @ weights).cumsum(1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps([best_device(), visible_gpus()]) + "\n")
