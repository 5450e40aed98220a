"""The cells of a command line with everything that is wrong with them.

Hydra itself stops at the first fault with exit code 1, lets `+key=` through, and writes folders before
anyone has checked.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Cell, ConfigError, Launcher
from saeuniv.config.config_yaml import PlainPart, text_of_parts
from saeuniv.config.inspection import united
from saeuniv.config.registry import CONF_DIR, conf_dirs, register, site_dir
from saeuniv.metrics import METRICS
from saeuniv.preflight.choices import needs_multirun
from saeuniv.preflight.composer import MAX_CELLS, Command, Composer, Override, read_command
from saeuniv.preflight.families import Families
from saeuniv.preflight.files import FileChecks
from saeuniv.preflight.launching import launching_faults, read_launcher
from saeuniv.preflight.suggestions import choose


@dataclass(frozen=True)
class Preflight:
    """What a command line asks for."""

    cells: tuple[Cell, ...]
    """Every cell, in Hydra's order; complete only if there are no faults."""

    faults: tuple[str, ...]
    """Everything that is wrong, as sentences, each once."""

    launcher: Launcher | None = None
    """How a sweep is launched; None where its settings are wrong."""

    multirun: bool = False
    """The command is a sweep: -m was given, or a preset asks for one."""

    first_cells: Mapping[str, "FirstCell"] = field(
        default_factory=dict[str, "FirstCell"], repr=False, compare=False
    )
    """By comparison, in the order of the cells."""

    def config_text(self, comparison: str) -> str:
        """config.yaml of a comparison: its first cell's configuration, with what its other cells add."""
        first = self.first_cells[comparison]
        return text_of_parts(first.parts, first.overrides, first.cells)


class FirstCell(NamedTuple):
    """What config.yaml of a comparison says of its first cell."""

    parts: Mapping[str, PlainPart]
    """Shared with other comparisons that have the same values there."""

    overrides: tuple[str, ...]
    """The cell's overrides as Hydra lists them for a job, without Hydra's own."""

    cells: list[Cell]
    """All cells of the comparison."""


class _Found(NamedTuple):
    """What is filled while the cells are looked at."""

    cells: list[Cell]
    by_comparison: dict[str, FirstCell]
    faults: list[str]


def preflight(argv: Sequence[str]) -> Preflight:
    """Compose and check every cell that the command line `argv` asks for; nothing is written.

    A command that only shows something (--cfg, --info ...) has no cells and no faults: Hydra answers it.
    """
    command = read_command(argv)
    if command.help or command.shows:
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
    families = Families(composer)
    checked = families.checked(command.overrides)
    composed, culprits, choice_faults = families.composed([each for each in checked.good if not each.sweep])
    good = [each for each in checked.good if each not in culprits]
    multirun = command.multirun or composed.multirun
    params = families.checked(composed.params if multirun else ())
    launcher, launcher_faults = read_launcher(composed, good)
    faults = [*checked.faults, *choice_faults, *params.faults, *launcher_faults]
    if not multirun:
        faults += [needs_multirun(each) for each in good if each.sweep]
    # As Hydra does: a key given twice counts once, with its last value.
    last = {each.sign + each.key: each for each in (*params.good, *good)}
    faults += _size_faults(last.values(), composer)
    swept = [each for each in last.values() if each.n_values]
    if math.prod(each.n_values for each in swept) > MAX_CELLS:
        return Preflight((), tuple(dict.fromkeys(faults)), launcher, multirun)
    found = _Found([], {}, faults)
    all_lines = composer.expand([each.line for each in swept])
    _find_cells(all_lines, families, found, bad_groups=checked.bad_groups, params=composed.params)
    if not multirun and found.by_comparison:
        # Hydra hands a single job its overrides as they were written, a sweep's in a form of its own.
        (name, first), *_ = found.by_comparison.items()
        found.by_comparison[name] = first._replace(overrides=_for_the_job(each.line for each in good))
    faults += launching_faults(launcher, composed, overrides=good, multirun=multirun, cells=found.cells)
    faults += _one_value_faults(found.by_comparison.values())
    return Preflight(
        tuple(found.cells), tuple(dict.fromkeys(faults)), launcher, multirun, found.by_comparison
    )


def _folder_faults(command: Command) -> Iterator[str]:
    if command.config_path is not None:
        yield (
            f"--config-path {command.config_path}: saeuniv's own conf/ cannot be replaced. "
            f"Add options with --config-dir <folder>, and choose another root with --config-name."
        )
    for name, folder in (("--config-dir", command.config_dir), ("SAEUNIV_CONFIG_DIR", site_dir())):
        if folder is not None and not folder.is_dir():
            yield f"{name}={folder}: expected a folder with options, and there is none."


def _size_faults(overrides: Collection[Override], composer: Composer) -> Iterator[str]:
    for each in overrides:
        if not each.n_values:
            options = composer.options(each.key)
            remedy = choose("", options) if options else "Give a range whose end is beyond its start."
            yield f"{each.line}: expected at least one value, got none: the sweep has no cells. {remedy}"
    sizes = [each for each in overrides if each.n_values > 1]
    if math.prod(each.n_values for each in sizes) > MAX_CELLS:
        yield (
            f"{' '.join(each.line for each in sizes)}: expected at most {MAX_CELLS} cells in a sweep, got "
            f"more. Choose fewer values."
        )


def _find_cells(
    all_lines: Iterable[Sequence[str]],
    families: Families,
    found: _Found,
    *,
    bad_groups: frozenset[str],
    params: tuple[str, ...],
) -> None:
    """Find the cells that these lines of overrides ask for, with their faults."""
    files = FileChecks()
    for lines in all_lines:
        checked = families.checked(lines)
        family = families.of(checked.good, bad_groups=bad_groups | checked.bad_groups, params=params)
        values = family.parts.with_values(families.values(checked.good), doubtful=family.doubtful)
        cell, more, unset = united(values.parts)
        found.faults.extend((*checked.faults, *family.faults, *values.faults, *more))
        if cell is not None:
            found.faults.extend(files.faults(cell, unset=unset | family.doubtful))
            found.cells.append(cell)
            name = cell.comparison
            if name not in found.by_comparison:
                found.by_comparison[name] = FirstCell(values.plain, _for_the_job(lines), [])
            found.by_comparison[name].cells.append(cell)


def _for_the_job(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(line for line in lines if not line.startswith(("hydra.", "hydra/")))


def _one_value_faults(first_cells: Collection[FirstCell]) -> Iterator[str]:
    """Sweeps over what a comparison, whose results are one folder, has only one of; or even the sweep."""
    for first in first_cells:
        for cell in first.cells:
            for part in ("nulls", "tracking"):
                if getattr(cell, part) != getattr(first.cells[0], part):
                    yield (
                        f"{part}: swept over several values within one comparison, whose results are one "
                        f"folder. Choose one value; only layers, metrics and what names a comparison can be "
                        f"swept."
                    )
    cells = [cell for first in first_cells for cell in first.cells]
    for part in ("resources", "sweep", "store"):
        if any(getattr(cell, part) != getattr(cells[0], part) for cell in cells):
            yield f"{part}: swept over several values, and a sweep has one. Choose one value."
