"""What has to be made: everything missing or damaged that the asked numbers rest on, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from saeuniv.config import Cell, untrained_counterpart
from saeuniv.config.replay import control_config_text
from saeuniv.stages.compare import ComparePairs, PairOutputs
from saeuniv.stages.report import Report, ReportedScores
from saeuniv.stages.task import LatentsReference, Task
from saeuniv.store import Artifact, Store
from saeuniv.sweep.comparison import Comparison, layer_label, unite
from saeuniv.sweep.inventory import Inventory
from saeuniv.sweep.side_tasks import side_tasks
from saeuniv.sweep.sides import ResolvedSide

_SECONDS_PER_PAIR = 2.5


class Place(NamedTuple):
    """Where results go, and what is written beside them."""

    folder: Path
    config: str
    """config.yaml"""

    sweep: str
    job_type: str
    """comparison or control"""


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which each comes after what it needs; reports last."""

    tasks: tuple[Task, ...]
    reports: tuple[Report, ...]
    """The comparison's, then the control's."""

    n_cached: int
    """Artifacts already there."""


def plan(cells: Sequence[Cell], *, folder: Path, config: str, sweep: str) -> Plan:
    """The work that the cells of one comparison, and of its control, still need.

    Args:
        cells: cells of one comparison.
        folder: its folder; the control's is its sibling.
        config: what is written as config.yaml; see `config_text`.
        sweep: name of the sweep, for tracking.

    Raises:
        ConfigError: see `unite`.
    """
    comparison = unite(cells)
    counterparts = [untrained_counterpart(cell) for cell in cells]
    control = unite([cell for cell in counterparts if cell]) if all(counterparts) else None
    store = Store(comparison.cell.store)
    state = Inventory(store)
    both = [comparison, *([control] if control else [])]
    tasks: dict[tuple[str, ...], Task] = {}
    for each in both:
        for task in _tasks(each, state):
            tasks.setdefault((task.stage, *(output.path for output in task.outputs)), task)
    reports = [_report(comparison, control, state, Place(folder, config, sweep, "comparison"))]
    if control:
        beside = folder.parent / control.cell.comparison
        reports.append(
            _report(control, None, state, Place(beside, control_config_text(config), sweep, "control"))
        )
    return Plan(tuple(tasks.values()), tuple(reports), state.n_valid)


def _tasks(comparison: Comparison, state: Inventory) -> list[Task]:
    """The tasks of one comparison, without its report."""
    root, cell = state.store.root, comparison.cell
    pairs = [(wanted, comparison.outputs(wanted)) for wanted in comparison.wanted]
    todo = [(wanted, outputs) for wanted, outputs in pairs if _is_needed(outputs, state)]
    tasks: list[Task] = []
    for name, side in (("a", comparison.a), ("b", comparison.b)):
        layers = {
            layer for wanted, _ in todo for layer in (wanted.layer_a if name == "a" else wanted.layer_b)
        }
        missing = _missing_of(side, layers, state)
        tasks += side_tasks(side, root, missing, batch_sequences=cell.resources.encode_batch_sequences)
    rows: dict[tuple[int, ...], list[PairOutputs]] = {}
    for wanted, outputs in todo:
        rows.setdefault(wanted.layer_a, []).append(outputs)
    for layer_a, outputs in rows.items():
        tasks.append(_compare(comparison, comparison.latents(comparison.a, layer_a), tuple(outputs), root))
    return tasks


def _is_needed(outputs: PairOutputs, state: Inventory) -> bool:
    """A score is missing, or something that was published is damaged."""
    matches = [outputs.matches] if outputs.matches else []
    matches += [each for _, each in outputs.null_matches]
    # Lists, not generators: every damaged artifact is found, whichever other is missing.
    missing = [state.missing(score) for _, score in outputs.scores]
    return any(missing) or any([state.damaged(each) for each in matches])


