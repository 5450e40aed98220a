"""What a plan loads from hubs: each commit once, only the files its tasks open, said in GB before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saeuniv.adapters.offline import OFFLINE
from saeuniv.config import ConfigError
from saeuniv.preflight import preflight
from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.fetch import Fetch
from saeuniv.stages.models import Rerandomize, TakeInitialWeights
from saeuniv.stages.text import MakeTokens
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.fetching import announce, fetches
from saeuniv.sweep.plan import Plan, Request, plan
from tests.fake_hub import FakeHub, serving
from tests.test_preflight import TEXT, safetensors, write_dictionaries, write_model, write_text

SMALL = {"config.json", "tokenizer.json", "tokenizer_config.json"}
SAES = ("sae=hub", "sae.name=owner/saes", "width=published", "layers.a=[0,2]", "layers.b=[1]", "control=none")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Two models with pickles beside their weights, and the dictionaries of four layers."""
    with serving(tmp_path, monkeypatch) as running:
        for name, size in (("a", 1000), ("b", 2000)):
            weights = safetensors(w=(size,))
            extra = {
                "pytorch_model.bin": b"p" * 10**6,
                "tokenizer_config.json": f'{{"n": "{name}"}}'.encode(),
            }
            folder = write_model(tmp_path / name)
            running.add_folder(f"owner/{name}", folder, **{**extra, "model.safetensors": weights})
        made = write_dictionaries(tmp_path / "saes", range(4))
        running.add_folder("owner/saes", made, *(made / f"layers.{layer}" for layer in range(4)))
        yield running


@pytest.fixture
def make_plan(tmp_path):
    """The plan of a command line on the two models of the hub."""
    write_text(tmp_path / "text")

    def make(*argv: str) -> Plan:
        models = ("a=hub", "a.name=owner/a", "b=hub", "b.name=owner/b")
        text = ("data=text", f"data.path={tmp_path / 'text'}")
        chosen = () if "data=hub" in argv else text
        checked = preflight([*models, *chosen, "tracking=off", *argv])
        assert checked.faults == ()
        work = plan([Request(checked.cells, tmp_path / "c", "# Replay: saeuniv \na: {}\n", "s")])
        assert work.refused == ()
        return work

    return make


def _files(found: tuple[Fetch, ...]) -> dict[str, set[str]]:
    return {each.repository: {file.name for file in each.files} for each in found}


def _fetch(found: tuple[Fetch, ...]) -> None:
    for each in found:
        each(lambda done, total: None)


def test_models_and_the_layers_asked_for_are_fetched_once_and_then_nothing(hub: FakeHub, make_plan):
    work = make_plan(*SAES)
    commits = {name: branches["main"] for name, branches in hub.branches.items()}
    found = fetches(work.tasks)
    assert {each.repository: each.revision for each in found} == commits
    names = ("cfg.json", "sae.safetensors")
    assert _files(found) == {
        "owner/a": SMALL | {"model.safetensors"},
        "owner/b": SMALL | {"model.safetensors"},
        "owner/saes": {f"layers.{layer}/{name}" for layer in (0, 1, 2) for name in names},
    }
    hub.add("owner/a", {"config.json": b"later"})
    hub.requests.clear()
    _fetch(found)
    assert all(each.is_done() for each in found)
    assert not [each for each in hub.requests if ".bin" in each or "layers.3" in each]
    assert {each.split()[2] for each in hub.requests} <= set(commits.values())
    hub.requests.clear()
    assert fetches(make_plan(*SAES).tasks) == found
    assert hub.requests == []


def test_it_is_said_how_much_is_to_be_fetched_and_how_much_is_there(hub: FakeHub, make_plan):
    found = fetches(make_plan(*SAES).tasks)
    every = [file for each in found for file in each.files]
    read = {"cfg.json", "config.json", "tokenizer.json"}
    there = [file for file in every if file.name.rpartition("/")[2] in read]
    cached, total = sum(file.n_bytes for file in there), sum(file.n_bytes for file in every)
    assert (len(there), len(every)) == (7, 14)
    assert announce(found) == (
        f"3 repositories, 7 files, {bytes_text(total - cached)} to fetch ({bytes_text(cached)} cached)"
    )
    _fetch(found[:2])
    assert announce(found).startswith("1 repository, 2 files, ")
    _fetch(found)
    assert announce(found) == f"nothing to fetch ({bytes_text(total)} cached)"
    assert announce(()) == "nothing comes from hubs"


