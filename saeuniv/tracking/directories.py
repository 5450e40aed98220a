"""Where W&B writes: everything below the comparison's own folder, nothing in the home of the user."""

import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# W&B stages artifacts outside WANDB_DIR unless told otherwise; a sync that misses them still reports success.
_SUBFOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config"}


def variables(folder: Path) -> dict[str, str]:
    """The environment variables that keep W&B inside `<folder>/wandb`, and reports of its faults at home."""
    inside = folder / "wandb"
    return {"WANDB_DIR": str(folder), "WANDB_ERROR_REPORTING": "false"} | {
        name: str(inside / sub) for name, sub in _SUBFOLDERS.items()
    }


@contextmanager
def own_environment(folder: Path) -> Generator[None, None, None]:
    """Sets `variables` and takes away every other WANDB_ setting that could redirect or rename a run."""
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    try:
        for name in before:
            del os.environ[name]
        os.environ.update(variables(folder))
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def fresh_folder(folder: Path) -> Generator[Path, None, None]:
    """An empty `<folder>/wandb`; the earlier one is removed on success and put back on failure.

    W&B would fall back to a temporary folder where it cannot write; here that is an error.

    Raises:
        OSError: where the folder cannot be made or written.
    """
    target = folder / "wandb"
    before = folder / f".wandb-old-{uuid.uuid4().hex}"
    if target.is_dir():
        target.rename(before)
    try:
        for sub in _SUBFOLDERS.values():
            (target / sub).mkdir(parents=True)
        yield target
    except BaseException:
        if before.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            before.rename(target)
        raise
    for path in folder.glob(".wandb-old-*"):
        shutil.rmtree(path, ignore_errors=True)
