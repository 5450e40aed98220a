"""The command line: preflight checks every cell, then Hydra runs them."""

import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Cell, ConfigError, to_cell, untrained_counterpart
from saeuniv.config.registry import CONF_DIR, conf_dirs, register
from saeuniv.config.replay import config_text
from saeuniv.metrics import METRICS

DONE, FAILED, WRONG_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130

log = logging.getLogger(__name__)

# Filled by main: the cells of this command; by run_cell: how each comparison ended, and where it is.
_cells: list[Cell] = []
_exit_codes: dict[str, int] = {}
_folders: list[Path] = []


def run_cell(cfg: DictConfig) -> None:
    """Run the comparison of one cell, united with the command's other cells of the same comparison.

    A comparison is run once in a process, whichever of its cells comes first. In a multirun the other
    cells go on after a failure, and main exits with 1 at the end.

    Raises:
        SystemExit: with the exit code of the work, if it is not 0 (in a multirun: if interrupted).
    """
    cell = to_cell(cfg)
    if cell.comparison in _exit_codes:
        return
    united = [each for each in _cells if each.comparison == cell.comparison] or [cell]
    settings = HydraConfig.get()
    config = config_text(cfg, settings.overrides.task, united)
    folder = Path(settings.runtime.output_dir)
    code = _run(united, folder, config)
    _exit_codes[cell.comparison] = code
    control = untrained_counterpart(cell)
    _folders.append(folder)
    _folders.extend([folder.parent / control.comparison] if control else [])
    if code == INTERRUPTED or (code != DONE and settings.mode != RunMode.MULTIRUN):
        raise SystemExit(code)


# Two names, not a decorator: `run_cell` is then pickled by reference.
hydra_main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(run_cell)


def main() -> None:
    """Check the command line, then hand it to Hydra.

    Raises:
        SystemExit: 0 done; 1 work failed; 2 wrong configuration, nothing written; 130 interrupted.
    """
    try:
        sys.argv[1:] = map(_expand_home, sys.argv[1:])
        raise SystemExit(_main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. The same command goes on from what is in the store.\n")
        raise SystemExit(INTERRUPTED) from None


def _expand_home(argument: str) -> str:
    """`a.path=~/model` with the home folder in it: bash leaves it as it is, and Hydra cannot read `~`."""
    key, equals, value = argument.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and value.startswith("~/") else argument


def _main(argv: Sequence[str]) -> int:
    # Imported here: completion and `import saeuniv.app` in a worker need none of it.
    from saeuniv.preflight import preflight
    from saeuniv.preflight.composer import read_command

    if "--version" in argv:
        sys.stdout.write(f"saeuniv {importlib.metadata.version('saeuniv')}\n")
        return DONE
    command = read_command(argv)
    register(ALIGNMENTS, METRICS, conf_dirs(command.config_dir))
    checked = preflight(argv)
    if checked.faults:
        lines = [f"  {fault}" for fault in checked.faults]
        sys.stderr.write(
            "\n".join(["The configuration is wrong; nothing was run or written.", *lines]) + "\n"
        )
        return WRONG_CONFIGURATION
    _cells[:] = checked.cells
    hydra_main()
    if len(_exit_codes) > 1:
        from saeuniv.sweep.inline import conclude_sweep

        conclude_sweep(_folders)
    return FAILED if any(_exit_codes.values()) else DONE


def _run(cells: Sequence[Cell], folder: Path, config: str) -> int:
    from saeuniv.sweep.inline import run_comparison

    try:
        sweep = cells[0].sweep.name or folder.parent.name
        return run_comparison(cells, folder=folder, config=config, sweep=sweep)
    except ConfigError as error:
        log.error("%s", error)
    except Exception:
        log.exception("%s failed.", cells[0].comparison)
    return FAILED


register(ALIGNMENTS, METRICS, conf_dirs(None))
