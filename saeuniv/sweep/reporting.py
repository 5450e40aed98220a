"""The report of a comparison as a task: what it reads, and where it writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from saeuniv.stages.report import Report
from saeuniv.stages.reported import ReportedScores
from saeuniv.store import Artifact
from saeuniv.sweep.comparison import Comparison, layer_label
from saeuniv.sweep.inventory import Inventory


class Place(NamedTuple):
    """Where results go, and what is written beside them."""

    folder: Path
    config: str
    sweep: str
    job_type: str = "comparison"
    """comparison or control"""


def report_of(comparison: Comparison, control: Comparison | None, state: Inventory, place: Place) -> Report:
    """The report of a comparison, whose control, if it has one, is shown beside it."""
    beside = _scores_by_place(control) if control else {}
    reported = tuple(
        ReportedScores(
            layer_label(wanted.layer_a),
            layer_label(wanted.layer_b),
            metric,
            score,
            beside.get((wanted.layer_a, wanted.layer_b, metric.name)),
        )
        for wanted, outputs in comparison.pairs
        for metric, score in outputs.scores
    )
    scores = [each.scores for each in reported] + [each.control for each in reported if each.control]
    sides = [side for each in (comparison, control) if each for side in (each.a, each.b)]
    latents = [each.artifact for side in sides for each in side.latents.values()]
    return Report(
        state.store.root,
        inputs=tuple(dict.fromkeys((*_drawn_from(comparison), *scores, *latents))),
        outputs=(),
        seconds=5.0,
        folder=place.folder,
        described=comparison.described,
        layers_a=tuple(map(layer_label, comparison.layers("a"))),
        layers_b=tuple(map(layer_label, comparison.layers("b"))),
        reported=reported,
        primary_metric=comparison.cell.primary_metric,
        token_unit="byte" if comparison.a.side.model.embedded else "token",
        max_fvu=(comparison.a.side.sae.fvu_bound, comparison.b.side.sae.fvu_bound),
        untrained=tuple(side.name for side in comparison.cell.sides if not side.model.is_trained),
        control=comparison.cell.control.value if control else "none",
        absent=tuple(
            (f"{side.side.name} {layer}", why)
            for side in (comparison.a, comparison.b)
            for layer, why in sorted(side.absent.items())
        ),
        eligibility=comparison.cell.eligibility,
        tokens=(comparison.a.held_out, comparison.b.held_out),
        made_from=_made_from(comparison),
        config=place.config,
        tracking=comparison.cell.tracking,
        sweep=place.sweep,
        job_type=place.job_type,
        compat=comparison.cell.compat,
    )


def _drawn_from(comparison: Comparison) -> Iterator[Artifact]:
    """What matches and texts are read from beside latents: it may be made again without any score."""
    for side in (comparison.a, comparison.b):
        read = (
            side.held_out,
            side.model.artifact,
            *(each.dictionary.artifact for each in side.latents.values()),
        )
        yield from (each for each in read if each)


def _scores_by_place(comparison: Comparison) -> dict[tuple[object, ...], Artifact]:
    return {
        (wanted.layer_a, wanted.layer_b, metric.name): score
        for wanted, outputs in comparison.pairs
        for metric, score in outputs.scores
    }


def _made_from(comparison: Comparison) -> tuple[Artifact, ...]:
    """Every artifact behind a comparison but the shards of latents, each once."""
    found: dict[str, Artifact] = {}
    for side in (comparison.a, comparison.b):
        for latents in side.latents.values():
            for each in (latents.dictionary.artifact, latents.artifact):
                found |= {each.path: each} if each else {}
        for each in (side.training, side.held_out, side.model.artifact):
            found |= {each.path: each} if each else {}
    for _, outputs in comparison.pairs:
        matches = [outputs.matches] if outputs.matches else []
        for each in (*matches, *(each for _, each in (*outputs.null_matches, *outputs.scores))):
            found[each.path] = each
    return tuple(found.values())
