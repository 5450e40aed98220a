"""docs/extending.md, carried out on a copy: a metric is one file, one entry in a tuple, one YAML file."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECK = """
import numpy as np
from saeuniv.compare import CompareSettings, compare_latents
from saeuniv.config import Eligibility
from saeuniv.metrics import METRICS
from tests.synthetic import streams

metric = next(each for each in METRICS if each.name == "median_correlation")
data = streams(seed=0)
for b in (data.a, data.b):
    (found,) = compare_latents(
        data.a, b, groups=data.groups, documents=data.documents, positions_per_sequence=data.positions,
        settings=CompareSettings(metrics=(metric(),), eligibility=Eligibility(min_firings=5)),
    )
    print(round(found.value, 6), found.n_matches, found.reason)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with what the page says added."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("saeuniv", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", copy)
    page = (ROOT / "docs" / "extending.md").read_text()
    (python,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (copy / "saeuniv/metrics/median_correlation.py").write_text(python)
    (copy / "conf/metrics/median_correlation.yaml").write_text(yaml)
    registry = copy / "saeuniv/metrics/__init__.py"
    text = registry.read_text()
    added = "from saeuniv.metrics.median_correlation import MedianCorrelation\n"
    text = text.replace("from saeuniv.metrics.svcca", f"{added}from saeuniv.metrics.svcca")
    registry.write_text(text.replace("] = (\n", "] = (\n    MedianCorrelation,\n"))
    return copy


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_metric_of_the_page_has_its_known_answer(extended: Path) -> None:
    itself, unrelated = run(extended, "-c", CHECK).splitlines()
    assert itself == "1.0 30 not_requested;no_interval"
    assert abs(float(unrelated.split()[0])) < 0.1


def test_the_configuration_offers_it_and_preflight_accepts_its_options(extended: Path) -> None:
    chosen = ["metrics=[median_correlation]", "primary_metric=median_correlation"]
    said = run(extended, "launch.py", "--cfg", "job", *chosen, "metrics.median_correlation.condition=none")
    assert "median_correlation:\n    condition: none" in said
