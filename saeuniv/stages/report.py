"""Results of one comparison: stored scores read, joined with the control, written, drawn and tracked."""

import dataclasses
import datetime
import importlib.metadata
import logging
import platform
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from saeuniv.config import Eligibility, Tracking
from saeuniv.metrics import MetricMethod
from saeuniv.numerics.statistics import benjamini_hochberg, benjamini_yekutieli
from saeuniv.results import Row, write_results
from saeuniv.stages.rows import Described, PairScores, null_rows, result_rows
from saeuniv.stages.scores import load_scores
from saeuniv.stages.task import Progress, Task
from saeuniv.stages.tokens import text_sha256
from saeuniv.store import Artifact, Kind, Store
from saeuniv.store.manifest import read_manifest

_log = logging.getLogger(__name__)

_FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class ReportedScores:
    """One metric of one layer pair, and that of the untrained counterparts."""

    layer_a: str
    layer_b: str
    metric: MetricMethod
    scores: Artifact
    control: Artifact | None


@dataclass(frozen=True)
class Report(Task):
    """Writes results/ of a comparison, then its W&B run; the run never decides about the results."""

    stage: ClassVar[str] = "report"

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

    eligibility: Eligibility

    tokens: Artifact
    made_from: tuple[Artifact, ...]
    """Everything the results rest on."""

    config: str
    tracking: Tracking
    sweep: str
    job_type: str
    """comparison or control"""

    @property
    def label(self) -> str:
        """The comparison."""
        return self.described.comparison

    def __call__(self, progress: Progress) -> None:
        """Read, join, write, draw, track."""
        from saeuniv.report.figures import heatmaps

        started = datetime.datetime.now(datetime.UTC)
        pairs = [self._read(each) for each in self.reported]
        rows = result_rows(pairs, self.described)
        progress(1, 3)
        results = write_results(
            self.folder,
            rows=rows,
            null_rows=null_rows(pairs, self.described),
            layers_a=self.layers_a,
            layers_b=self.layers_b,
            summary=self._summary(rows),
            config=self.config,
            status={"state": "done", "host": platform.node(), "started": started.isoformat()},
            figures=heatmaps,
        )
        progress(2, 3)
        _log.info("report: %d rows written to %s", len(rows), results)
        self._track(results)

    def _read(self, each: ReportedScores) -> PairScores:
        return PairScores(
            each.layer_a,
            each.layer_b,
            each.metric,
            load_scores(self.store.open(each.scores)),
            load_scores(self.store.open(each.control)) if each.control else None,
        )

    def _summary(self, rows: tuple[Row, ...]) -> dict[str, object]:
        both = [row for row in rows if row.direction == "both"]
        family = [row for row in both if row.metric == self.primary_metric]
        return {
            "comparison": self.described.comparison,
            "job_type": self.job_type,
            "primary_metric": self.primary_metric,
            "token_unit": self.token_unit,
            "untrained": list(self.untrained),
            "eligibility": dataclasses.asdict(self.eligibility),
            "family_size": sum(row.p_value is not None for row in family),
            "smallest_p": min((1 / (1 + row.null_draws) for row in family if row.null_draws), default=None),
            "headline": {
                metric: _headline(both, metric) for metric in dict.fromkeys(row.metric for row in both)
            },
            "corpus_sha256": text_sha256(self.store, self.tokens),
            "python": platform.python_version(),
            "saeuniv": importlib.metadata.version("saeuniv"),
            "gpu_hours": 0.0,
            **_by_stage(self.store, self.made_from),
        }

    def _track(self, results: Path) -> None:
        from saeuniv.tracking import track

        described = self.described
        axes: dict[str, str | int | float] = {
            "model_a": described.a.model,
            "model_b": described.b.model,
            "sae_a": described.a.sae,
            "sae_b": described.b.sae,
            "hookpoint_a": described.a.hookpoint,
            "hookpoint_b": described.b.hookpoint,
            "alignment": described.alignment.name,
            "comparison": described.comparison,
        }
        outcome = track(
            results,
            settings=self.tracking,
            sweep=self.sweep,
            comparison=described.comparison,
            job_type=self.job_type,
            axes=axes,
        )
        if outcome.mode != "failed":  # which tracking has warned of itself
            _log.info("tracking: %s", outcome.message)


def _headline(rows: list[Row], metric: str) -> dict[str, object]:
    """Mean and largest value of a metric over its layer pairs, the control's mean, and rejections."""
    chosen = [(row, row.value) for row in rows if row.metric == metric and row.value is not None]
    if not chosen:
        return {"layer_pairs": 0}
    best = max(chosen, key=lambda item: item[1])[0]
    control = [row.control for row, _ in chosen if row.control is not None]
    p = np.array([row.p_value for row, _ in chosen if row.p_value is not None], dtype=np.float64)
    return {
        "layer_pairs": len(chosen),
        "mean": float(np.mean([value for _, value in chosen])),
        "max": best.value,
        "max_at": [best.layer_a, best.layer_b],
        "control_mean": float(np.mean(control)) if control else None,
        # Layer pairs depend on one another: Benjamini-Yekutieli holds whatever the dependence.
        "rejected_bh": int((benjamini_hochberg(p) <= _FALSE_DISCOVERY_RATE).sum()),
        "rejected_by": int((benjamini_yekutieli(p) <= _FALSE_DISCOVERY_RATE).sum()),
    }


def _by_stage(store: Store, artifacts: tuple[Artifact, ...]) -> Mapping[str, object]:
    """Seconds, bytes, commits and recorded hashes of what the results were made from."""
    seconds: dict[str, float] = defaultdict(float)
    size: dict[str, int] = defaultdict(int)
    hashes: dict[str, str] = {}
    commits: set[str] = set()
    for artifact in (each for whole in artifacts for each in _published(store, whole)):
        manifest = read_manifest(store.folder(artifact))
        kind = artifact.kind.value
        seconds[kind] += manifest["seconds"]
        size[kind] += sum(file["bytes"] for file in manifest["files"].values())
        hashes[artifact.path] = store.digest(artifact)
        commits.add(str(manifest["git_commit"]))
    return {
        "seconds_by_stage": {kind: round(value, 3) for kind, value in sorted(seconds.items())},
        "bytes_by_stage": dict(sorted(size.items())),
        "git_commits": sorted(commits),
        "artifacts": dict(sorted(hashes.items())),
    }


def _published(store: Store, artifact: Artifact) -> tuple[Artifact, ...]:
    """What of an artifact is in the store: itself, its shards, or nothing where it was cleared away."""
    if artifact.kind is not Kind.latents:
        return (artifact,) if store.exists(artifact) else ()
    shards = (
        replace(artifact, shard=int(each.name)) for each in sorted(store.folder(artifact).glob("[0-9]*"))
    )
    return tuple(shard for shard in shards if store.exists(shard))