def test_an_untrained_model_is_fetched_without_weights(hub: FakeHub, make_plan):
    work = make_plan("a.untrained=true", "sae=train", "width=64", "control=none", "data.held_out=0.3")
    assert any(isinstance(task, TakeInitialWeights) for task in work.tasks)
    assert _files(fetches(work.tasks)) == {"owner/a": SMALL, "owner/b": SMALL | {"model.safetensors"}}


def test_a_model_is_drawn_anew_from_weights_that_are_fetched(hub: FakeHub, make_plan):
    asked = ("sae=train", "width=64", "control=rerandomized", "data.held_out=0.3")
    redrawn = [task for task in make_plan(*asked).tasks if isinstance(task, Rerandomize)]
    assert {task.label for task in redrawn} == {"a_rerandomized", "b_rerandomized"}
    weights = SMALL | {"model.safetensors"}
    assert _files(fetches(redrawn)) == {"owner/a": weights, "owner/b": weights}


def test_a_step_that_a_repository_lacks_is_known_before_anything_runs(hub: FakeHub, tmp_path):
    write_text(tmp_path / "text")
    models = ("a=hub", "a.name=owner/a", "b=hub", "b.name=owner/b", "sae=train", "width=64")
    text = ("data=text", f"data.path={tmp_path / 'text'}", "data.held_out=0.3", "tracking=off")
    assert preflight([*models, *text, "control=untrained"]).faults == ()
    found = preflight([*models, *text, "control=step0"]).faults
    assert len(found) == 2 and all("step0" in fault and "owner/" in fault for fault in found)


def test_only_what_the_tasks_open_is_fetched(hub: FakeHub, make_plan):
    work = make_plan(*SAES)
    compared = [task for task in work.tasks if isinstance(task, ComparePairs)]
    assert _files(fetches(compared)).keys() == {"owner/saes"}, "latents are there: no model is loaded"
    tokens = [task for task in work.tasks if isinstance(task, MakeTokens)]
    assert _files(fetches(tokens)) == {"owner/a": SMALL}
    assert fetches(()) == ()


def test_embedded_models_need_no_hub(hub: FakeHub, tmp_path):
    cells = preflight(["tracking=off"]).cells
    work = plan([Request(cells, tmp_path / "c", "# Replay: saeuniv \na: {}\n", "s")])
    assert work.tasks and fetches(work.tasks) == () and hub.requests == []


def test_the_files_of_a_data_set_are_fetched_with_the_models(hub: FakeHub, make_plan):
    files = {f"train-{n}.jsonl": f'{{"text": "{n} {TEXT}"}}\n'.encode() * 2 for n in range(3)}
    commit = hub.add("datasets/owner/texts", files)
    hub.add("datasets/owner/texts", {})
    work = make_plan(
        *SAES, "data=hub", "data.name=owner/texts", f"data.revision={commit}", "data.max_files=2"
    )
    found = fetches(work.tasks)
    wanted = {"train-0.jsonl", "train-1.jsonl"}
    assert _files(found)["datasets/owner/texts"] == wanted
    assert announce(found).startswith("4 repositories, ")
    hub.requests.clear()
    _fetch(found)
    assert {f"{commit} {name}" for name in wanted} <= set(hub.fetched())
    again = make_plan(
        *SAES, "data=hub", "data.name=owner/texts", f"data.revision={commit}", "data.max_files=2"
    )
    assert announce(fetches(again.tasks)).startswith("nothing to fetch") and hub.requests == []


def test_every_repository_that_cannot_be_had_is_named_at_once(hub: FakeHub, make_plan, monkeypatch):
    from huggingface_hub import constants

    from saeuniv.adapters import hub as module

    work = make_plan(*SAES)
    module._listing.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as error:
        fetches(work.tasks)
    assert {fault.split(":")[0] for fault in error.value.faults} == {"owner/a", "owner/b", "owner/saes"}


def test_a_gated_repository_is_a_fault_of_the_command(hub: FakeHub, tmp_path: Path):
    hub.gated |= {"owner/a", "owner/saes"}
    models = ("a=hub", "a.name=owner/a", "b=hub", "b.name=owner/b")
    write_text(tmp_path / "text")
    faults = preflight([*models, "data=text", f"data.path={tmp_path / 'text'}", *SAES]).faults
    assert any(fault.startswith("a.name=owner/a: owner/a is gated") for fault in faults)
    assert any("owner/saes is gated" in fault for fault in faults)


def test_the_environment_of_jobs_keeps_the_client_offline():
    code = "from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **OFFLINE}, capture_output=True)
    assert ran.stdout.strip() == b"True"
