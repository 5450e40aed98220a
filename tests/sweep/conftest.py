"""Plans of small cells, and a store filled as if they had been executed; nothing here imports torch."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from saeuniv.config import Cell
from saeuniv.preflight import preflight
from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.encode import Encode
from saeuniv.stages.latents import shard_cuts
from saeuniv.stages.text import MakeTokens
from saeuniv.stages.tokens import read_held_out
from saeuniv.store import Artifact, Store
from saeuniv.sweep import texts
from saeuniv.sweep.plan import Plan, Request, plan

BASE = ("a.n_layers=2", "b.n_layers=2", "width=64", "tracking=off")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, and a text whose fingerprint costs nothing."""
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("SAEUNIV_CONFIG_DIR", raising=False)
    monkeypatch.setattr(texts, "fingerprint", lambda data: "0" * 64)
    return Store(tmp_path / "store")


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a command line on two small models."""

    return lambda *argv: planned(tmp_path, *argv)


def planned(folder: Path, *argv: str) -> Plan:
    """The plan of a command line on two small models; comparisons are in `folder`."""
    by_name: dict[str, list[Cell]] = {}
    for cell in cells(*argv):
        by_name.setdefault(cell.comparison, []).append(cell)
    config = "# Replay: saeuniv \na: {}\n"
    return plan([Request(tuple(each), folder / name, config, "s") for name, each in by_name.items()])


def cells(*argv: str) -> tuple[Cell, ...]:
    """The cells of a command line on two small models."""
    flags = [each for each in argv if each == "-m"]
    checked = preflight([*flags, *BASE, *(each for each in argv if each != "-m")])
    assert checked.faults == ()
    return checked.cells


def pretend(work: Plan, store: Store) -> None:
    """Publish what the tasks of a plan would publish, with little in it."""
    for task in work.tasks:
        for output in _published(task, store):
            if not store.exists(output):
                with store.publish(output) as folder:
                    _write(folder, output)


def _published(task: object, store: Store) -> list[Artifact]:
    if isinstance(task, Encode):
        held_out = read_held_out(store, task.tokens)
        cuts = shard_cuts(held_out)
        return [replace(each, shard=shard) for each in task.outputs for shard in range(len(cuts))]
    if isinstance(task, ComparePairs):
        matches = [pair.matches for pair in task.pairs if pair.matches]
        nulls = [each for pair in task.pairs for _, each in pair.null_matches]
        return [*matches, *nulls, *task.outputs]
    if isinstance(task, MakeTokens):
        return [each for each in (task.training, task.held_out) if each]
    return list(getattr(task, "outputs", ()))


def _write(folder: Path, output: Artifact) -> None:
    (folder / "name.txt").write_text(output.path)
    if output.shard is not None:
        quality = {"rows": 10, "error": 1.0, "squares": 10.0, "width": 64}
        (folder / "quality.json").write_text(json.dumps(quality))
        save_file({"input_total": np.zeros(64)}, folder / "latents.safetensors")
    if output.spec.get("split") == "held_out":
        # Enough rows for two shards.
        documents = np.repeat(np.arange(10, dtype=np.int32), 60)
        ids, keep = np.zeros((600, 128), dtype=np.int32), np.ones((600, 128), dtype=bool)
        keep[:, :4] = False
        save_file({"ids": ids, "keep": keep, "documents": documents}, folder / "tokens.safetensors")
        (folder / "text.json").write_text(json.dumps({"sha256": "0" * 64, "rows": int(keep.sum())}))
