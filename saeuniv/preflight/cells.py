"""The cells of a command line with everything that is wrong with them.

Hydra itself stops at the first fault with exit code 1, lets `+key=` through, and writes folders before
anyone has checked.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from omegaconf import DictConfig

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Cell, ConfigError, canonical_json, inspect, plain
from saeuniv.config.registry import CONF_DIR, conf_dirs, register, site_dir
from saeuniv.metrics import METRICS
from saeuniv.preflight.choices import (
    choice_faults,
    doubtful_value_fault,
    form_faults,
    is_choice,
    is_setting_of_hydra,
    needs_multirun,
    value_fault,
)
from saeuniv.preflight.composer import Command, Composed, Composer, Override, read_command
from saeuniv.preflight.files import FileChecks

# A wrong choice among these leaves the defaults of others standing, about which nothing can be said.
_PRESETS = {"models": ("a", "b", "sae", "data"), "experiment": ("a", "b", "sae", "sae_a", "sae_b", "data")}


class Preflight(NamedTuple):
    """What a command line asks for."""

    cells: tuple[Cell, ...]
    """Every cell, in Hydra's order; complete only if there are no faults."""

    faults: tuple[str, ...]
    """Everything that is wrong, as sentences, each once."""


class _Checked(NamedTuple):
    """Overrides that have been looked at one by one."""

    good: tuple[Override, ...]
    bad_groups: frozenset[str]
    """Groups whose choice is wrong: the default stands in for it."""

    faults: tuple[str, ...]


def preflight(argv: Sequence[str]) -> Preflight:
    """Compose and check every cell that the command line `argv` asks for; nothing is written.

    A command that only shows something (--cfg, --help ...) has no cells and no faults: Hydra answers it.
    """
    command = read_command(argv)
    if command.shows:
        return Preflight((), ())
    if faults := tuple(_folder_faults(command)):
        return Preflight((), faults)
    register(ALIGNMENTS, METRICS, conf_dirs(command.config_dir))
    composer = Composer(CONF_DIR, command)
    try:
        return _preflight(command, composer)
    except ConfigError as error:
        return Preflight((), error.faults)


def _preflight(command: Command, composer: Composer) -> Preflight:
    """Raises ConfigError where the root configuration itself does not compose."""
    checked = _checked(command.overrides, composer)
    faults = list(checked.faults)
    composed, culprits = _composed([each for each in checked.good if not each.sweep], composer, faults)
    good = [each for each in checked.good if each not in culprits]
    if not (command.multirun or composed.multirun):
        faults += [needs_multirun(each) for each in good if each.sweep]
        params: tuple[str, ...] = ()
    else:
        params = composed.params
    lines = [*params, *(each.line for each in good)]
    cells = _cells(lines, checked.bad_groups, composer, faults, params=params)
    return Preflight(cells, tuple(dict.fromkeys([*faults, *_shared_folder_faults(cells)])))


def _folder_faults(command: Command) -> Iterator[str]:
    if command.config_path is not None:
        yield (
            f"--config-path {command.config_path}: saeuniv's own conf/ cannot be replaced. "
            f"Add options with --config-dir <folder>, and choose another root with --config-name."
        )
    for name, folder in (("--config-dir", command.config_dir), ("SAEUNIV_CONFIG_DIR", site_dir())):
        if folder is not None and not folder.is_dir():
            yield f"{name}={folder}: expected a folder with options, and there is none."


def _checked(lines: Iterable[str], composer: Composer) -> _Checked:
    good: list[Override] = []
    bad_groups: set[str] = set()
    faults: list[str] = []
    for line in lines:
        try:
            override = composer.parse(line)
        except ConfigError as error:
            faults += error.faults
            continue
        found = list(form_faults(override))
        if not found and not override.sweep and is_choice(override, composer):
            found = list(choice_faults(override, composer))
            bad_groups |= {override.key} if found else set()
        faults += found
        good += [] if found else [override]
    return _Checked(tuple(good), frozenset(bad_groups), tuple(faults))


