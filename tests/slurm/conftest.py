"""A private SLURM cluster for the tests of this folder; without one they fail, they are never skipped."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).with_name("cluster")
INSTALL_TIMEOUT_S = 1200
CLIENT_TIMEOUT_S = 5


class Cluster(NamedTuple):
    """A running cluster: nodes n1, n2, n3, partitions main, high, preempt."""

    conf: Path
    """Its slurm.conf, the value of SLURM_CONF."""
    folder: Path
    """The configuration and log/."""
    env: dict[str, str]
    """An environment for programs that shall speak to it: SLURM_CONF, and nothing of a job that we run in."""

    def run(self, *command: str) -> str:
        """Standard output of a client of SLURM; it must succeed within five seconds."""
        return subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S
        ).stdout.strip()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slurm")


@contextmanager
def started_cluster(folder: Path, *options: str) -> Iterator[Cluster]:
    """A cluster for a block of statements, with options of `cluster start` (--min-job-age=S and others)."""
    start = subprocess.run(
        [SCRIPT, "start", folder, *options], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
    )
    if start.returncode != 0:
        pytest.fail(
            f"no cluster: `cluster start` ended with {start.returncode}:\n{start.stderr}", pytrace=False
        )
    conf = start.stdout.strip().removeprefix("export SLURM_CONF=")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    try:
        yield Cluster(Path(conf), folder, kept | {"SLURM_CONF": conf})
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=INSTALL_TIMEOUT_S)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster without accounting that all tests share. SLURM_CONF points to it from the first use on."""
    with (
        started_cluster(tmp_path_factory.mktemp("cluster")) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", str(running.conf))
        yield running


@pytest.fixture(scope="session")
def accounting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster with slurmdbd: sacct knows jobs, squeue forgets them soon.

    SLURM_CONF points to it in the tests that ask for it.
    """
    options = ("--accounting", "--min-job-age=2")
    with started_cluster(tmp_path_factory.mktemp("accounting_cluster"), *options) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose tasks are dummies, at a path that wants quoting."""
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies,tests.sweep.dummy_reports")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    store = tmp_path / "a 'store'"
    store.mkdir()
    return store


@pytest.fixture(autouse=True)
def _accounting_slurm_conf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "accounting_cluster" in request.fixturenames:
        monkeypatch.setenv("SLURM_CONF", str(request.getfixturevalue("accounting_cluster").conf))
