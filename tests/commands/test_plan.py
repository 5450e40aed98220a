"""`saeuniv plan`: what would be done, said and written down, with nothing done."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from saeuniv.adapters.downloads import HubFile
from saeuniv.commands import doctor, emitting, fetch, plan
from saeuniv.commands.task import read
from saeuniv.config import ConfigError
from saeuniv.stages.fetch import Fetch
from saeuniv.stages.task import STAGES
from saeuniv.store import Store
from saeuniv.sweep import plan as planning
from saeuniv.tracking import run_id
from tests.commands.conftest import Call, Ended
from tests.sweep.conftest import BASE, planned, pretend

SWEEP = ("-m", *BASE, "alignment=max_corr,hungarian")
KEYS = {
    *("sweep", "folder", "store", "layer_pairs", "layer_pairs_to_do", "cached", "comparisons", "refused"),
    *("expected", "wandb_runs", "tasks"),
}


def values(ended: Ended) -> dict:
    assert ended.code == 0, ended
    return json.loads(ended.out)


def filled(folder: Path, store: Store) -> None:
    """A store that holds whatever SWEEP needs."""
    pretend(planned(folder, "-m", "alignment=max_corr,hungarian"), store)


def test_a_plan_says_what_would_be_done_and_writes_nothing(call: Call, here: Path, store: Store) -> None:
    ended = call(plan.main, *SWEEP, "sweep.name=mine")
    assert (ended.code, ended.err) == (0, "")
    first, *lines = ended.out.splitlines()
    n_tasks = re.search(r"tasks to do (\d+)\.", first)
    assert n_tasks and int(n_tasks[1]) > 0
    assert first.startswith(
        "mine: comparisons 2, controls 2, layer pairs 16 (0 cached, 16 to do); artifacts cached 0, "
    )
    assert first.endswith(f"Store: {store.root}")
    assert sum(line.endswith(": 4 of 4 layer pairs to do; no W&B run") for line in lines) == 4
    assert re.search(rf"all\s+{n_tasks[1]} ", ended.out)
    assert list(here.iterdir()) == [] and not store.root.exists()


def test_the_plan_for_programs_has_everything(call: Call, here: Path, store: Store) -> None:
    found = values(call(plan.main, "--json", *SWEEP, "tracking=offline", "sweep.name=mine"))
    assert found.keys() == KEYS
    assert (found["sweep"], found["folder"]) == ("mine", str(here / "multirun" / "mine"))
    assert (found["store"], found["cached"], found["refused"]) == (str(store.root), 0, {})
    assert (found["layer_pairs"], found["layer_pairs_to_do"]) == (16, 16)
    assert [each["job_type"] for each in found["comparisons"]] == ["comparison", "control"] * 2
    assert all(
        each.keys() == {"name", "job_type", "layer_pairs", "layer_pairs_to_do", "done"}
        and (each["layer_pairs"], each["layer_pairs_to_do"], each["done"]) == (4, 4, False)
        for each in found["comparisons"]
    )
    names = [each["name"] for each in found["comparisons"]]
    assert found["wandb_runs"] == {name: run_id("saeuniv", "mine", name) for name in names}
    assert found["expected"]["tasks"] == len(found["tasks"])
    assert found["expected"]["stages"].keys() == {each["stage"] for each in found["tasks"]}
    assert all(each.keys() == {"key", "stage", "label"} for each in found["tasks"])


def test_what_the_store_holds_is_not_planned_again(
    call: Call, here: Path, store: Store, tmp_path: Path
) -> None:
    filled(tmp_path, store)
    ended = call(plan.main, *SWEEP)
    assert "layer pairs 16 (16 cached, 0 to do)" in ended.out and "tasks to do 0." in ended.out
    assert "expected work" not in ended.out
    assert ended.out.count(": to be reported; no W&B run") == 4
    found = values(call(plan.main, "--json", *SWEEP))
    assert (found["tasks"], found["expected"]["tasks"], found["layer_pairs_to_do"]) == ([], 0, 0)
    assert found["cached"] > 0


def test_a_comparison_is_done_once_its_very_report_is_written(
    call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, store)
    monkeypatch.setattr("saeuniv.stages.report.is_written", lambda folder, key: "hungarian" in folder.name)
    done = [each["done"] for each in values(call(plan.main, "--json", *SWEEP))["comparisons"]]
    assert done == [False, False, True, True]
    # One more metric has to be made for: nothing is done.
    shown = call(plan.main, *SWEEP, "layers.a=0", "alignment=hungarian,mutual_nn").out
    assert shown.count(": done; ") == 2 and shown.count(" layer pairs to do; ") == 2


def test_a_single_run_is_planned_under_the_name_it_will_have(call: Call, here: Path) -> None:
    found = values(call(plan.main, "--json", *BASE, "tracking=offline"))
    assert (found["sweep"], found["folder"]) == ("single", str(here / "multirun" / "single"))
    name = found["comparisons"][0]["name"]
    assert found["wandb_runs"][name] == run_id("saeuniv", "single", name)
    assert values(call(plan.main, "--json", *BASE, "sweep.name=mine"))["sweep"] == "mine"


# The folder and name that Hydra hands to the work, as launch.py calls it.
LAUNCHED = """
import json, sys, types
def run(requests, sweep):
    name = {each.sweep for each in requests}
    print(json.dumps([name.pop(), sorted(str(each.folder.absolute()) for each in requests)]))
    return 0
