"""Checks how the cells of a command are to be run: the launcher, its values, and what goes with it."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from saeuniv.config import JOB_STAGES, Cell, Cluster, Launcher, StageResources
from saeuniv.config.launcher import faults as launcher_faults
from saeuniv.preflight.choices import is_launcher_value, value_fault
from saeuniv.preflight.composer import Composed, Override
from saeuniv.preflight.suggestions import choose

_STAGES = ("default", *JOB_STAGES)
_STOCK = "hydra_plugins.hydra_submitit_launcher"


def read_launcher(
    composed: Composed, overrides: Sequence[Override]
) -> tuple[Launcher | None, tuple[str, ...]]:
    """The launcher that was chosen, with its values, and what is wrong with them.

    None where it is another's (hydra/launcher=basic), or its values have the wrong type.
    """
    root = copy.deepcopy(composed.launcher)
    option = composed.choices.get("hydra/launcher")
    values = [each for each in overrides if is_launcher_value(each)]
    faults = [fault for each in values if (fault := _value_fault(each, root, option))]
    node = root.hydra.launcher
    if OmegaConf.get_type(node) is not Launcher:
        if str(node.get("_target_")).startswith(_STOCK):
            faults.append(
                f"hydra/launcher={option}: expected an option that builds on slurm, got one of Hydra's own "
                f"launcher, which knows no stages. Write `defaults: [slurm]` in its file."
            )
        elif not faults:
            faults.append(
                f"hydra/launcher={option}: it runs cells one by one and knows no sweep. "
                f"Choose local or slurm."
            )
        return None, tuple(faults)
    try:
        launcher = OmegaConf.to_object(node)
        assert isinstance(launcher, Launcher)
    except OmegaConfBaseException as error:
        return None, (*faults, f"hydra.launcher: {str(error).splitlines()[0]}.")
    return launcher, (*faults, *launcher_faults(launcher))


def launching_faults(
    launcher: Launcher | None,
    composed: Composed,
    *,
    overrides: Iterable[Override],
    multirun: bool,
    cells: Iterable[Cell],
) -> Iterator[str]:
    """Ways to run that the command cannot be run in."""
    on_slurm = launcher is not None and launcher.cluster is Cluster.slurm
    for each in overrides:
        if each.key in ("hydra/launcher", "hydra.launcher.cluster") and on_slurm and not multirun:
            yield f"{each.line}: launchers run sweeps, and this command is none. Add -m."
    if any(cell.sweep.detach for cell in cells) and not (on_slurm and multirun):
        yield (
            "sweep.detach=true: only jobs on SLURM go on by themselves. Add -m and hydra/launcher=slurm; "
            "for a long run on this machine use tmux or nohup."
        )
    if launcher is not None and composed.max_batch_size is not None:
        yield (
            f"hydra.sweeper.max_batch_size={composed.max_batch_size}: a sweep is planned as a whole. Leave "
            f"it out; hydra.launcher.array_parallelism says how many jobs run at the same time."
        )


def _value_fault(override: Override, root: DictConfig, option: object) -> str | None:
    """Set the value below hydra.launcher; what is wrong with it, or None."""
    line, name = override.line, override.key.removeprefix("hydra.launcher").lstrip(".")
    if not name and not isinstance(override.value, dict):
        return f"{line}: launchers are chosen with a slash. Write hydra/launcher={override.value}."
    first, _, rest = name.partition(".")
    if name and first not in root.hydra.launcher:
        if OmegaConf.get_type(root.hydra.launcher) is not Launcher:
            return (
                f"{line}: hydra/launcher={option} has no such key. "
                f"Choose hydra/launcher=slurm or hydra/launcher=local first."
            )
        if rest:
            return f"{line}: {first} is no stage that runs as a job. {choose(first, _STAGES)}"
        if first in {each.name for each in dataclasses.fields(StageResources)}:
            return (
                f"{line}: each stage has its own {first}. Set hydra.launcher.default.{first} for all, or "
                f"hydra.launcher.<stage>.{first} for one of {', '.join(JOB_STAGES)}."
            )
    if rest == "setup" and isinstance(override.value, str):
        return f"{line}: expected a list of shell lines, got one text. Write {override.key}=[...]."
    return value_fault(override, root, ())