def _missing_of(side: ResolvedSide, layers: set[int], state: Inventory) -> list[Artifact]:
    """What of one side must be made so that these layers can be compared."""
    missing: list[Artifact] = [side.held_out] if state.missing(side.held_out) else []
    encode = train = False
    for layer, latents in side.latents.items():
        found = state.shards_of(latents)
        absent = any([state.missing(shard) for shard in found]) or not found
        to_encode = (layer in layers and absent) or any([state.damaged(shard) for shard in found])
        # Encoding begins with the check that refuses them: the bound may have been lowered since.
        to_encode |= not absent and state.fvu(latents) > side.side.sae.max_fvu
        dictionary = latents.dictionary.artifact
        to_train = dictionary is not None and (
            state.damaged(dictionary) or ((to_encode or layer in layers) and state.missing(dictionary))
        )
        missing += [latents.artifact] if to_encode else []
        missing += [dictionary] if to_train and dictionary else []
        encode, train = encode or to_encode, train or to_train
    model = side.model.artifact
    make_model = model is not None and (state.damaged(model) or ((encode or train) and state.missing(model)))
    missing += [model] if make_model and model else []
    training = side.training
    if training and (state.damaged(training) or ((train or make_model) and state.missing(training))):
        missing.append(training)
    return missing


def _compare(
    comparison: Comparison, layer_a: tuple[LatentsReference, ...], pairs: tuple[PairOutputs, ...], root: Path
) -> ComparePairs:
    latents = [*layer_a, *(each for pair in pairs for each in pair.layer_b)]
    inputs = {each.artifact.path: each.artifact for each in latents}
    for each in latents:
        for artifact in (each.tokens, each.dictionary.artifact):
            inputs |= {artifact.path: artifact} if artifact else {}
    return ComparePairs(
        root,
        inputs=tuple(inputs.values()),
        outputs=tuple(score for pair in pairs for _, score in pair.scores),
        seconds=_SECONDS_PER_PAIR * len(pairs),
        layer_a=layer_a,
        pairs=pairs,
        settings=comparison.settings,
        skip_first=comparison.cell.data.skip_first,
    )


def _report(comparison: Comparison, control: Comparison | None, state: Inventory, place: Place) -> Report:
    beside = _scores_by_place(control) if control else {}
    reported = tuple(
        ReportedScores(
            layer_label(wanted.layer_a),
            layer_label(wanted.layer_b),
            metric,
            score,
            beside.get((wanted.layer_a, wanted.layer_b, metric.name)),
        )
        for wanted in comparison.wanted
        for metric, score in comparison.outputs(wanted).scores
    )
    scores = [each.scores for each in reported] + [each.control for each in reported if each.control]
    sides = [side for each in (comparison, control) if each for side in (each.a, each.b)]
    latents = [each.artifact for side in sides for each in side.latents.values()]
    return Report(
        state.store.root,
        # Latents are not read; dictionaries that are refused leave nothing to report.
        inputs=(comparison.a.held_out, *scores, *latents),
        outputs=(),
        seconds=5.0,
        folder=place.folder,
        described=comparison.described,
        layers_a=tuple(map(layer_label, comparison.layers("a"))),
        layers_b=tuple(map(layer_label, comparison.layers("b"))),
        reported=reported,
        primary_metric=comparison.cell.primary_metric,
        token_unit="byte" if comparison.a.side.model.embedded else "token",
        untrained=tuple(side.name for side in comparison.cell.sides if side.model.untrained),
        eligibility=comparison.cell.eligibility,
        tokens=comparison.a.held_out,
        made_from=_made_from(comparison),
        config=place.config,
        tracking=comparison.cell.tracking,
        sweep=place.sweep,
        job_type=place.job_type,
    )


def _scores_by_place(comparison: Comparison) -> dict[tuple[object, ...], Artifact]:
    return {
        (wanted.layer_a, wanted.layer_b, metric.name): score
        for wanted in comparison.wanted
        for metric, score in comparison.outputs(wanted).scores
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
    for wanted in comparison.wanted:
        outputs = comparison.outputs(wanted)
        matches = [outputs.matches] if outputs.matches else []
        for each in (*matches, *(each for _, each in (*outputs.null_matches, *outputs.scores))):
            found |= {each.path: each}
    return tuple(found.values())
