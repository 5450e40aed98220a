"""A W&B Report of two sweeps beside each other: a run set for each.

Unlike a view, a report cannot be made without the server: the library asks it for the projects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saeuniv.tracking.service import faults_in_words, library, runs_where

ASKED_BY = "saeuniv compare --wandb"

# The most characters that the library takes in a title.
_TITLE = 128


@dataclass(frozen=True)
class RunSet:
    """The runs of one sweep, or the one of a comparison in it."""

    entity: str
    project: str
    sweep: str
    comparison: str | None
    """The only run; None for all of the sweep."""

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.comparison or self.sweep

    @property
    def filters(self) -> str:
        """Which runs it has, in the library's language."""
        return runs_where(group=self.sweep, **({"displayName": self.comparison} if self.comparison else {}))


def save_report(sets: tuple[RunSet, RunSet], *, sentence: str, tables: str, metrics: Sequence[str]) -> str:
    """Save a report in the first sweep's project and return its address.

    `sentence` says what is compared, `tables` is Markdown. The panels below show both run sets: mean scores,
    the heatmaps of `metrics`, and what the runs' configurations differ in.

    Raises:
        ValueError: wandb-workspaces is not installed, or the server refuses or does not have a project.
    """
    report = library(ASKED_BY).reports
    one, other = sets
    heading = f"{one.name} and {other.name}"
    made: Any = report.Report(
        entity=one.entity,
        project=one.project,
        title=f"saeuniv {heading}"[:_TITLE],
        blocks=[
            report.H1(text=heading),
            report.P(text=sentence),
            report.MarkdownBlock(text=tables),
            _panels(sets, metrics),
        ],
        width="fluid",
    )
    with faults_in_words():
        made.save()
        return str(made.url)


def _panels(sets: tuple[RunSet, RunSet], metrics: Sequence[str]) -> Any:
    report = library(ASKED_BY).reports
    run_sets = [
        report.Runset(entity=each.entity, project=each.project, name=each.name, filters=each.filters)
        for each in sets
    ]
    images = [
        report.MediaBrowser(title=metric, media_keys=[f"heatmap/{metric}"], num_columns=2)
        for metric in metrics
    ]
    scores = report.BarPlot(title="mean over layer pairs", metrics=[f"score/{metric}" for metric in metrics])
    panels = [scores, *images, report.RunComparer(diff_only=True)]
    return report.PanelGrid(runsets=run_sets, panels=panels)
