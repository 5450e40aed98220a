"""What a plan is expected to take, learned from what was made before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from saeuniv.config.launcher import Launcher
from saeuniv.stages.task import Task
from saeuniv.store import Kind
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.rates import Rates, Taken, method_of

if TYPE_CHECKING:
    from rich.table import Table

_MINUTE_S, _HOUR_S = 60, 3600


class StageEstimate(NamedTuple):
    """What the tasks of one stage are expected to take."""

    stage: str
    tasks: int
    seconds: float
    """Of work, one task after another, without starting Python and loading models."""

    bytes: int
    """Of what is published."""

    guessed: int
    """Tasks whose seconds are a rough guess, as there is no record of anything alike."""

    learned_from: int
    """Manifests of the kinds that the others publish."""

    @property
    def basis(self) -> str:
        """Where the seconds come from, in words."""
        if self.guessed == self.tasks:
            return "guesses: the store has no record of any alike"
        learned = f"learned from {self.learned_from:,} manifests"
        return f"{learned}; {self.guessed:,} tasks guessed" if self.guessed else learned


@dataclass(frozen=True)
class Estimate:
    """What a plan is expected to take."""

    stages: tuple[StageEstimate, ...]
    """In the order in which they come in the plan."""

    @property
    def tasks(self) -> int:
        """Of all stages."""
        return sum(stage.tasks for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Of work, of all stages."""
        return sum((stage.seconds for stage in self.stages), 0.0)

    @property
    def bytes(self) -> int:
        """Of what is published, of all stages."""
        return sum(stage.bytes for stage in self.stages)

    def gpu_hours(self, launcher: Launcher) -> float:
        """Hours of work times the GPUs that a job of the stage asks for, over all stages.

        The seconds are those of the machines that the store was filled on, be they faster or slower.
        """
        return sum((_gpu_hours(stage, launcher) for stage in self.stages), 0.0)


def estimate(tasks: Sequence[Task], rates: Rates) -> Estimate:
    """What these tasks are expected to take; a task of which any output is unlike all before is guessed."""
    stages: dict[str, list[tuple[Task, Taken]]] = {}
    for task in tasks:
        stages.setdefault(task.stage, []).append((task, _taken(task, rates)))
    return Estimate(tuple(_stage(stage, members, rates) for stage, members in stages.items()))


def estimate_table(estimated: Estimate, launcher: Launcher) -> "Table":
    """The estimate as a table for a terminal, a line a stage."""
    from rich import box
    from rich.table import Table

    table = Table(title="expected work", title_justify="left", box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("stage", "all")
    for header, total in (
        ("tasks", f"{estimated.tasks:,}"),
        ("work", duration_text(estimated.seconds)),
        ("GPU hours", f"{estimated.gpu_hours(launcher):.1f}"),
        ("disk", bytes_text(estimated.bytes)),
    ):
        table.add_column(header, total, justify="right", no_wrap=True)
    table.add_column("basis")
    for each in estimated.stages:
        hours, size = f"{_gpu_hours(each, launcher):.1f}", bytes_text(each.bytes)
        table.add_row(each.stage, f"{each.tasks:,}", duration_text(each.seconds), hours, size, each.basis)
    return table


def estimate_json(estimated: Estimate, launcher: Launcher) -> dict[str, object]:
    """The estimate as values for JSON: seconds, bytes, GPU hours."""
    stages = {
        each.stage: {
            "tasks": each.tasks,
            "seconds": round(each.seconds, 3),
            "bytes": each.bytes,
            "gpu_hours": round(_gpu_hours(each, launcher), 4),
            "guessed_tasks": each.guessed,
            "learned_from": each.learned_from,
        }
        for each in estimated.stages
    }
    return {
        "tasks": estimated.tasks,
        "seconds": round(estimated.seconds, 3),
        "bytes": estimated.bytes,
        "gpu_hours": round(estimated.gpu_hours(launcher), 4),
        "stages": stages,
    }


def duration_text(seconds: int | float) -> str:
    """`45 s`, `12 min`, `3.5 h`: two digits or so."""
    if round(seconds) < _MINUTE_S:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE_S) < 100:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:,.1f} h"


def _taken(task: Task, rates: Rates) -> Taken:
    taken = [rates.of(output) for output in task.outputs]
    if any(each.part for each in task.inputs):
        # Others make it; what is left is a check.
        taken = [Taken(0.0, 0.0) for _ in taken]
    kinds = {output.kind for output in task.outputs}
    if Kind.scores in kinds and Kind.matches not in kinds:
        # Matches are published on the way to the scores that need them, once for each layer pair.
        taken += [rates.of_matches(alignment) for _, _, alignment in _aligned_pairs(task)]
    known = [each.seconds for each in taken if each.seconds is not None]
    learned = bool(taken) and len(known) == len(taken)
    return Taken(sum(known) if learned else None, sum(each.bytes for each in taken))


def _aligned_pairs(task: Task) -> set[tuple[str, str, str]]:
    """The layers of A and of B, and the alignment, of every layer pair that needs matches."""
    aligned = [(output.spec, method_of(output.spec)) for output in task.outputs]
    return {
        (str(spec["a"]), str(spec["b"]), str(method["alignment"]["type"]))
        for spec, method in aligned
        if "alignment" in method
    }


def _stage(stage: str, members: Sequence[tuple[Task, Taken]], rates: Rates) -> StageEstimate:
    kinds = {output.kind for task, _ in members for output in task.outputs}
    return StageEstimate(
        stage,
        len(members),
        sum(task.seconds if taken.seconds is None else taken.seconds for task, taken in members),
        round(sum(taken.bytes for _, taken in members)),
        sum(taken.seconds is None for _, taken in members),
        sum(rates.learned_from.get(kind, 0) for kind in kinds),
    )


def _gpu_hours(stage: StageEstimate, launcher: Launcher) -> float:
    return stage.seconds / _HOUR_S * (launcher.resources(stage.stage).gpus or 0)
