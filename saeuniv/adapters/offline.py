"""Work without the hub: whatever it needs has been fetched before."""

import os
from collections.abc import Generator
from contextlib import contextmanager

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""The environment in which the hub's client asks nobody, if it is set before the client is imported."""


@contextmanager
def hub_cut_off() -> Generator[None]:
    """Neither this process nor one that it starts asks the hub meanwhile; afterwards all is as before."""
    from huggingface_hub import constants

    before = {name: os.environ.get(name) for name in OFFLINE}
    offline = constants.HF_HUB_OFFLINE
    os.environ.update(OFFLINE)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
