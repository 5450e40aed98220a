"""What has to be made: everything missing or damaged that the asked numbers rest on, and nothing else."""

import gc
from collections.abc import Collection, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from saeuniv.config import Cell, ConfigError, Launcher, untrained_counterpart
from saeuniv.config.config_yaml import control_config_text
from saeuniv.stages.compare import ComparePairs, PairOutputs, inputs_of
from saeuniv.stages.report import Report
from saeuniv.stages.task import STAGES, LatentsReference, Task
from saeuniv.store import Artifact, Store
from saeuniv.sweep.comparison import Comparison, unite
from saeuniv.sweep.devices import Devices
from saeuniv.sweep.inventory import Inventory
from saeuniv.sweep.reporting import Place, report_of
from saeuniv.sweep.side_tasks import side_tasks
from saeuniv.sweep.sides import ResolvedSide, Sides

_SECONDS_PER_PAIR = 2.5


class Request(NamedTuple):
    """The cells of one comparison, and where their results go."""

    cells: tuple[Cell, ...]
    folder: Path
    """Of the comparison; its control's is a sibling."""

    config: str
    """What is written as config.yaml; see `config_text`."""

    sweep: str
    """Name of the sweep, for tracking."""


class Refused(NamedTuple):
    """A comparison whose files do not fit together."""

    request: Request
    error: ConfigError


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which each comes after what it needs; reports last."""

    root: Path
    """The store."""

    tasks: tuple[Task, ...]
    reports: tuple[Report, ...]
    """Of each comparison, each followed by its control's."""

    refused: tuple[Refused, ...] = ()
    controls: Mapping[Path, Path] = field(default_factory=dict[Path, Path])
    """Folder of a comparison -> folder of its control; comparisons may share one."""

    n_pairs: int = 0
    """Layer pairs asked for, those of controls included."""

    n_cached: int = 0
    """Artifacts already there."""

    def due_reports(self, made: Collection[str]) -> list[Report]:
        """The reports that are not done, and those that read what will be `made` (paths).

        Made again after damage, a score keeps its path: a report is done only if nothing it reads is made.
        """
        return [
            report
            for report in self.reports
            if any(each.path in made for each in report.inputs) or not report.is_done()
        ]


def plan(requests: Sequence[Request], launcher: Launcher | None = None) -> Plan:
    """The work that comparisons and their controls still need, each piece of it once.

    `launcher` is that of a sweep; without it the work is for this machine.

    Raises:
        ConfigError: the comparisons name several stores; a device that is asked for will not be there.
    """
    stores = sorted({str(cell.store) for request in requests for cell in request.cells})
    if len(stores) > 1:
        raise ConfigError(f"store: expected one for the whole sweep, got {', '.join(stores)}.")
    devices = Devices(requests[0].cells[0].resources, launcher)
    with _no_collection():
        return _plan(requests, Inventory(Store(Path(stores[0]).absolute())), devices)


@contextmanager
def _no_collection() -> Generator[None]:
    """No search for cycles: a large plan is a million objects without any, and the search takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _plan(requests: Sequence[Request], state: Inventory, devices: Devices) -> Plan:
    whole, sides = _Whole(), Sides(devices.latents)
    reports: dict[Path, Report] = {}
    controls: dict[Path, Path] = {}
    refused: list[Refused] = []
    n_pairs = 0
    for request in requests:
        try:
            comparison, control = _united(request.cells, sides)
        except ConfigError as error:
            refused.append(Refused(request, error))
            continue
        for each in filter(None, (comparison, control)):
            whole.add(_tasks(each, state, devices))
            n_pairs += len(each.wanted)
        for report in _reports(request, comparison, control, state):
            reports.setdefault(report.folder, report)
            if report.job_type == "control":
                controls[request.folder] = report.folder
    return Plan(
        state.store.root,
        whole.tasks(),
        tuple(reports.values()),
        tuple(refused),
        controls,
        n_pairs,
        state.n_valid,
    )


class _Whole:
    """The tasks of many comparisons, united: nothing is made twice, and each side in one pass."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Task] = {}

    def add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            known = self._groups.get(task.group)
            self._groups[task.group] = known.united(task) if known else task

    def tasks(self) -> tuple[Task, ...]:
        """By stage; what two groups would make is left to the first."""
        found: list[Task] = []
        made: set[str] = set()
        for task in sorted(self._groups.values(), key=lambda task: STAGES.index(task.stage)):
            if rest := task.without(made):
                found.append(rest)
                made.update(output.path for output in rest.outputs)
        return tuple(found)


