"""What this machine computes on."""

import torch


def visible_gpus() -> int:
    """How many GPUs torch can use; 0 where there is no driver or torch is built without CUDA."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
