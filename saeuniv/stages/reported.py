"""The stored scores that a report reads: one metric of one layer pair, beside that of the control."""

import logging
from dataclasses import dataclass

from saeuniv.metrics import MetricMethod
from saeuniv.stages.rows import PairScores
from saeuniv.stages.scores import Scores, load_scores
from saeuniv.store import Artifact, ArtifactError, Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReportedScores:
    """One metric of one layer pair, and that of the untrained counterparts."""

    layer_a: str
    layer_b: str
    metric: MetricMethod
    scores: Artifact
    control: Artifact | None


def read_pair(store: Store, reported: ReportedScores, max_fvu: tuple[float, float]) -> PairScores:
    """Both scores as they are stored; None where they are not, or of dictionaries that are refused now."""
    control = reported.control
    return PairScores(
        reported.layer_a,
        reported.layer_b,
        reported.metric,
        _scores(store, reported.scores, max_fvu),
        _scores(store, control, max_fvu) if control else None,
        has_control=control is not None,
    )


def _scores(store: Store, artifact: Artifact, max_fvu: tuple[float, float]) -> Scores | None:
    if not store.exists(artifact):
        return None
    try:
        scores = load_scores(store.open(artifact))
    # Another process may set them aside, and a disk may fail, while they are read.
    except (ArtifactError, OSError) as error:
        _log.warning("%s: counted as not computed: %s", artifact.path, error)
        return None
    fits = (quality.fvu for quality in (scores.a, scores.b))
    refused = any(fvu > bound for fvu, bound in zip(fits, max_fvu, strict=True))
    return None if refused else scores
