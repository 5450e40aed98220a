"""`saeuniv doctor`: what it asks for whom, and how it ends."""

import json
from pathlib import Path

import pytest

from saeuniv.commands import doctor
from saeuniv.config.launcher import Launcher
from saeuniv.store import Store
from saeuniv.sweep import slurm
from saeuniv.sweep.check import Check
from tests.commands.conftest import Call

GOOD, NOTE = Check("python", True, "3.11", ""), Check("torch", None, "no GPU", "")
WRONG = Check("disk", False, "full [of files]", "Remove some.")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores of which this machine was asked; all is well."""
    found: list[Path] = []
    monkeypatch.setattr(doctor, "doctor", lambda store: (found.append(store), (GOOD, NOTE))[1])
    return found


@pytest.fixture
def probed(looked: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Launcher]]:
    """What the nodes were asked; all is well."""
    found: list[tuple[Path, Launcher]] = []

    def probe(root: Path, launcher: Launcher) -> tuple[Check, ...]:
        found.append((root, launcher))
        return (Check("all stages: store", True, "n1 sees it", ""),)

    monkeypatch.setattr(doctor, "probe", probe)
    monkeypatch.setattr(slurm, "available", lambda: None)
    return found


def test_all_checks_are_told_and_notes_are_no_faults(
    call: Call, looked: list[Path], store: Store, here: Path
) -> None:
    ended = call(doctor.main)
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[:2] for line in ended.out.splitlines() if line.strip()] == [
        ["ok", "python"],
        ["note", "torch"],
    ]
    assert looked == [store.root]
    assert json.loads(call(doctor.main, "--json").out) == [each._asdict() for each in (GOOD, NOTE)]
    assert list(here.iterdir()) == [] and not store.root.exists()


def test_what_is_wrong_is_exit_code_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "doctor", lambda store: (GOOD, WRONG))
    ended = call(doctor.main)
    assert ended.code == 2 and "full [of files]" in ended.out and "Remove some." in ended.out
    ended = call(doctor.main, "--json")
    assert ended.code == 2 and json.loads(ended.out)[1]["ok"] is False


def test_the_store_of_the_overrides_is_looked_at(call: Call, looked: list[Path], tmp_path: Path) -> None:
    assert call(doctor.main, f"store={tmp_path}/other", "-m", "alignment=max_corr,hungarian").code == 0
    assert looked == [tmp_path / "other"]


def test_nodes_are_asked_as_the_launcher_says(
    call: Call, probed: list[tuple[Path, Launcher]], store: Store
) -> None:
    ended = call(doctor.main, "--job")
    assert ended.code == 0 and "n1 sees it" in ended.out
    chosen = ("hydra/launcher=slurm", "hydra.launcher.latents.gpus=2")
    assert call(doctor.main, "-m", *chosen, "--job").code == 0
    (_, usual), (root, launcher) = probed
    assert root == store.root
    assert usual.resources("scores").memory_gb == 12  # of hydra/launcher=slurm
    assert launcher.resources("latents").gpus == 2


def test_nodes_are_not_asked_unless_it_is_told_to(call: Call, probed: list[tuple[Path, Launcher]]) -> None:
    assert call(doctor.main, "-m", "hydra/launcher=slurm").code == 0
    assert probed == []


def test_a_site_may_have_a_launcher_of_its_own(
    call: Call, probed: list[tuple[Path, Launcher]], here: Path
) -> None:
    folder = here / "site" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "ours.yaml").write_text(
        "# @package hydra.launcher\ndefaults: [slurm]\ndefault: {partition: gpu}\n"
    )
    assert call(doctor.main, "--config-dir", "site", "hydra/launcher=ours", "--job").code == 0
    assert probed[0][1].resources("tokens").partition == "gpu"


def test_a_launcher_without_jobs_has_no_nodes_to_ask(call: Call, probed: list[tuple[Path, Launcher]]) -> None:
    ended = call(doctor.main, "--job", "hydra/launcher=local")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("--job: expected a launcher that submits jobs, got one that does not. Choose")
    assert probed == []


def test_without_slurm_no_job_is_submitted(
    call: Call, probed: list[tuple[Path, Launcher]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "available", lambda: "expected SLURM's programs, found no sbatch.")
    ended = call(doctor.main, "--job", "--json")
    assert (ended.code, ended.err, probed) == (2, "", [])
    assert json.loads(ended.out)[-1] == {
        "name": "job",
        "ok": False,
        "said": "none was submitted: expected SLURM's programs, found no sbatch.",
        "remedy": "",
    }


def test_a_store_that_cannot_be_written_to_is_said(
    call: Call, probed: list[tuple[Path, Launcher]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path, launcher: Launcher) -> tuple[Check, ...]:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(doctor, "probe", refuse)
    ended = call(doctor.main, "--job")
    assert ended.code == 2 and "Permission denied" in ended.out and "store=..." in ended.out
