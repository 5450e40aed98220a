"""Trainings that are killed go on where they were: the artifacts are those of a training that was not."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from saeuniv.adapters import training_state
from saeuniv.config import SaeTrainer, TinyModel, TinySae
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.models import TrainTinyModel
from saeuniv.stages.task import DictionaryReference, ModelReference, Task
from saeuniv.store import Artifact, Kind, Store, artifact

SPEC = TinyModel(seed=0, d_model=16, n_layers=2, context_length=16, steps=12, batch_sequences=4)
SAE = TinySae(n_tokens=12 * 4 * 16, batch_sequences=4, k=4)
N_STEPS = 12
TEXT = artifact(Kind.tokens, {"text": "noise"})
MODEL = artifact(Kind.models, {"seed": 0})
LAYERS = [artifact(Kind.dictionaries, {"layer": layer}) for layer in range(2)]
L1_LAYERS = [artifact(Kind.dictionaries, {"layer": layer, "trainer": "l1"}) for layer in range(2)]


def models_task(root: Path) -> Task:
    return TrainTinyModel(root, (TEXT,), (MODEL,), 1.0, SPEC, TEXT)


L1 = TinySae(trainer=SaeTrainer.l1, n_tokens=12 * 4 * 16, batch_sequences=4, warmup_steps=2)


def dictionaries_task(root: Path, sae: TinySae = SAE, made: Sequence[Artifact] = LAYERS) -> TrainDictionaries:
    model = ModelReference("m", "gpt_neox", 2, MODEL.key, MODEL, "", None)
    references = tuple(
        DictionaryReference(Hookpoint(HookpointKind.resid_post, layer), sae, 32, each.key, each, "")
        for layer, each in enumerate(made)
    )
    inputs, outputs = (TEXT, MODEL), tuple(made)
    return TrainDictionaries(root, inputs, outputs, 1.0, model, TEXT, sae, references, 3, 16)


def l1_task(root: Path) -> Task:
    return dictionaries_task(root, L1, L1_LAYERS)


class Whole(NamedTuple):
    """A store in which nothing was interrupted, and what its artifacts are."""

    store: Store
    digests: dict[str, str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("whole"))
    put_text(store)
    for task in (models_task(store.root), dictionaries_task(store.root), l1_task(store.root)):
        task(lambda _done, _of: None)
    assert not (store.root / "checkpoints").exists(), "a training of seconds writes no state"
    return Whole(store, digests(store))


@pytest.fixture
def store(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Holds the text; the state of a training is written at every step."""
    monkeypatch.setattr(training_state, "INTERVAL_S", 0.0)
    monkeypatch.setattr(training_state, "PAUSE_PER_WRITE", 0)
    store = Store(tmp_path / "store")
    put_text(store)
    return store


def put_text(store: Store) -> None:
    with store.publish(TEXT) as folder:
        stream = np.random.default_rng(0).integers(0, 257, 2000).astype(np.int32)
        save_file({"stream": stream}, folder / "tokens.safetensors")
        (folder / "text.json").write_text("{}")


def put_model(store: Store, whole: Whole) -> None:
    with store.publish(MODEL) as folder:
        for file in whole.store.folder(MODEL).iterdir():
            if file.name != "manifest.json":
                (folder / file.name).write_bytes(file.read_bytes())


def digests(store: Store) -> dict[str, str]:
    return {each.path: store.digest(each) for each in (MODEL, *LAYERS, *L1_LAYERS) if store.exists(each)}


def kept(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "checkpoints").glob("*/*"))


def steps(task: Task, last: int | None = None) -> list[int]:
    """The steps heard of, until the one at which the process is told to end."""
    heard: list[int] = []

    def progress(done: int, _of: int) -> None:
        heard.append(done)
        if done == last:
            raise SystemExit(1)

    if last is None:
        task(progress)
    else:
        with pytest.raises(SystemExit):
            task(progress)
    return heard


@pytest.mark.parametrize("make", [models_task, dictionaries_task, l1_task])
def test_what_was_interrupted_twice_is_published_as_if_it_had_not_been(
    make: Callable[[Path], Task], whole: Whole, store: Store
) -> None:
    if make is not models_task:
        put_model(store, whole)
    task = make(store.root)
    assert steps(task, last=3) == [1, 2, 3]
    assert not any(store.exists(output) for output in task.outputs)
    assert kept(store) == ["state.pt"]
    later = steps(make(store.root), last=N_STEPS)
    assert later[0] in (3, 4) and len(later) < N_STEPS - 1, "begun where it was"
    assert len(steps(make(store.root))) <= 1, "only the last step, if it was not done"
    assert {each.path: store.digest(each) for each in task.outputs}.items() <= whole.digests.items()
    assert list((store.root / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("make", [dictionaries_task, l1_task])
def test_dictionaries_killed_while_their_state_was_being_written_go_on(
    make: Callable[[Path], Task], whole: Whole, store: Store
) -> None:
    put_model(store, whole)
    task = make(store.root)
    file = store.root / "task"
    file.write_bytes(pickle.dumps(task))
    script = (
        "import os, pickle, signal, sys, torch\n"
        "from saeuniv.adapters import training_state\n"
        "torch.set_num_threads(1)\n"
        "training_state.INTERVAL_S = training_state.PAUSE_PER_WRITE = 0\n"
        "begun, sync = [], os.fsync\n"
        "def fsync(file):\n"
        "    if begun[-1] == 8:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    sync(file)\n"
        "os.fsync = fsync\n"
        "pickle.load(open(sys.argv[1], 'rb'))(lambda done, of: begun.append(done))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, file], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == -9
    left, state = kept(store)
    assert (left.endswith(".tmp"), state) == (True, "state.pt")
    # Eight steps were done when it was killed; the eighth was not yet in a state.
    assert steps(task) == [8, 9, 10, 11, 12]
    assert {each.path: store.digest(each) for each in task.outputs}.items() <= whole.digests.items()
    assert list((store.root / "checkpoints").iterdir()) == []


def test_where_other_dictionaries_are_missing_the_state_does_not_apply(
    whole: Whole, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    put_model(store, whole)
    steps(dictionaries_task(store.root), last=9)
    with store.publish(LAYERS[0]) as folder:
        (folder / "published").write_text("by another writer")
    assert steps(dictionaries_task(store.root)) == list(range(1, N_STEPS + 1))
    assert store.digest(LAYERS[1]) == whole.digests[LAYERS[1].path]
    assert not caplog.records, "nothing is wrong with it"
    assert list((store.root / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("make", [models_task, dictionaries_task, l1_task])
def test_a_damaged_state_is_named_and_the_training_starts_from_zero(
    make: Callable[[Path], Task], whole: Whole, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    if make is not models_task:
        put_model(store, whole)
    steps(make(store.root), last=9)
    (file,) = (store.root / "checkpoints").glob("*/state.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    task = make(store.root)
    assert steps(task) == list(range(1, N_STEPS + 1))
    assert f"{file} is not used: its bytes are not those that were written." in caplog.text
    assert {each.path: store.digest(each) for each in task.outputs}.items() <= whole.digests.items()


def test_dictionaries_are_trained_on_the_device_of_their_task(whole: Whole, store: Store) -> None:
    put_model(store, whole)
    task = replace(dictionaries_task(store.root), device="no_such")
    with pytest.raises(RuntimeError, match="no_such"):
        steps(task)
