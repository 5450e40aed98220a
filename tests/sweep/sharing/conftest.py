"""A sweep to share, made once: nothing changes it but what takes a copy."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from saeuniv.sweep.sharing import Contract, Wanted, plan_export, write_export
from tests.conftest import row
from tests.shared_sweeps import make_shared_sweep
from tests.stored_runs import StoredRun

Exported = Callable[..., Contract]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """Not to be changed."""
    return make_shared_sweep(tmp_path_factory.mktemp("shared"), row)


@pytest.fixture
def own(run: StoredRun, tmp_path: Path) -> StoredRun:
    """A copy that a test may change."""
    place = tmp_path / "own"
    shutil.copytree(run.store.root, place / "store")
    shutil.copytree(run.folder.parent, place / "multirun" / "s")
    return replace(run, folder=place / "multirun" / "s" / "one", store=type(run.store)(place / "store"))


@pytest.fixture
def export(run: StoredRun, tmp_path: Path) -> Exported:
    """Exports a sweep into `out`."""

    def make(of: StoredRun = run, *kinds: str, **more: object) -> Contract:
        return write_export(plan_export(wanted(of, tmp_path / "out", *kinds, **more)), tmp_path / "out", told)

    return make


def killed_at(moment: int, long: Callable[[Callable[[int], None]], object]) -> bool:
    """Whether a process of its own, killed when it is told of bytes for the `moment`-th time, did not end."""
    moments = iter(range(1, moment + 1))

    def kill(_: int) -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=long, args=(kill,))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def told(n_bytes: int) -> None:
    """Nobody asks how far it is."""


def wanted(of: StoredRun, target: Path, *kinds: str, **more: object) -> Wanted:
    """The whole sweep, all kinds where none is named."""
    chosen = kinds or ("dictionaries", "latents", "results")
    return Wanted(of.folder.parent, (of.folder,), target, chosen, store=of.store.root, **more)  # type: ignore[arg-type]