def _composed(
    overrides: Sequence[Override], composer: Composer, faults: list[str]
) -> tuple[Composed, tuple[Override, ...]]:
    """What the choices compose to, and those choices that do not compose, whose faults are appended.

    Raises:
        ConfigError: nothing composes, not even the root without any choice.
    """
    choices = [each for each in overrides if is_choice(each, composer) or is_setting_of_hydra(each)]
    try:
        return composer.compose(tuple(each.line for each in choices)), ()
    except ConfigError as whole:
        composer.compose(())
        culprits: list[Override] = []
        for each in choices:
            try:
                composer.compose((each.line,))
            except ConfigError as error:
                culprits.append(each)
                faults += [f"{each.line}: {fault}" for fault in error.faults]
        if not culprits:
            faults += whole.faults
            culprits = choices
        rest = tuple(each.line for each in choices if each not in culprits)
        return composer.compose(rest), tuple(culprits)


def _cells(
    lines: Sequence[str],
    bad_groups: frozenset[str],
    composer: Composer,
    faults: list[str],
    *,
    params: tuple[str, ...],
) -> tuple[Cell, ...]:
    """The cells of the swept lines; their faults are appended."""
    files = FileChecks()
    cells: list[Cell] = []
    for cell_lines in composer.expand(lines):
        checked = _checked(cell_lines, composer)
        faults += checked.faults
        composed, culprits = _composed(checked.good, composer, faults)
        if composed.multirun and composed.params not in ((), params):
            faults.append(
                f"{' '.join(cell_lines)}: a preset that sweeps over {', '.join(composed.params)} cannot be "
                f"one value of a sweep. Run it by itself."
            )
        faults += _hidden_choices(checked.good, composed, composer)
        bad = bad_groups | checked.bad_groups | {each.key for each in culprits}
        chosen = {each.key for each in checked.good if each not in culprits}
        doubtful = bad.union(*(_PRESETS.get(group, ()) for group in bad)) - chosen
        cfg = copy.deepcopy(composed.cfg)
        faults += _set_values(cfg, checked.good, doubtful, composer)
        inspection = inspect(cfg)
        faults += inspection.faults
        if inspection.cell is not None:
            faults += files.faults(inspection.cell, unset=inspection.unset | doubtful)
            cells.append(inspection.cell)
    return tuple(cells)


def _hidden_choices(overrides: Iterable[Override], composed: Composed, composer: Composer) -> Iterator[str]:
    """A pair of models that an experiment hides: Hydra lets the experiment's own choice win, silently."""
    chosen = {each.key: each for each in overrides}
    if "models" not in chosen or chosen["models"].value is None:
        return
    line, option = chosen["models"].line, f"models/{chosen['models'].value}"
    for group, wanted in composer.chosen_by(option).items():
        if group not in chosen and composed.choices.get(group) != wanted:
            yield (
                f"{line}: the experiment chooses {group}={composed.choices.get(group)} itself. "
                f"Choose {group}={wanted} as well, or leave out the experiment."
            )


def _set_values(
    cfg: DictConfig, overrides: Iterable[Override], doubtful: frozenset[str], composer: Composer
) -> Iterator[str]:
    """Set the values in `cfg` and yield what is wrong with them; parts in `doubtful` keep their stand-in."""
    if doubtful:
        # The defaults that stand in would be called a mixture with what was chosen beside them.
        cfg.allow_mixed = True
    for override in overrides:
        if is_choice(override, composer) or is_setting_of_hydra(override):
            continue
        if override.key.partition(".")[0] in doubtful:
            fault = doubtful_value_fault(override)
        else:
            fault = value_fault(override, cfg, composer.groups)
        if fault:
            yield fault


def _shared_folder_faults(cells: Sequence[Cell]) -> Iterator[str]:
    """Sweeps over what is not part of a comparison: both cells would write one folder."""
    first: dict[str, Cell] = {}
    for cell in cells:
        other = first.setdefault(cell.comparison, cell)
        for part in ("nulls", "tracking", "resources", "sweep"):
            if _text(getattr(cell, part)) != _text(getattr(other, part)):
                yield _one_comparison(part)
        if cell.store != other.store:
            yield _one_comparison("store")


def _text(part: object) -> str:
    return canonical_json(plain(part))


def _one_comparison(part: str) -> str:
    return (
        f"{part}: swept over several values within one comparison, whose results are one folder. "
        f"Choose one value; only layers, metrics and what names a comparison can be swept."
    )
