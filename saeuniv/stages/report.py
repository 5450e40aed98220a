"""Results of one comparison: stored scores read, joined with the control, written, drawn and tracked."""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from saeuniv.config import Eligibility, Tracking, canonical_json, plain
from saeuniv.metrics import EVERYWHERE
from saeuniv.results import FORMAT_VERSION, Results, Row, is_written, write_results, write_status
from saeuniv.stages.described import Described
from saeuniv.stages.grid import grid_summaries
from saeuniv.stages.headline import headline
from saeuniv.stages.provenance import provenance
from saeuniv.stages.reported import ReportedScores, read_pair
from saeuniv.stages.rows import PairScores, missing_scores, null_rows, result_rows
from saeuniv.stages.task import Progress, Task
from saeuniv.stages.tokens import token_summary
from saeuniv.store import Artifact

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report(Task):
    """Writes results/ of a comparison, then its W&B run; the run never decides about the results.

    Scores that are not there, because their task failed or has not run, leave their rows empty: one
    failed layer pair does not suppress the report of the others.
    """

    stage: ClassVar[str] = "report"
    needs_all: ClassVar[bool] = False

    folder: Path
    described: Described
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    reported: tuple[ReportedScores, ...]
    primary_metric: str
    token_unit: str
    """What one token is, for sentences: byte or token."""

    untrained: tuple[str, ...]
    """The sides whose model is untrained."""

    control: str
    """How the counterparts of the control were made (`control.kind`); none, where there is none."""

    absent: tuple[tuple[str, str], ...]
    """Layers that layers.a=all or layers.b=all left out (`a 3`), and why."""

    max_fvu: tuple[float, float]
    """Of A and B; scores of dictionaries that leave more unexplained are refused, whenever they were made."""

    eligibility: Eligibility

    tokens: tuple[Artifact, ...]
    """The token sets of A and B."""

    made_from: tuple[Artifact, ...]
    """Everything the results rest on."""

    config: str
    tracking: Tracking
    sweep: str
    job_type: str
    """comparison or control"""

    compat: tuple[tuple[str, bool], ...] = ()
    """The switches of `compat` that are set."""

    @property
    def label(self) -> str:
        """The comparison."""
        return self.described.comparison

    @property
    def key(self) -> str:
        """16 hexadecimal digits that change with everything that is written, times and hosts aside.

        What scores contain is named by their paths. Never part of it: the guessed cost.
        """
        described = self.described
        named = {
            "format": [FORMAT_VERSION, importlib.metadata.version("saeuniv")],
            "folder": str(self.folder),
            "described": {**described._asdict(), "alignment": plain(described.alignment)},
            "layers": [self.layers_a, self.layers_b],
            "reported": [
                [each.layer_a, each.layer_b, each.metric.name, each.scores.path, _path(each.control)]
                for each in self.reported
            ],
            "primary_metric": self.primary_metric,
            "token_unit": self.token_unit,
            "untrained": self.untrained,
            "control": self.control,
            "absent": [list(each) for each in self.absent],
            "max_fvu": self.max_fvu,
            "eligibility": plain(self.eligibility),
            "made_from": sorted({each.path for each in (*self.tokens, *self.made_from)}),
            "config": self.config,
            "tracking": plain(self.tracking),
            "sweep": self.sweep,
            "job_type": self.job_type,
            "compat": self.compat,
        }
        return hashlib.sha256(canonical_json(named).encode()).hexdigest()[:16]

    def portable(self) -> "Report":
        """Artifacts by name: a report reads them, and their specs are in their manifests."""
        return dataclasses.replace(
            self,
            inputs=tuple(map(_name, self.inputs)),
            tokens=tuple(map(_name, self.tokens)),
            made_from=tuple(map(_name, self.made_from)),
            reported=tuple(
                dataclasses.replace(
                    each, scores=_name(each.scores), control=each.control and _name(each.control)
                )
                for each in self.reported
            ),
        )

    def is_done(self) -> bool:
        """True if this very report has written everything, and tracking did not fail."""
        return is_written(self.folder, self.key)

    def __call__(self, progress: Progress) -> None:
        """Read, join, write, draw, track.

        Raises:
            ValueError: if no score is there; status.json says so, and earlier results stay.
        """
        from saeuniv.stages.drawn import draw

        host, started = platform.node(), datetime.datetime.now(datetime.UTC).isoformat()
        pairs = [read_pair(self.store, each, self.max_fvu) for each in self.reported]
        missing = missing_scores(pairs)
        if not any(pair.scores for pair in pairs):
            write_status(self.folder, "failed", error=missing, host=host, started=started)
            raise ValueError(f"{self.label}: nothing to report. {missing}")
        rows = result_rows(pairs, self.described)
        progress(1, 3)
        grids = grid_summaries(pairs, confidence=self.described.confidence, seed=self.described.seed)
        state = {"state": "failed", "error": missing} if missing else {"state": "done"}
        summary = self._summary(rows) | self._provenance(pairs) | {"grid": grids}
        results = write_results(
            self.folder,
            rows=rows,
            null_rows=null_rows(pairs, self.described),
            layers_a=self.layers_a,
            layers_b=self.layers_b,
            summary=summary,
            config=self.config,
            status={**state, "host": host, "started": started},
            figures=lambda results, folder: draw(
                results, folder, self.store, self._untrained(results, pairs)
            ),
        )
        progress(2, 3)
        _log.info("report: %d rows written to %s", len(rows), results)
        is_tracked = self._track(results)
        if missing:
            _log.warning("%s: %s", self.label, missing)
        elif is_tracked:
            write_status(self.folder, "done", host=host, started=started, task=self.key)

    def _summary(self, rows: tuple[Row, ...]) -> dict[str, object]:
        both = [row for row in rows if row.direction == "both"]
        family = [row for row in both if row.metric == self.primary_metric]
        return {
            "comparison": self.described.comparison,
            "job_type": self.job_type,
            "sweep": self.sweep,
            "primary_metric": self.primary_metric,
            "token_unit": self.token_unit,
            "untrained": list(self.untrained),
            "control": self.control,
            "layers_left_out": dict(self.absent),
            "compat": dict(self.compat),
            "eligibility": dataclasses.asdict(self.eligibility),
            "family_size": sum(row.p_value is not None for row in family),
            "smallest_p": min((1 / (1 + row.null_draws) for row in family if row.null_draws), default=None),
            "headline": {
                metric: headline(both, metric, family=self._family(metric))
                for metric in dict.fromkeys(row.metric for row in both)
            },
            **token_summary(self.store, *self.tokens),
            "python": platform.python_version(),
            "saeuniv": importlib.metadata.version("saeuniv"),
        }

    def _family(self, metric: str) -> tuple[str, ...]:
        """The metrics that are one family of tests with this one, itself included."""
        families = {each.metric.name: each.metric.family for each in self.reported}
        return tuple(name for name, family in families.items() if family and family == families[metric])

    def _untrained(self, results: Results, pairs: list[PairScores]) -> Results | None:
        """The control, of the scores that the rows are joined with: its own results may come later."""
        alone = [pair._replace(scores=pair.control, control=None, has_control=False) for pair in pairs]
        if not any(pair.scores for pair in alone):
            return None
        return dataclasses.replace(results, rows=result_rows(alone, self.described), null_rows=())

    def _provenance(self, pairs: list[PairScores]) -> dict[str, object]:
        """What the rows rest on: a score that came too late, or is damaged, is no part of them."""
        read = list(zip(self.reported, pairs, strict=True))
        unread = {each.scores for each, pair in read if not pair.scores}
        return provenance(
            self.label,
            self.store,
            made_from=[each for each in self.made_from if each not in unread],
            joined=[each.control for each, pair in read if each.control and pair.control],
        )

    def _track(self, results: Path) -> bool:
        """Whether tracking did what was asked of it."""
        from saeuniv.tracking import track

        outcome = track(
            results,
            settings=self.tracking,
            sweep=self.sweep,
            comparison=self.described.comparison,
            job_type=self.job_type,
            metrics=EVERYWHERE,
        )
        if outcome.mode != "failed":  # which tracking has warned of itself
            _log.info("tracking: %s", outcome.message)
        return outcome.mode != "failed"


def _path(artifact: Artifact | None) -> str | None:
    return artifact.path if artifact else None


def _name(artifact: Artifact) -> Artifact:
    return dataclasses.replace(artifact, spec={}, parents=())
