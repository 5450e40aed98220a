"""Tasks as JSON: what is read is what was written, and nothing but tasks is read."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest

from saeuniv.preflight import preflight
from saeuniv.stages.encode import EncodePart
from saeuniv.stages.fetch import Fetch, HubFile
from saeuniv.stages.serial import read_task, task_json
from saeuniv.stages.sweep import SummariseSweep
from saeuniv.stages.task import Task
from saeuniv.store import Artifact
from saeuniv.sweep import texts
from saeuniv.sweep.plan import Request, plan
from tests.sweep.conftest import planned
from tests.sweep.dummies import Dummy, dummy
from tests.test_preflight import write_dictionaries, write_model, write_text


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Task, ...]]:
    """The tasks of real plans: embedded models, and local ones with dictionaries and initial weights."""
    folder = tmp_path_factory.mktemp("plans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAEUNIV_STORE", str(folder / "store"))
        patch.setattr(texts, "fingerprint", lambda data: "0" * 64)
        embedded = planned(folder, "-m", "alignment=hungarian,max_corr", "layers.a=[0],[[0,1]]")
        model = write_model(folder / "model")
        saes = write_dictionaries(folder / "saes", range(4))
        write_text(folder / "text")
        local = preflight(
            [
                *("a=local", f"a.path={model}", "b=local", f"b.path={model}", "b.untrained=true"),
                *(
                    "a.weights=rerandomized",
                    "sae=local",
                    f"sae.path={saes}",
                    "width=published",
                    "layers.a=[0,2]",
                    "layers.b=[1]",
                ),
                *("data=text", f"data.path={folder / 'text'}", "tracking=off", "control=none"),
            ]
        )
        assert local.faults == ()
        between = preflight(
            [
                *("b=local", f"b.path={model}", "sae=train", "width=64", "data.tokens=aligned"),
                *("data=text", f"data.path={folder / 'text'}", "data.held_out=0.3", "allow_mixed=true"),
                *("tracking=off", "control=none", "layers.a=0", "layers.b=0", "resources.encode_tasks=2"),
            ]
        )
        assert between.faults == ()
        aligned = plan([Request(between.cells, folder / "d", "# Replay: saeuniv \na: {}\n", "s")])
        others = plan([Request(local.cells, folder / "c", "# Replay: saeuniv \na: {}\n", "s")])
    assert embedded.refused == others.refused == aligned.refused == ()
    store, fetched = folder / "store", (HubFile("config.json", 700), HubFile("model.safetensors", 10**9))
    yield (
        *(*embedded.tasks, *embedded.reports, *others.tasks, *others.reports, *aligned.tasks),
        Fetch(store, (), (), 1.0, repository="owner/name", revision="0" * 40, files=fetched),
        SummariseSweep(store, (), (), 1.0, folder=folder, comparisons=(folder / "c",), reports=("0" * 16,)),
    )


def taken_apart(value: Any) -> Any:
    """A value with the types of all its parts; Artifact's spec counts, which == leaves out."""
    if isinstance(value, dict):
        return {key: taken_apart(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return (type(value), [taken_apart(each) for each in value])
    if dataclasses.is_dataclass(value):
        fields = {each.name: taken_apart(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return (type(value), fields)
    return (type(value), value)


def test_a_task_of_every_class_is_read_as_it_was_written(tasks: tuple[Task, ...]) -> None:
    ours = {each for each in Task.__subclasses__() if each.__module__.startswith("saeuniv.")}
    assert {type(task) for task in tasks} == ours | {EncodePart}
    for task in tasks:
        again = read_task(task_json(task))
        assert again == task
        assert (again.key, again.stage, again.label) == (task.key, task.stage, task.label)
        assert taken_apart(again) == taken_apart(task.portable())


def test_everything_that_outputs_publish_is_written(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        again = read_task(task_json(task))
        for output, before in zip(again.outputs, task.outputs, strict=True):
            assert output.spec and (output.spec, output.parents) == (before.spec, before.parents)


def records(content: dict[str, Any], name: str) -> list[list[Any]]:
    """What is written of each object of a class."""
    numbers = [number for number, (each, *_) in enumerate(content["classes"]) if each == name]
    return [each for each in content["shared"] if isinstance(each, list) and each[0] in numbers]


def test_what_is_used_several_times_stands_once(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        text = task_json(task)
        written = json.loads(text)
        parts = [json.dumps(each) for each in written["shared"]]
        assert len(parts) == len(set(parts)), task
        # By key, shard and part.
        of_artifacts = records(written, "saeuniv.store.artifacts:Artifact")
        artifacts = [json.dumps([each[2], *each[5:]]) for each in of_artifacts]
        assert len(artifacts) == len(set(artifacts)) >= len({*task.inputs, *task.outputs})
        assert "\n" not in text
        assert (written["stage"], written["label"]) == (task.stage, task.label)


def test_a_row_of_four_layer_pairs_and_its_report_are_small(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(texts, "fingerprint", lambda data: "0" * 64)
    work = planned(tmp_path, "a.n_layers=4", "b.n_layers=4", "control=none")
    sizes = {task.stage: len(task_json(task)) for task in (*work.tasks, *work.reports)}
    (pairs,) = {len(task.outputs) for task in work.tasks if task.stage == "scores"}
    assert pairs == 4 * 7
    assert sizes["scores"] < 20_000
    assert sizes["report"] < 60_000
    assert max(sizes[each] for each in ("tokens", "models", "dictionaries", "latents")) < 6_000


class Colour(Enum):
    red = "red"


class Level(IntEnum):
    """A number, too."""

    high = 9


@dataclass(frozen=True)
class Odd(Dummy):
    """Fields named like the keys of the format, values that compare equal, and what other tasks lack."""

    path: str = "a path that is text"
    ref: int = 0
    dict: bool = False
    enum: float = 0.0
    tuple: object = ()


def written(task: Task) -> dict[str, Any]:
    return json.loads(task_json(task))


def odd(**fields: Any) -> Odd:
    return Odd(Path("store"), (), (), 1.0, name="odd", **fields)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's tasks may be read."""
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", f"no.such,{__name__},tests.sweep.dummies")


@pytest.mark.usefixtures("own")
def test_fields_may_be_named_like_the_keys_of_the_format_and_values_keep_their_types() -> None:
    values = (None, 1, 1.0, True, "1", -0.0, 1e-300, [1, (2, [])], {"ref": 3, "b": {}}, Path("/x"), ())
    values += (Colour.red, Level.high, HubFile("name", 5), (HubFile("name", 5),), [Colour.red])
    task = odd(ref=7, tuple=values)
    assert taken_apart(read_task(task_json(task))) == taken_apart(task)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), Colour, len])
def test_what_is_not_plain_is_not_written(value: object) -> None:
    with pytest.raises(TypeError, match="expected plain values in a task, got"):
        task_json(odd(tuple=value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("nan")], HubFile("x", float("nan"))])
def test_what_json_has_no_number_for_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        task_json(odd(tuple=value))


def test_a_class_of_another_package_is_read_only_where_its_module_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dummy(tmp_path, "a", "b")
    text = task_json(task)
    monkeypatch.delenv("SAEUNIV_TASK_MODULES", raising=False)
    with pytest.raises(ValueError, match=r"tests\.sweep\.dummies:Dummy: expected a class of saeuniv"):
        read_task(text)
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep")
    with pytest.raises(ValueError, match="expected a class of saeuniv"):
        read_task(text)
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep,tests.sweep.dummies")
    assert read_task(text) == task


def with_class(name: str) -> str:
    """A dummy whose class is said to be another."""
    content = written(dummy(Path("store"), "a"))
    (place,) = (n for n, each in enumerate(content["classes"]) if each[0].endswith(":Dummy"))
    content["classes"][place][0] = name
    return json.dumps(content)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os:system", "expected a class of saeuniv, got one of os"),
        ("builtins:eval", "expected a class of saeuniv"),
        ("saeuniv_evil.x:Dummy", "expected a class of saeuniv"),
        ("saeuniv.stages.serial:json.loads", "expected a class of this version of saeuniv, found none"),
        ("saeuniv.stages.nowhere:Dummy", "expected a class of this version of saeuniv, found none"),
        ("saeuniv.stages.text:Nothing", "expected a class of this version of saeuniv, found none"),
        ("saeuniv.stages.serial:os", "expected a dataclass, a named tuple or an enumeration"),
        ("saeuniv.stages.serial:read_task", "expected a dataclass, a named tuple or an enumeration"),
        ("saeuniv.sweep.slurm:QueueError", "expected a dataclass, a named tuple or an enumeration"),
        ("saeuniv.stages.text:MakeTokens", "does not fit"),
    ],
)
def test_only_records_of_saeuniv_are_made(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    with pytest.raises(ValueError, match=said):
        read_task(with_class(name))


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", "3", "null", '"task"', '{"format"', '{"task": {}}'])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a task as JSON, got something else"):
        read_task(text)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused_with_what_to_do(number: object) -> None:
    content = written(dummy(Path("store"), "a")) | {"format": number}
    with pytest.raises(ValueError, match=r"format 1, got .* Emit it again with this version of saeuniv\."):
        read_task(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"ref": 99}},
        {"task": {"ref": "1"}},
        {"task": {"unknown": 1}},
        {"task": 3},
        {"task": None},
        {"task": {"path": "x"}},
        {"task": {"ref": 0}, "shared": [[0]]},
        {"task": {"ref": 0}, "shared": [[0, 1, 2, 3]]},
        {"task": {"ref": 0}, "shared": [[]]},
        {"task": {"ref": 0}, "shared": [[99]]},
        {"task": {"ref": 0}, "shared": [{"enum": "saeuniv.store.artifacts:Kind", "name": "nothing"}]},
        {"task": {"ref": 0}, "shared": [{"enum": "saeuniv.store.artifacts:Kind", "name": "scores"}]},
        {"shared": None},
        {"classes": None},
        {"classes": [["saeuniv.store.artifacts:Artifact", "nothing"]]},
    ],
)
def test_a_task_that_does_not_fit_together_is_refused(
    change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    content = written(dummy(Path("store"), "a"))
    assert read_task(json.dumps(content)).label == "a"
    with pytest.raises(ValueError, match=r"expected (a task|a part|a dataclass|\d fields)[ ,]"):
        read_task(json.dumps(content | change))


def test_a_field_that_is_missing_or_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEUNIV_TASK_MODULES", "tests.sweep.dummies")
    text = task_json(dummy(Path("store"), "a"))
    with pytest.raises(ValueError, match=r"does not fit .*'end_of_all'.* Emit it again with this version\."):
        read_task(text.replace('"end"', '"end_of_all"'))


def test_an_artifact_alone_is_no_task(tasks: tuple[Task, ...]) -> None:
    content = written(tasks[0])
    number = content["shared"].index(records(content, "saeuniv.store.artifacts:Artifact")[0])
    with pytest.raises(ValueError, match=f"expected a task, got {Artifact.__name__}"):
        read_task(json.dumps(content | {"task": {"ref": number}}))
