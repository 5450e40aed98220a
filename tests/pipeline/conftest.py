"""One small run of the whole pipeline, and desks on which tests run it again from copies of its store."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from saeuniv.results import Results, load
from tests.tracking.conftest import read_back as read_back

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"

SMALL = (
    *("a.steps=30", "b.steps=30", "a.n_layers=2", "b.n_layers=2", "width=64", "sae.n_tokens=40000"),
    *("nulls.draws=19", "bootstrap.draws=100", "data.max_sequences_per_document=4"),
)
"""Models, dictionaries and text small enough for seconds, large enough for values, intervals and p."""

ONE_PAIR = (
    *("layers.a=0", "layers.b=0", "control=none", "tracking=off", "resources.processes=1"),
    "metrics=[partial_correlation,matched_correlation]",
)
"""One layer pair of it, with matches, re-matched nulls and two scores: two seconds without torch."""

SECRET = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4"

# Differ from run to run: when, where and how long.
_TOLD = ("manifest.json", "summary.json", "status.json")


@dataclass(frozen=True)
class Desk:
    """A folder where a user stands, and a store."""

    here: Path
    store: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SAEUNIV", "WANDB", "COMP_"))
        }
        home = {"HOME": str(self.here.parent), "SAEUNIV_STORE": str(self.store), "OMP_NUM_THREADS": "1"}
        return {**inherited, **home, "WANDB_API_KEY": SECRET}

    def launch(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The small experiment with these arguments, to its end."""
        flags = [each for each in argv if each == "-m"]
        return self.python(
            str(LAUNCH), *flags, *SMALL, *(each for each in argv if each != "-m"), **environment
        )

    def python(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.here,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """The same, running, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, str(LAUNCH), *SMALL, *argv],
            cwd=self.here,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A test run in the background ignores Ctrl-C, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def comparisons(self, sweep: str = "single") -> list[Path]:
        """The comparisons of a sweep that have results, by name."""
        found = (self.here / "multirun" / sweep).glob("*/results/layer_pairs.csv")
        return sorted(path.parent.parent for path in found)

    def results(self, sweep: str = "single") -> dict[str, dict[str, str]]:
        """What the results folders of a sweep hold, by comparison; equal on all desks."""
        return {
            folder.name: contents(folder / "results", without=self.store)
            for folder in self.comparisons(sweep)
        }

    @property
    def comparison(self) -> Path:
        """The only comparison that is not a control."""
        (found,) = (path for path in self.comparisons() if "untrained" not in path.name)
        return found


@dataclass(frozen=True)
class Trained:
    """The run that everything here starts from."""

    desk: Desk
    done: subprocess.CompletedProcess[str]

    @property
    def folders(self) -> tuple[Path, Path]:
        """The comparison and its untrained control."""
        (control,) = (path for path in self.desk.comparisons() if "untrained" in path.name)
        return self.desk.comparison, control

    @property
    def results(self) -> tuple[Results, Results]:
        """The comparison's results and the control's."""
        comparison, control = map(load, self.folders)
        return comparison, control


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small experiment from an empty store, two workers."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "here").mkdir()
    desk = Desk(folder / "here", folder / "store")
    return Trained(desk, desk.launch("resources.processes=2"))


@pytest.fixture
def empty_desk(tmp_path: Path) -> Desk:
    """An empty folder beside an empty store."""
    (tmp_path / "here").mkdir()
    return Desk(tmp_path / "here", tmp_path / "store")


@pytest.fixture
def desk(trained: Trained, empty_desk: Desk) -> Desk:
    """An empty folder beside a store that holds everything."""
    # Links: files of a store are never written twice. Who changes one replaces it (`replace_byte`).
    shutil.copytree(trained.desk.store, empty_desk.store, copy_function=os.link)
    return empty_desk


@pytest.fixture
def encoded_desk(desk: Desk) -> Desk:
    """An empty folder beside a store that holds everything up to latents."""
    for kind in ("matches", "scores"):
        shutil.rmtree(desk.store / kind)
    return desk


def contents(folder: Path, without: Path | None = None) -> dict[str, str]:
    """sha256 of every file below a folder but those that tell of the run itself.

    The path of the store, which config.yaml names, is taken out where it is given.
    """
    path_of_store = str(without or "\0").encode()
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes().replace(path_of_store, b"STORE")
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _TOLD
    }


def recorded(folder: Path) -> dict[str, str]:
    """The hash of every artifact that the results of a comparison say they rest on."""
    return json.loads((folder / "results" / "summary.json").read_text())["artifacts"]


def read_status(folder: Path) -> dict[str, object]:
    """status.json of a comparison."""
    return json.loads((folder / "results" / "status.json").read_text())