def _united(cells: Sequence[Cell], sides: Sides) -> tuple[Comparison, Comparison | None]:
    counterparts = [untrained_counterpart(cell) for cell in cells]
    control = unite([cell for cell in counterparts if cell], sides) if all(counterparts) else None
    return unite(cells, sides), control


def _reports(
    request: Request, comparison: Comparison, control: Comparison | None, state: Inventory
) -> Iterator[Report]:
    yield report_of(comparison, control, state, Place(request.folder, request.config, request.sweep))
    if control:
        beside = request.folder.parent / control.cell.comparison
        config = control_config_text(request.config)
        yield report_of(control, None, state, Place(beside, config, request.sweep, "control"))


def _tasks(comparison: Comparison, state: Inventory, devices: Devices) -> list[Task]:
    """The tasks of one comparison, without its report."""
    root, cell = state.store.root, comparison.cell
    todo = [(wanted, outputs) for wanted, outputs in comparison.pairs if _is_needed(outputs, state)]
    tasks: list[Task] = []
    for name, side in (("a", comparison.a), ("b", comparison.b)):
        layers = {
            layer for wanted, _ in todo for layer in (wanted.layer_a if name == "a" else wanted.layer_b)
        }
        lends = bool(comparison.b.side.lender)
        lent = {layer for wanted, _ in todo if lends for layer in wanted.layer_b}
        missing = _missing_of(side, layers, state, lent)
        tasks += side_tasks(side, root, missing, cell.resources, devices)
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


def _missing_of(side: ResolvedSide, layers: set[int], state: Inventory, lent: set[int]) -> list[Artifact]:
    """What of one side must be made so that these layers can be compared, and those `lent` be read by B."""
    missing: list[Artifact] = [side.held_out] if state.missing(side.held_out) else []
    encode = train = False
    for layer, latents in side.latents.items():
        found = state.shards_of(latents)
        absent = any([state.missing(shard) for shard in found]) or not found
        to_encode = (layer in layers and absent) or any([state.damaged(shard) for shard in found])
        # Encoding begins with the check that refuses them: the bound may have been lowered since.
        to_encode |= not absent and state.fvu(latents) > side.side.sae.fvu_bound
        dictionary = None if side.side.lender else latents.dictionary.artifact
        to_train = dictionary is not None and (
            state.damaged(dictionary) or ((to_encode or layer in layers | lent) and state.missing(dictionary))
        )
        missing += [latents.artifact] if to_encode else []
        missing += [dictionary] if to_train and dictionary else []
        encode, train = encode or to_encode, train or to_train
    model = side.model.artifact
    make_model = model is not None and (state.damaged(model) or ((encode or train) and state.missing(model)))
    missing += [model] if make_model and model else []
    if make_model and side.original and (drawn_from := side.original.artifact):
        missing += [drawn_from] if state.missing(drawn_from) else []
    training = side.training
    if training and (state.damaged(training) or ((train or make_model) and state.missing(training))):
        missing.append(training)
    return missing


def _compare(
    comparison: Comparison, layer_a: tuple[LatentsReference, ...], pairs: tuple[PairOutputs, ...], root: Path
) -> ComparePairs:
    latents = (*layer_a, *(each for pair in pairs for each in pair.layer_b))
    return ComparePairs(
        root,
        inputs=tuple(inputs_of(latents).values()),
        outputs=tuple(score for pair in pairs for _, score in pair.scores),
        seconds=_SECONDS_PER_PAIR * len(pairs),
        layer_a=layer_a,
        pairs=pairs,
        settings=comparison.settings,
        rows=comparison.rows,
        kept_bytes=int(comparison.cell.resources.layers_gb * (1 << 30)),
        device=comparison.cell.resources.correlation_device.value,
    )
