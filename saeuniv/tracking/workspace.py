"""A saved view of a sweep in W&B: what is drawn of its runs, and the heatmap over layer pairs."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol, cast, runtime_checkable

from saeuniv.tracking.content import LAYER_PAIRS, PAIR_STEP
from saeuniv.tracking.service import faults_in_words, library, runs_where

CHART = "saeuniv_layer_heatmap"

_SPEC = "layer_heatmap.vl.json"
_MOST_RUNS = 100
_QUALITY = ("fvu_a", "fvu_b", "dead_fraction_a", "dead_fraction_b", "loss_recovered_a", "loss_recovered_b")
_AXES = ("model_a", "model_b", "sae_a", "d_sae_a", "alignment")


@runtime_checkable
class _Model(Protocol):
    def model_dump_json(self, *, by_alias: bool, exclude_none: bool) -> str: ...


class _Workspace(Protocol):
    """What is used of the library's class: it may not be installed where types are checked."""

    url: str

    def save(self) -> object: ...

    def _to_model(self) -> _Model: ...


@dataclass(frozen=True)
class View:
    """What a view is of."""

    entity: str
    project: str
    sweep: str
    metrics: tuple[str, ...]
    """The primary metric first."""

    has_chart: bool
    """Whether the heatmap over layer pairs is installed for the entity; images stand there either way."""


def spec() -> dict[str, object]:
    """The heatmap over layer pairs in Vega-Lite: a facet per comparison, colours from 0 to 1 everywhere."""
    return json.loads(files("saeuniv.tracking").joinpath(_SPEC).read_text(encoding="utf-8"))


def install_chart(entity: str) -> None:
    """Make the heatmap over layer pairs one of the entity's own charts; needs the server.

    Raises:
        ValueError: the server refuses.
    """
    import wandb

    with faults_in_words():
        wandb.Api().create_custom_chart(
            entity=entity, name=CHART, display_name=CHART, spec_type="vega2", access="private", spec=spec()
        )


def as_json(view: View) -> dict[str, object]:
    """The view as it would be saved; needs neither the server nor an API key.

    Raises:
        ValueError: where wandb-workspaces is not installed.
    """
    # The library has no public way to this; the extra pins its version.
    model = cast(_Workspace, _workspace(view))._to_model()  # pyright: ignore[reportPrivateUsage]
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))


def save(view: View) -> str:
    """Save the view and return its address; needs the server.

    Raises:
        ValueError: where wandb-workspaces is not installed, or the server refuses.
    """
    made = cast(_Workspace, _workspace(view))
    with faults_in_words():
        made.save()
        return made.url


def _workspace(view: View) -> object:
    found = library("saeuniv workspace")
    expr, workspaces = found.expr, found.workspaces
    first = f"score/{view.metrics[0]}"
    return workspaces.Workspace(
        entity=view.entity,
        project=view.project,
        name=f"saeuniv {view.sweep}",
        sections=[
            workspaces.Section(name=name, panels=shown, is_open=place < 2)
            for place, (name, shown) in enumerate(_sections(view).items())
        ],
        settings=workspaces.WorkspaceSettings(x_axis=PAIR_STEP, max_runs=_MOST_RUNS),
        runset_settings=workspaces.RunsetSettings(
            filters=runs_where(group=view.sweep),
            order=[workspaces.Ordering(expr.Summary(first), ascending=False)],
            pinned_columns=["run:displayName", f"summary:{first}"],
        ),
    )


def _sections(view: View) -> dict[str, list[object]]:
    panels = library("saeuniv workspace").reports

    first = view.metrics[0]
    scores = [f"score/{metric}" for metric in view.metrics]
    columns = [
        *(panels.ParallelCoordinatesPlotColumn(metric=panels.Config(axis)) for axis in _AXES),
        panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(f"score/{first}")),
    ]
    return {
        "Overview": [
            panels.BarPlot(title="mean over layer pairs", metrics=scores),
            panels.LinePlot(title=f"{first} by layer pair", x=PAIR_STEP, y=[f"pair/{first}"]),
        ],
        **{metric: _of_metric(metric, view) for metric in view.metrics},
        "Matches": [panels.MediaBrowser(title="matched blocks", media_keys=["contact_sheet"])],
        "Compare": [
            panels.RunComparer(diff_only=True),
            panels.ParallelCoordinatesPlot(columns=columns),
        ],
        "Quality": [panels.BarPlot(title=name, metrics=[f"quality/{name}"]) for name in _QUALITY],
    }


def _of_metric(metric: str, view: View) -> list[object]:
    panels = library("saeuniv workspace").reports

    chart = panels.CustomChart(
        query={"summaryTable": {"tableKey": LAYER_PAIRS}},
        chart_name=f"{view.entity}/{CHART}",
        chart_fields={
            "layer_a": "layer_a",
            "layer_b": "layer_b",
            "comparison": "comparison",
            "value": metric,
        },
        chart_strings={"title": metric},
    )
    compared = [f"{prefix}/{metric}" for prefix in ("score", "null", "calibrated")]
    return [
        *([chart] if view.has_chart else []),
        panels.MediaBrowser(title=metric, media_keys=[f"heatmap/{metric}"], num_columns=1),
        panels.BarPlot(title="score, null, calibrated", metrics=compared),
    ]