module = types.ModuleType("saeuniv.sweep.run")
module.run = run
sys.modules["saeuniv.sweep.run"] = module
from saeuniv.app import main
main()
"""


@pytest.mark.parametrize(
    "argv",
    [
        ("-m", "alignment=max_corr,hungarian", "resources.processes=1"),
        ("-m", "alignment=max_corr,hungarian", "hydra.sweep.dir=elsewhere/mine"),
        ("alignment=max_corr", "hydra.run.dir=elsewhere/single"),
    ],
)
def test_plans_and_runs_have_the_same_names_and_folders(
    argv: tuple[str, ...], call: Call, here: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LAUNCHED, *argv, *BASE]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, env={**os.environ})
    name, folders = json.loads(done.stdout.splitlines()[-1])
    emitted = tmp_path / "emitted"
    found = values(call(plan.main, "--json", "--emit", str(emitted), *BASE, *argv))
    assert found["sweep"] == name
    reports = [read(each)[0] for each in sorted(emitted.glob("*-report-*.json"))]
    assert folders == sorted(str(each.folder) for each in reports if each.job_type == "comparison")
    assert {each.sweep for each in reports} == {name}


def test_a_folder_made_from_other_keys_is_refused(call: Call) -> None:
    ended = call(plan.main, "-m", *BASE, "hydra.sweep.dir='out/${store}'")
    assert (ended.code, ended.out) == (2, "")
    assert "hydra.sweep.dir='out/${store}': expected a plain folder" in ended.err


def test_the_home_folder_may_be_written_as_a_tilde(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = call(plan.main, "a=local", "a.path=~/nowhere", "allow_mixed=true")
    assert ended.code == 2 and f"found nothing at {tmp_path}/nowhere" in ended.err


@pytest.mark.parametrize("command", [plan, fetch, doctor])
def test_all_faults_are_said_and_nothing_is_written(command, call: Call, here: Path, store: Store) -> None:
    emit = ("--emit", "tasks") if command is plan else ()
    ended = call(command.main, "-m", *emit, "+foo=1", "alignment=hungrian", "layers.a=9")
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert {line.split(":")[0] for line in lines} == {"alignment=hungrian", "+foo=1", "layers.a=9"}
    assert list(here.iterdir()) == [] and not store.root.exists()


@pytest.mark.parametrize("command", [plan, fetch, doctor])
@pytest.mark.parametrize("flag", ["--jsn", "--cfg", "--bogus=1", "--multi", "--job-"])
def test_an_unknown_flag_is_no_override(flag: str, command, call: Call, here: Path) -> None:
    ended = call(command.main, *BASE, flag)
    assert (ended.code, ended.out) == (2, "")
    name = command.__name__.rpartition(".")[2]
    assert f"saeuniv {name}: error: unrecognized arguments: {flag}" in ended.err
    assert f"usage: saeuniv {name} [-h] [-m] [-cd DIR] [-cn NAME]" in ended.err


def test_flags_may_stand_anywhere(call: Call) -> None:
    a, b, c, *rest = BASE
    orders = [("-m", *BASE, "--json"), (a, "--json", b, "-m", c, *rest), ("--json", *BASE, "--multirun")]
    found = [values(call(plan.main, *order)) for order in orders]
    assert found[0] == found[1] == found[2]


def test_a_folder_with_more_options_is_searched(call: Call, here: Path) -> None:
    (here / "site" / "experiment").mkdir(parents=True)
    preset = "# @package _global_\nwidth: 128\nsweep: {name: sited}\n"
    (here / "site" / "experiment" / "ours.yaml").write_text(preset)
    for flag in ("--config-dir", "-cd"):
        given = values(call(plan.main, "--json", "-m", flag, "site", "experiment=ours", *BASE[:2]))
        assert given["sweep"] == "sited"
    assert call(plan.main, "-m", "experiment=ours", *BASE[:2]).code == 2
    assert "expected a folder with options" in call(plan.main, "-cd", "nowhere", *BASE).err


def test_a_refused_comparison_is_said_and_is_no_success(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    unite = planning.unite

    def refuse(cells, sides):
        if cells[0].alignment.name == "max_corr":
            raise ConfigError("sae=x: [these] do not fit.")
        return unite(cells, sides)

    monkeypatch.setattr(planning, "unite", refuse)
    ended = call(plan.main, *SWEEP)
    assert ended.code == 1
    assert "comparisons 1, controls 1," in ended.out
    assert re.search(r"^refused: .*-max_corr-.*: sae=x: \[these\] do not fit\.$", ended.out, re.MULTILINE)
    (faults,) = json.loads(call(plan.main, "--json", *SWEEP).out)["refused"].values()
    assert faults == ["sae=x: [these] do not fit."]
    ended = call(fetch.main, *SWEEP)
    assert ended.code == 1 and "[these] do not fit" in ended.err


def test_a_plan_that_is_too_dear_says_so(call: Call) -> None:
    argv = (*SWEEP, "hydra/launcher=slurm", "hydra.launcher.default.gpus=2")
    said = "sweep.max_gpu_hours=0.001: it would be refused on SLURM, for"
    assert said in call(plan.main, *argv, "sweep.max_gpu_hours=0.001").out
    assert "refused" not in call(plan.main, *argv, "sweep.max_gpu_hours=1000").out


def test_of_many_comparisons_only_the_number_is_shown(call: Call) -> None:
    ended = call(plan.main, "-m", *BASE, "data.skip_first=2,3,4,5", "alignment=max_corr,hungarian")
    assert "16 comparisons and controls; --json lists them." in ended.out
    assert "no W&B run" not in ended.out


def emitted(call: Call, *argv: str) -> tuple[Path, list[dict]]:
    ended = call(plan.main, "--emit", "tasks", *argv)
    assert ended.code == 0, ended
    index = json.loads((Path("tasks") / emitting.INDEX).read_text())
    assert ended.err == f"{len(index)} tasks written to tasks; run each with `saeuniv task run FILE`.\n"
    return Path("tasks"), index


def test_every_emitted_task_can_be_read_and_comes_after_what_it_needs(call: Call, here: Path) -> None:
    folder, index = emitted(call, *SWEEP)
    assert {path.name for path in folder.iterdir()} == {each["file"] for each in index} | {emitting.INDEX}
    assert sorted(each["file"] for each in index) == [each["file"] for each in index]
    earlier: set[str] = set()
    makers: dict[str, str] = {}
    for each in index:
        task, stood = read(folder / each["file"])
        told = {"key": task.key, "stage": task.stage, "label": task.label, "needs_all": task.needs_all}
        assert {name: each[name] for name in told} == told
        assert stood == here
        assert set(each["needs"]) <= earlier and len(set(each["needs"])) == len(each["needs"])
        assert {makers[made.path] for made in task.inputs if made.path in makers} <= set(each["needs"])
        earlier.add(task.key)
        makers |= {made.path: task.key for made in task.outputs}
    stages = [each["stage"] for each in index]
    assert stages.count("report") == 4 and stages[-1] == "sweep"
    assert set(index[-1]["needs"]) == {each["key"] for each in index if each["stage"] == "report"}
    assert [STAGES.index(stage) for stage in stages] == sorted(STAGES.index(stage) for stage in stages)
    assert all(each["needs_all"] == (each["stage"] not in ("report", "sweep")) for each in index)


def test_what_comes_from_hubs_is_fetched_first(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (HubFile("config.json", 10),)
    wanted = Fetch(store.root, (), (), 1.0, "owner/a", "0" * 40, files)
    monkeypatch.setattr(emitting, "fetches", lambda tasks: (wanted,))
    monkeypatch.setattr(Fetch, "missing", lambda self: self.files)
    _, index = emitted(call, *BASE)
    assert [each["stage"] for each in index].count("fetch") == 1
    assert index[0] | {"needs": []} == index[0] and index[0]["key"] == wanted.key
    assert all(each["needs"][0] == wanted.key for each in index[1:])


def test_a_single_run_has_no_table_of_the_sweep(call: Call) -> None:
    _, index = emitted(call, *BASE)
    assert index[-1]["stage"] == "report"


def test_only_what_is_not_done_is_emitted(
    call: Call, here: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, store)
    _, index = emitted(call, *SWEEP, "sweep.name=mine")
    assert [(each["stage"], len(each["needs"])) for each in index] == [*[("report", 0)] * 4, ("sweep", 4)]
    monkeypatch.setattr("saeuniv.stages.report.is_written", lambda folder, key: True)
    read(Path("tasks") / index[-1]["file"])[0](lambda done, total: None)
    assert (here / "multirun" / "mine" / "sweep.csv").is_file()
    for path in Path("tasks").iterdir():
        path.unlink()
    assert emitted(call, *SWEEP, "sweep.name=mine")[1] == []


def test_tasks_of_an_earlier_plan_are_not_mixed_with_new_ones(call: Call, here: Path) -> None:
    (here / "tasks").mkdir()
    (here / "tasks" / "0000-tokens-0123456789abcdef.json").touch()
    for folder in ("tasks", "tasks/0000-tokens-0123456789abcdef.json"):
        ended = call(plan.main, "--emit", folder, *BASE)
        assert (ended.code, ended.out) == (2, "")
        assert f"argument --emit: {folder}: expected a new or an empty folder" in ended.err
    assert len(list((here / "tasks").iterdir())) == 1


def test_a_hub_that_cannot_be_asked_leaves_nothing_emitted(
    call: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(tasks):
        raise ConfigError("a.name=x: no network.", "b.name=y: no network.")

    monkeypatch.setattr(emitting, "fetches", unreachable)
    ended = call(plan.main, "--emit", "tasks", *BASE)
    assert (ended.code, ended.out, ended.err) == (2, "", "a.name=x: no network.\nb.name=y: no network.\n")
    assert list(here.iterdir()) == []
