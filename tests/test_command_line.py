"""The command line as a user meets it: exit codes, what is written, what is imported, help, completion."""

import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv import app
from saeuniv.alignments import ALIGNMENTS
from saeuniv.app import run_cell

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "wandb", "pandas", "matplotlib", "transformer_lens", "sparsify", "datasets")

# Runs the command line with a stand-in for the work: it writes down what it is given, and ends as told.
DRIVER = """
import json, os, sys, types

def run(requests, sweep):
    code = 0
    for cells, folder, config, name in requests:
        assert name == (sweep.name if sweep else folder.parent.name)
        assert sweep is None or sweep.folder == folder.parent
        assert config.startswith("# Replay: saeuniv ")
        with open(os.environ["DONE"], "a") as file:
            layers = [cell.a.layers for cell in cells]
            file.write(json.dumps([cells[0].comparison, str(folder.absolute()), layers]) + "\\n")
        match json.loads(os.environ.get("ENDS", "{}")).get(cells[0].a.model.label, 0):
            case "interrupted":
                raise KeyboardInterrupt
            case "broken":
                raise RuntimeError("the work broke")
            case "silent":
                from saeuniv.sweep.slurm import QueueError
                raise QueueError("squeue: expected an answer within 60 s, got none.")
            case "dear":
                from saeuniv.config import ConfigError
                raise ConfigError("sweep.max_gpu_hours=1: too dear.")
            case ended:
                code = max(code, ended)
    return code

module = types.ModuleType("saeuniv.sweep.run")
module.run = run
sys.modules["saeuniv.sweep.run"] = module
from saeuniv.app import main
main()
"""


