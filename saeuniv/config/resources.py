"""How the work is spread over a machine, and what it computes on."""

from dataclasses import dataclass
from enum import Enum


class CorrelationDevice(Enum):
    """Where raw correlations are searched; token-partialled ones are always on the CPU."""

    cpu = "cpu"
    cuda = "cuda"


class Device(Enum):
    """What models compute on. auto: a GPU if there is one, MPS if its results are right, or the CPU."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"
    """Apple's GPU, after a small computation has given what the CPU gives."""


@dataclass
class Resources:
    """How the work is spread over this machine; never part of a result."""

    processes: int | None = None
    """One-thread worker processes; unset: the cores, at most 4; 1: work in this process."""

    device: Device = Device.auto
    """What models compute on; with SLURM auto is a GPU where jobs of the stage latents ask for one."""

    n_devices: int = 1
    """GPUs that one model is spread over."""

    encode_batch_sequences: int = 64
    """Sequences per forward pass; halved where memory does not suffice."""

    encode_tasks: int = 1
    """Tasks that share the shards of one model's latents: as many as there are devices to run them."""

    layers_gb: float = 1.0
    """Memory of layers that a process keeps for its next layer pairs; two of them are held whatever it is."""

    correlation_device: CorrelationDevice = CorrelationDevice.cpu
    """Where raw correlations are searched: cpu (sparse kernel), or cuda (dense products in torch)."""
