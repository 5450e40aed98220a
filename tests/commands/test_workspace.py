"""`saeuniv workspace`: the view as JSON, the chart, and what is said where the library is not installed."""

import json
import sys
from pathlib import Path

import pytest

from saeuniv.commands import workspace
from saeuniv.config import ConfigError
from saeuniv.results import write_results
from saeuniv.tracking import workspace as views
from saeuniv.tracking.content import table_columns

_SNAPSHOT = Path(__file__).with_name("workspace.json")

# The library's own, met when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Pydantic V1:DeprecationWarning", "ignore:.*deprecated")


@pytest.fixture
def sweep(tmp_path, make_results, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    made = make_results(lambda metric, i, j: 0.5, 1, 1, ("cka", "partial_correlation"))
    folder = tmp_path / "multirun" / "swept"
    write_results(
        folder / "a-b-hungarian-0",
        rows=made.rows,
        null_rows=made.null_rows,
        layers_a=made.layers_a,
        layers_b=made.layers_b,
        summary={"sweep": "swept", "primary_metric": "partial_correlation"},
        config="tracking:\n  project: mine\n  entity: me\n",
        status={"state": "done"},
        figures=None,
    )
    return folder


def _without_ids(value):
    """The library draws an id for each panel anew."""
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key != "__id__"}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


def _printed(argv: list[str], capsys) -> dict:
    assert workspace.main(argv) == 0
    return json.loads(capsys.readouterr().out)


def test_the_view_is_the_one_that_was_agreed_on(sweep, capsys):
    found = _printed([str(sweep), "--dry-run", "--install-charts"], capsys)
    assert _without_ids(found) == json.loads(_SNAPSHOT.read_text())


def test_images_stand_where_the_chart_is_not_installed(sweep, capsys):
    argv = [str(sweep), "--dry-run"]
    without = json.dumps(_printed(argv, capsys))
    assert views.CHART not in without and "heatmap/cka" in without
    (sweep.parent / "wandb-charts.json").write_text('["me"]')
    assert f"me/{views.CHART}" in json.dumps(_printed(argv, capsys))
    assert views.CHART not in json.dumps(_printed([*argv, "--entity", "other"], capsys))


def test_the_chart_is_installed_once_and_remembered_for_the_entity(sweep, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    saved, installed = [], []
    monkeypatch.setattr(workspace, "save", lambda view: saved.append(view) or "https://wandb.ai/me/mine")
    monkeypatch.setattr(workspace, "install_chart", installed.append)
    assert workspace.main([str(sweep), "--install-charts"]) == workspace.main([str(sweep)]) == 0
    assert installed == ["me"]
    assert [view.has_chart for view in saved] == [True, True]
    assert capsys.readouterr().out.splitlines() == ["W&B: https://wandb.ai/me/mine"] * 2


def test_without_the_library_it_is_said_how_to_install_it(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=r'not installed\. Install it: pip install "saeuniv\[workspace\]"'):
        workspace.main([str(sweep), "--dry-run"])


def test_without_a_key_nothing_is_saved(sweep):
    with pytest.raises(ConfigError, match="expected an API key of W&B, found none"):
        workspace.main([str(sweep)])


def test_the_chart_has_one_facet_a_comparison_and_the_same_colours_everywhere():
    spec = views.spec()
    assert spec["facet"]["field"] == "${field:comparison}"
    color = spec["spec"]["encoding"]["color"]
    assert (color["scale"]["scheme"], color["scale"]["domain"]) == ("cividis", [0, 1])
    # Layers are labels: by name, layer 10 would stand before layer 2.
    assert spec["spec"]["encoding"]["x"]["sort"] is spec["spec"]["encoding"]["y"]["sort"] is None
    assert {"comparison", "layer_a", "layer_b"} <= set(table_columns(()))
