"""`saeuniv doctor --job` on a real SLURM: nodes that share the store, and nodes that do not."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from saeuniv.config.launcher import Launcher, StageResources
from saeuniv.sweep.check import Check
from saeuniv.sweep.probing import probe

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a 'store'"


def asked(root: Path, *, stages: Sequence[str] = ("scores",), **resources: object) -> dict[str, Check]:
    """What the nodes say to jobs that ask for this, by what it is about."""
    default = StageResources(cpus=1, memory_gb=1.0, **resources)  # type: ignore[arg-type]
    checks = probe(root, Launcher(default=default), stages=stages, wait_seconds=90.0, settle_seconds=2.0)
    return {each.name.removeprefix("all stages: "): each for each in checks}


def test_a_node_answers_through_the_store_and_nothing_is_left(root: Path) -> None:
    checks = asked(root, stages=("latents", "scores"))
    assert {name: each.ok for name, each in checks.items()} == {"store": True, "code": True}
    assert [*(root / "probe").iterdir(), *(root / "submitit").iterdir()] == []


def test_a_gpu_that_torch_cannot_use_is_none(root: Path) -> None:
    """SLURM has given one; what it has given is a device that is no GPU."""
    check = asked(root, gpus=1)["GPU"]
    assert check.ok is False and "1 GPU(s) asked for, 0 there" in check.said


def test_a_store_that_the_node_does_not_see_is_not_shared(root: Path, tmp_path: Path) -> None:
    """Another file system is mounted over it, for this job alone."""
    python = tmp_path / "python"
    hide = f"mount -t tmpfs none {shlex.quote(str(root / 'probe'))}"
    python.write_text(
        f"#!/bin/sh\nexec unshare -m --propagation private sh -c "
        f'{shlex.quote(f"{hide} && exec {shlex.quote(sys.executable)} ")}\'"$@"\' sh "$@"\n'
    )
    python.chmod(0o755)
    (check,) = asked(root, python=str(python)).values()
    assert (check.name, check.ok) == ("all stages: store", False)
    assert "the store is not shared" in check.said and "SAEUNIV_STORE" in check.remedy


def test_a_python_that_is_not_on_the_node_is_told(root: Path) -> None:
    check = asked(root, python="/nowhere/python")["job"]
    assert check.ok is False and "/nowhere/python" in check.said and ".python or .setup" in check.remedy


def test_what_slurm_refuses_is_told_in_its_words(root: Path) -> None:
    check = asked(root, partition="nowhere")["job"]
    assert check.ok is False and "invalid partition" in check.said