class Shell:
    """A user who stands in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        self.here.mkdir()
        self.done = folder / "done"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SAEUNIV", "COMP_"))},
            "SAEUNIV_STORE": str(folder / "store"),
            "DONE": str(self.done),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, program: list[str], *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *argv],
            cwd=self.here,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def launch(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(ROOT / "launch.py")], *argv, **environment)

    def drive(self, *argv: str, **ends: object) -> subprocess.CompletedProcess[str]:
        return self.run(["-c", DRIVER], *argv, ENDS=json.dumps(ends))

    def comparisons(self) -> list[tuple[str, Path, list[object]]]:
        lines = self.done.read_text().splitlines()
        return [(name, Path(folder), layers) for name, folder, layers in map(json.loads, lines)]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def loaded(shell: Shell, statement: str) -> set[str]:
    """The heavy libraries that are loaded after a statement."""
    report = f"import sys; sys.stderr.write(','.join(set({HEAVY!r}) & set(sys.modules)))"
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n{report}"
    done = shell.run(["-c", code], "--cfg", "job")
    return set(filter(None, done.stderr.split(",")))


@pytest.mark.parametrize("flags", [(), ("-m",)])
def test_faults_exit_with_2_and_nothing_is_written(flags: tuple[str, ...], shell: Shell) -> None:
    done = shell.launch(*flags, "layers.a=9", "+foo=1", "alignment=hungrian")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "The configuration is wrong; nothing was run or written."
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  alignment=hungrian",
        "  +foo=1",
        "  layers.a=9",
    ] or len(lines) == 4
    assert "Traceback" not in done.stderr
    assert list(shell.here.iterdir()) == []
    assert not Path(shell.environment["SAEUNIV_STORE"]).exists()


def test_a_single_run_is_named_by_its_comparison(shell: Shell) -> None:
    done = shell.drive("layers.a=0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ((name, folder, layers),) = shell.comparisons()
    assert folder == shell.here / "multirun" / "single" / name
    assert layers == [0]
    assert (folder / ".hydra" / "config.yaml").exists()
    assert (folder / "saeuniv.log").exists()


def test_cells_of_one_comparison_are_united_and_run_once(shell: Shell) -> None:
    done = shell.drive("-m", "layers.a=0,1,2", "b=tiny_s1,tiny_s2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = shell.comparisons()
    assert first[2] == second[2] == [0, 1, 2]
    sweep = first[1].parent
    assert sweep == second[1].parent and sweep.parent == shell.here / "multirun"
    assert (sweep / "saeuniv.log").exists()


def test_the_same_sweep_in_any_order_has_the_same_folder(shell: Shell) -> None:
    shell.drive("-m", "a=tiny_s0,tiny_s2", "alignment=max_corr")
    shell.drive("-m", "alignment=max_corr", "a=tiny_s0,tiny_s2", "tracking=off", "resources.processes=1")
    shell.drive("-m", "alignment=max_corr", "a=tiny_s0,tiny_s2", "sweep.name=mine")
    sweeps = [folder.parent.name for _, folder, _ in shell.comparisons()]
    assert len(set(sweeps[:4])) == 1
    assert sweeps[4:] == ["mine", "mine"]


def test_a_preset_that_is_a_sweep_needs_no_flag(shell: Shell) -> None:
    assert shell.drive("experiment=tiny_seeds").returncode == 0
    assert len(shell.comparisons()) == 6


@pytest.mark.parametrize("flags", [(), ("-m",)])
@pytest.mark.parametrize("end", [1, "broken"])
def test_a_failure_exits_with_1(end: object, flags: tuple[str, ...], shell: Shell) -> None:
    done = shell.drive(*flags, tiny_s0=end)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == (end == "broken")


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [("silent", 1, "ERROR squeue: expected"), ("dear", 2, "ERROR Nothing was run. sweep.")],
)
def test_what_stops_a_sweep_is_said_in_words(end: str, code: int, said: str, shell: Shell) -> None:
    done = shell.drive("-m", tiny_s0=end)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr


def test_an_interruption_exits_with_130(shell: Shell) -> None:
    for flags in ((), ("-m",)):
        done = shell.drive(*flags, tiny_s0="interrupted")
        assert done.returncode == 130
        assert "Traceback" not in done.stderr


def test_showing_the_configuration_is_quick_and_writes_nothing(shell: Shell) -> None:
    """Beside what a bare import of the libraries takes on the machine at that moment."""
    libraries = [sys.executable, "-c", "import hydra, numba, scipy.fft, scipy.sparse"]
    ratios = []
    done: list[subprocess.CompletedProcess[str]] = []
    for _ in range(2):
        floor = _seconds(lambda: subprocess.run(libraries, check=True))
        taken = _seconds(lambda: done.append(shell.launch("--cfg", "job", "a=tiny_s2")))
        ratios.append(taken / floor)
    assert done[0].returncode == 0
    assert "seed: 2" in done[0].stdout
    assert min(ratios) < 4
    assert list(shell.here.iterdir()) == []


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_no_heavy_library_is_imported_before_work(shell: Shell) -> None:
    assert loaded(shell, "from saeuniv.app import main; main()") == set()
    assert loaded(shell, "import saeuniv.app, saeuniv.preflight; saeuniv.preflight.preflight([])") == set()


def test_the_check_of_imports_can_fail(shell: Shell) -> None:
    assert loaded(shell, "import pandas") == {"pandas"}


def test_a_checkout_takes_what_the_installed_command_takes(shell: Shell) -> None:
    cited = shell.launch("--cite")
    assert cited.returncode == 0 and cited.stdout.startswith("@software{saeuniv,")
    mistyped = shell.launch("statsu")
    assert mistyped.returncode == 2 and "expected a command, or overrides" in mistyped.stderr


def test_help_lists_the_groups_and_five_examples(shell: Shell) -> None:
    done = shell.launch("--help")
    assert done.returncode == 0
    for group in ("a  ", "b  ", "models", "sae ", "data", "alignment", "metrics", "control", "tracking"):
        assert f"\n  {group}" in done.stdout
    assert "greedy hungarian max_corr mutual_nn sinkhorn" in " ".join(done.stdout.split())
    assert done.stdout.count("\n  saeuniv ") == 5
    assert (
        "schema" not in done.stdout
        and "model@" not in done.stdout
        and "$" not in done.stdout.replace("$(", "")
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("a=", {"a=hub", "a=local", "a=tiny_s0", "a=pythia-70m"}),
        ("sae=", {"sae=train", "sae=tiny", "sae=eleuther"}),
        ("sae_b=", {"sae_b=train"}),
        ("models=tiny_u", {"models=tiny_u2_u3"}),
        ("alignment=", {f"alignment={each.name}" for each in ALIGNMENTS}),
        ("metrics.svcca.", {"metrics.svcca.variance_kept="}),
    ],
)
def test_the_shell_completes(typed: str, offered: set[str], shell: Shell) -> None:
    done = shell.launch("-sc", "query=bash", COMP_LINE=f"python launch.py {typed}", COMP_POINT="99")
    assert offered <= set(done.stdout.split())


def test_the_task_is_pickled_by_reference() -> None:
    assert len(pickle.dumps(run_cell)) < 60


def test_version_is_that_of_saeuniv(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["saeuniv", "--version"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    commit = f" ({found.stdout.strip()})" if found.returncode == 0 else ""
    assert capsys.readouterr().out == f"saeuniv {importlib.metadata.version('saeuniv')}{commit}\n"


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["saeuniv", "a=local", "a.path=~/nowhere", "allow_mixed=true"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert f"found nothing at {tmp_path}/nowhere" in capsys.readouterr().err
