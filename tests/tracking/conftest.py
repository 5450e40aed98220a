"""W&B runs read back from disk, and an environment without anybody's W&B settings."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from saeuniv.results import Results, write_results
from tests.tracking.reading import records


class OfflineRun(NamedTuple):
    """What an offline run holds, from its .wandb file alone."""

    run: dict
    config: dict
    history: dict
    table: dict
    artifacts: dict[str, set[str]]
    exit_code: int


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """An empty home, and no W&B variable of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def results(make_results) -> Results:
    """Two metrics on a 2 x 3 grid; one value is undefined."""

    def entry(metric: str, i: int, j: int) -> float | None:
        return None if (metric, i, j) == ("cka", 1, 2) else 1 / 3 + 0.1 * i - j / 7

    return make_results(entry, 2, 3, ("partial_correlation", "cka"), control=0.1)


def _pictures(results: Results, folder: Path) -> None:
    for shade, metric in enumerate(results.metrics):
        Image.new("RGB", (2, 2), (shade, 0, 0)).save(folder / f"heatmap_{metric}.png")


@pytest.fixture
def draw() -> Callable[[Results, Path], None]:
    """Pictures where heatmaps would be; small ones."""
    return _pictures


@pytest.fixture
def folder(tmp_path, results) -> Path:
    """The results folder of a comparison."""
    return write_results(
        tmp_path / "comparison",
        rows=results.rows,
        null_rows=results.null_rows,
        layers_a=results.layers_a,
        layers_b=results.layers_b,
        summary={},
        config=results.config,
        status={"state": "done"},
        figures=_pictures,
    )


@pytest.fixture
def read_back() -> Callable[[Path], OfflineRun]:
    """Reads an offline run with `wandb leet inspect`, W&B's own reader."""

    def read(folder: Path) -> OfflineRun:
        of_type = records(folder)
        history = {key: value for each in of_type["history"] for key, value in each["item"].items()}
        contents = {
            each["name"]: {entry["path"] for entry in each["manifest"]["contents"]}
            for each in of_type["artifact"]
        }
        return OfflineRun(
            run=of_type["run"][0],
            config=of_type["run"][0].get("config", {}).get("update", {}),
            history=history,
            table=json.loads((folder / "files" / history["layer_pairs.path"]).read_text()),
            artifacts=contents,
            exit_code=of_type["exit"][0]["exit_code"],
        )

    return read
