"""An installed wheel works where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, built from the source distribution; dependencies are ours."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    options = ["--no-deps", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run([*install, *options], capture_output=True, text=True, check=True, timeout=120)
    return target


def run(installed: Path, here: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # The tests' own folder is on no path here; what is installed comes before an editable installation.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAEUNIV")}
    environment |= {"PYTHONPATH": str(installed), "SAEUNIV_STORE": str(here / "store")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_wheel_holds_every_option_and_both_packages(installed: Path) -> None:
    ours = {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    theirs = installed / "saeuniv" / "conf"
    assert {path.relative_to(theirs).as_posix() for path in theirs.rglob("*.yaml")} == ours
    assert (installed / "hydra_plugins" / "saeuniv_launcher" / "sweeper.py").is_file()
    for file in ("report/published/tables.json", "tracking/layer_heatmap.vl.json"):
        assert (installed / "saeuniv" / file).read_bytes() == (ROOT / "saeuniv" / file).read_bytes()
    (wheel,) = (installed.parent / "dist").glob("*.whl")
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"saeuniv", "hydra_plugins"}


def test_the_installed_program_works_from_an_unrelated_folder(installed: Path, tmp_path: Path) -> None:
    program = str(installed / "bin" / "saeuniv")
    shown = run(installed, tmp_path, program, "--cfg", "job", "a=tiny_s2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "seed: 2" in shown.stdout
    helped = run(installed, tmp_path, program, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "alignment" in helped.stdout
    wrong = run(installed, tmp_path, program, "-m", "alignment=hungrian,max_corr")
    assert wrong.returncode == 2
    assert "did you mean hungarian?" in wrong.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_and_plugins_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "from saeuniv.config.registry import CONF_DIR\n"
        "import hydra_plugins.saeuniv_launcher.sweeper as plugin\n"
        "import saeuniv\nprint(saeuniv.__file__, CONF_DIR, plugin.__file__, sep='\\n')"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(installed) for line in done.stdout.splitlines())
