"""`saeuniv compare --wandb` with a server: two run sets in a report, and files on disk whatever W&B says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.results import write_results
from tests.tracking.fake_server import COMMAND, SECRETS, FakeWandb, start

PROJECTS = ("project5", "project6")


@pytest.fixture
def write(tmp_path, results) -> Callable[..., Path]:
    """Results of a comparison in a sweep, which trained on so many tokens and has a project for them."""

    def make(sweep: str, n_tokens: int, *, entity: str | None = "me") -> Path:
        folder = tmp_path / "multirun" / sweep / f"a-b-{n_tokens}"
        write_results(
            folder,
            **{"rows": results.rows, "null_rows": results.null_rows},
            **{"layers_a": results.layers_a, "layers_b": results.layers_b},
            summary={"sweep": sweep, "job_type": "comparison", "comparison": folder.name},
            config=f"sae: {{n_tokens: {n_tokens}}}\n"
            f"tracking: {{project: project{n_tokens}, entity: {entity or 'null'}}}\n",
            status={"state": "done"},
            figures=None,
        )
        return folder

    return make


def compare(fake: FakeWandb, *arguments: object) -> tuple[int, list[str]]:
    """Exit code of the command, and what it said."""
    process = start(COMMAND, "compare", *arguments, "--wandb", url=fake.url)
    said = process.communicate(timeout=120)[0]
    return process.returncode, said.splitlines()


def blocks_of(view: dict) -> dict[str, dict]:
    """The blocks of a saved report by their types."""
    return {block["type"]: block for block in json.loads(view["spec"])["blocks"]}


def filters_of(run_set: dict) -> dict[str, str]:
    """The names and values that the runs have to have."""
    leaves = [each for each in run_set["filters"]["filters"] if "key" in each]
    assert {(each["op"], each["key"]["section"], each["disabled"]) for each in leaves} == {
        ("=", "run", False)
    }
    return {each["key"]["name"]: each["value"] for each in leaves}


def test_a_report_of_two_sweeps_has_a_run_set_of_each(write, tmp_path):
    one, other = write("few", 5).parent, write("it's k=2 <many>", 6).parent
    with FakeWandb(projects=PROJECTS) as fake:
        code, said = compare(fake, one, other, "--out", tmp_path / "out")
    assert code == 0, said
    assert said[-1].startswith(f"W&B: {fake.url}/me/project5/reports/saeuniv-few-and-")
    (view,) = fake.views
    assert (view["entityName"], view["projectName"]) == ("me", "project5")
    found = blocks_of(view)
    sets = found["panel-grid"]["metadata"]["runSets"]
    assert [each["name"] for each in sets] == ["few", "it's k=2 <many>"]
    assert [filters_of(each) for each in sets] == [{"group": "few"}, {"group": "it's k=2 <many>"}]
    assert [each["project"]["name"] for each in sets] == list(PROJECTS)
    assert [each["project"]["id"] for each in sets] == ["internal-project5", "internal-project6"]
    assert not any(secret.encode() in sent for secret in SECRETS for sent in fake.sent)


def test_the_report_says_what_is_compared_and_shows_every_metric(write, tmp_path):
    one, other = write("few", 5).parent, write("many", 6).parent
    with FakeWandb(projects=PROJECTS) as fake:
        code, said = compare(fake, one, other, "--out", tmp_path / "out")
    assert code == 0, said
    spec = json.loads(fake.views[0]["spec"])
    shown = [block for block in spec["blocks"] if block != {"type": "paragraph", "children": [{"text": ""}]}]
    assert [each["type"] for each in shown] == ["heading", "paragraph", "markdown-block", "panel-grid"]
    heading, sentence, tables, grid = shown
    assert heading["children"] == [{"text": "few and many"}]
    assert sentence["children"][0]["text"].endswith("the two differ in sae.n_tokens.")
    lines = tables["content"].splitlines()
    assert "| sae.n_tokens | 5 | 6 |" in lines
    for metric in ("partial_correlation", "cka"):
        (line,) = (line for line in lines if line.startswith(f"| {metric} |"))
        assert line.endswith("| .000 | no intervals |")
    panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
    assert [each["viewType"] for each in panels] == ["Bar Chart", *["Media Browser"] * 2, "Run Comparer"]
    assert panels[0]["config"]["metrics"] == ["score/partial_correlation", "score/cka"]
    assert [each["config"]["mediaKeys"] for each in panels[1:3]] == [
        ["heatmap/partial_correlation"],
        ["heatmap/cka"],
    ]
    assert panels[-1]["config"]["diffOnly"] is True


def test_two_comparisons_of_one_sweep_are_told_apart_by_their_names(write, tmp_path):
    one, other = write("both", 5), write("both", 6)
    with FakeWandb(projects=PROJECTS) as fake:
        code, said = compare(fake, one, other, "--out", tmp_path / "out")
    assert code == 0, said
    sets = blocks_of(fake.views[0])["panel-grid"]["metadata"]["runSets"]
    assert [each["name"] for each in sets] == ["a-b-5", "a-b-6"]
    assert [filters_of(each) for each in sets] == [
        {"group": "both", "displayName": "a-b-5"},
        {"group": "both", "displayName": "a-b-6"},
    ]


@pytest.mark.parametrize(("asked", "entity"), [((), "me"), (("--entity", "team"), "team")])
def test_the_entity_is_the_one_asked_for_or_the_api_keys_own(write, tmp_path, asked, entity):
    folders = [write("few", 5, entity=None), write("many", 6, entity=None)]
    with FakeWandb(projects=PROJECTS) as fake:
        code, said = compare(fake, *(each.parent for each in folders), "--out", tmp_path / "out", *asked)
    assert code == 0, said
    sets = blocks_of(fake.views[0])["panel-grid"]["metadata"]["runSets"]
    assert fake.views[0]["entityName"] == entity
    assert [each["project"]["entityName"] for each in sets] == [entity] * 2


@pytest.mark.parametrize(
    ("denied", "projects", "fault"),
    [
        (("upsertView",), PROJECTS, "403"),
        (("Viewer",), PROJECTS, "verify credentials"),
        ((), ("project5",), "project 'me/project6' not found"),
    ],
)
def test_what_w_and_b_refuses_is_said_in_one_line_after_the_files_are_written(
    write, tmp_path, denied, projects, fault
):
    one, other = write("few", 5).parent, write("many", 6).parent
    with FakeWandb(denied=denied, projects=projects) as fake:
        code, said = compare(fake, one, other, "--out", tmp_path / "out")
    assert code == 1 and fake.views == []
    assert said[-1].startswith("W&B: expected") and fault in said[-1], said
    assert ".. " not in said[-1] and "Traceback" not in "".join(said)
    assert {"differences.csv", "differences.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
