"""A W&B Report of two sweeps beside each other: a run set for each.

Unlike a view, a report cannot be made without the server: the library asks it for the projects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saeuniv.tracking.service import faults_in_words, library, runs_where


@dataclass(frozen=True)
class RunSet:
    """The runs of one sweep."""

    entity: str
    project: str
    sweep: str


def save_report(sets: tuple[RunSet, RunSet], *, text: str, metrics: Sequence[str]) -> str:
    """Save a report in the first sweep's project and return its address.

    `text` is Markdown above the panels, which show both run sets: mean scores, the heatmaps of `metrics`,
    and what the runs' configurations differ in.

    Raises:
        ValueError: wandb-workspaces is not installed, or the server refuses or does not have a
            project.
    """
    report = library("saeuniv compare --wandb").reports
    one, other = sets
    made: Any = report.Report(
        entity=one.entity,
        project=one.project,
        title=f"saeuniv {one.sweep} and {other.sweep}"[:128],
        blocks=[report.MarkdownBlock(text=text), _panels(sets, metrics)],
        width="fluid",
    )
    with faults_in_words():
        made.save()
        return str(made.url)


def _panels(sets: tuple[RunSet, RunSet], metrics: Sequence[str]) -> Any:
    report = library("saeuniv compare --wandb").reports
    run_sets = [
        report.Runset(
            entity=each.entity,
            project=each.project,
            name=each.sweep,
            filters=runs_where(group=each.sweep),
        )
        for each in sets
    ]
    images = [
        report.MediaBrowser(title=metric, media_keys=[f"heatmap/{metric}"], num_columns=2)
        for metric in metrics
    ]
    scores = report.BarPlot(title="mean over layer pairs", metrics=[f"score/{metric}" for metric in metrics])
    panels = [scores, *images, report.RunComparer(diff_only=True)]
    return report.PanelGrid(runsets=run_sets, panels=panels)
