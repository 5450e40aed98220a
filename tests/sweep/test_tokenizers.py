"""Two models with different tokenizers: token sets that are named by both and made together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.preflight import preflight
from saeuniv.stages.aligned import MakeAlignedTokens
from saeuniv.stages.serial import read_task, task_json
from saeuniv.stages.text import MakeTokens
from saeuniv.sweep.fetching import fetches
from saeuniv.sweep.plan import Plan, Request, plan
from tests.fake_hub import serving
from tests.test_preflight import write_model, write_text

TRAINED = ("sae=train", "width=64", "control=none", "data.held_out=0.3", "tracking=off")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models one, copy (the tokenizer of one, saved otherwise) and other, and a text."""
    for name in ("one", "copy", "other"):
        write_model(tmp_path / name)
    described = json.loads((tmp_path / "one/tokenizer.json").read_text())
    (tmp_path / "copy/tokenizer.json").write_text(json.dumps({**described, "truncation": None}, indent=1))
    described["model"]["vocab"] = {"b": 0}
    (tmp_path / "other/tokenizer.json").write_text(json.dumps(described))
    write_text(tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def make_plan(folder: Path) -> Callable[..., Plan]:
    """The plan of several pairs of models on the text."""

    def make(*pairs: tuple[str, str], more: tuple[str, ...] = ()) -> Plan:
        requests: list[Request] = []
        for a, b in pairs:
            models = ("a=local", f"a.path={a}", "b=local", f"b.path={b}")
            checked = preflight([*models, "data=text", "data.path=text", *TRAINED, *more])
            assert checked.faults == ()
            requests.append(Request(checked.cells, folder / f"{a}-{b}", "", "s"))
        work = plan(requests)
        assert work.refused == ()
        return work

    return make


def _aligned(work: Plan) -> list[MakeAlignedTokens]:
    return [task for task in work.tasks if isinstance(task, MakeAlignedTokens)]


def _held_out(work: Plan) -> list[tuple[str, ...]]:
    return [tuple(each.path for each in report.tokens) for report in work.reports]


def test_equal_vocabularies_share_their_tokens_whatever_their_files_say_besides(make_plan) -> None:
    work = make_plan(("one", "copy"))
    assert _aligned(work) == []
    ((a, b),) = _held_out(work)
    assert a == b


def test_different_vocabularies_give_each_side_a_set_of_its_own_made_by_one_task(make_plan) -> None:
    work = make_plan(("one", "other"))
    (task,) = _aligned(work)
    ((a, b),) = _held_out(work)
    assert a != b and {each.path for each in task.outputs} == {a, b}
    assert {side.tokenizer.rpartition("/")[2] for side in task.sides} == {"one", "other"}
    by_set = {each.path: each.spec for each in task.outputs}
    assert by_set[a]["aligned_with"] == by_set[b]["tokenizer"] != by_set[a]["tokenizer"]
    assert read_task(task_json(task)) == task
    alone = [each for each in work.tasks if isinstance(each, MakeTokens)]
    assert len(alone) == 2 and all(each.training and not each.held_out for each in alone)
    assert {each.path for report in work.reports for each in report.inputs} >= {a, b}


def test_sides_exchanged_share_everything_and_a_set_of_ones_own_does_not_change(make_plan) -> None:
    work = make_plan(("one", "other"), ("other", "one"), ("one", "one"))
    assert len(_aligned(work)) == 1
    first, exchanged, alone = _held_out(work)
    assert first == exchanged[::-1]
    assert alone == _held_out(make_plan(("one", "copy")))[0]
    assert not {*alone} & {*first}
    # Latents are of each token set; dictionaries and models are not.
    assert sum(task.stage == "dictionaries" for task in work.tasks) == 2
    assert sum(task.stage == "latents" for task in work.tasks) == 3


def test_models_that_share_a_tokenizer_are_aligned_where_that_is_asked(make_plan) -> None:
    (task,) = _aligned(work := make_plan(("one", "copy"), more=("data.tokens=aligned",)))
    ((a, b),) = _held_out(work)
    assert a == b and len(task.outputs) == 1


def test_the_same_tokens_are_refused_to_different_tokenizers_before_anything_runs(folder: Path) -> None:
    models = ("a=local", "a.path=one", "b=local", "b.path=other")
    argv = [*models, "data=text", "data.path=text", *TRAINED, "data.tokens=same"]
    (fault,) = preflight(argv).faults
    assert fault.startswith("data.tokens=same: expected models that share a tokenizer, got one and other")
    assert "Choose data.tokens=aligned" in fault
    assert preflight([*argv[:3], "b.path=copy", *argv[4:]]).faults == ()


@pytest.mark.parametrize("packing", ["truncated", "concatenated"])
def test_packings_of_whole_documents_are_refused_to_different_tokenizers(folder: Path, packing: str) -> None:
    argv = ["a=local", "a.path=one", "b=local", "b.path=other", "data=text", "data.path=text", *TRAINED]
    (fault,) = preflight([*argv, f"data.packing={packing}"]).faults
    assert fault.startswith(f"data.packing={packing}: expected document for models with different tokenizers")
    (fault,) = preflight([f"data.packing={packing}", "data.tokens=aligned"]).faults
    assert fault.startswith(f"data.packing={packing}: expected document"), "of the embedded text too"
    # Dictionaries are trained on whole windows of the text, whatever is compared on.
    assert preflight([*argv[:3], "b.path=copy", *argv[4:], f"data.packing={packing}"]).faults == ()


def test_both_tokenizers_are_fetched_for_the_task_that_aligns_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch) as hub:
        for name in ("one", "other"):
            hub.add_folder(f"owner/{name}", folder / name, **{"tokenizer_config.json": b"{}"})
        models = ("a=hub", "a.name=owner/one", "b=hub", "b.name=owner/other")
        cells = preflight([*models, "data=text", "data.path=text", *TRAINED]).cells
        work = plan([Request(cells, folder / "c", "", "s")])
        found = fetches(_aligned(work))
        assert {each.repository for each in found} == {"owner/one", "owner/other"}
        assert all("model.safetensors" not in {file.name for file in each.files} for each in found)
