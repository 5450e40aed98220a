"""The command line: preflight checks every cell, then Hydra runs them."""

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from saeuniv.alignments import ALIGNMENTS
from saeuniv.config import Cell, Cluster, ConfigError, to_cell
from saeuniv.config.config_yaml import config_text
from saeuniv.config.help import help_page
from saeuniv.config.registry import CONF_DIR, conf_dirs, register
from saeuniv.metrics import METRICS

if TYPE_CHECKING:
    # Completion and `import saeuniv.app` in a worker need none of it.
    from saeuniv.preflight import Preflight
    from saeuniv.sweep.place import SweepPlace
    from saeuniv.sweep.plan import Request

DONE, FAILED, WRONG_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130

log = logging.getLogger(__name__)

# Filled by main: what this command asks for; by what Hydra calls: how it ended.
_checked: "list[Preflight]" = []
_exit_codes: list[int] = []


def run_cell(cfg: DictConfig) -> None:
    """Run the comparison of one cell: a single run.

    Raises:
        SystemExit: with the exit code, if it is not 0.
    """
    from saeuniv.sweep.plan import Request

    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    cell = to_cell(cfg)
    config = config_text(cfg, settings.overrides.task, [cell])
    if code := _run([Request((cell,), folder, config, cell.sweep.name or folder.parent.name)], None):
        raise SystemExit(code)


def run_sweep(name: str, folder: Path) -> None:
    """Run all cells of the command as one sweep; what our launcher does (hydra_plugins).

    Args:
        name: of the sweep.
        folder: of the sweep; each comparison has one below it.
    """
    from saeuniv.sweep.place import SweepPlace

    (checked,) = _checked
    assert checked.launcher is not None
    if checked.launcher.cluster is Cluster.slurm:
        # Jobs may stand elsewhere.
        folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    log_to(folder / "saeuniv.log")
    place = SweepPlace(name, folder, tuple(sys.argv[1:]), checked.launcher)
    _exit_codes.append(_run(requests_of(checked, folder, name), place))


def log_to(path: Path) -> None:
    """Have a sweep's log in its folder, as Hydra does for single runs; later runs append."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("saeuniv").setLevel(logging.INFO)


def requests_of(checked: "Preflight", folder: Path, name: str) -> "tuple[Request, ...]":
    """The comparisons that cells are parts of, in the order of their first cells.

    Args:
        checked: cells without faults.
        folder: of the sweep.
        name: of the sweep.
    """
    from saeuniv.sweep.plan import Request

    united: dict[str, list[Cell]] = {}
    for cell in checked.cells:
        united.setdefault(cell.comparison, []).append(cell)
    return tuple(
        Request(tuple(cells), folder / comparison, checked.config_text(comparison), name)
        for comparison, cells in united.items()
    )


# Two names, not a decorator: `run_cell` is then pickled by reference.
hydra_main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(run_cell)


def main() -> None:
    """Check the command line, then hand it to Hydra.

    Raises:
        SystemExit: 0 done; 1 work failed; 2 wrong configuration, nothing written; 130 interrupted.
    """
    try:
        sys.argv[1:] = map(expand_home, sys.argv[1:])
        raise SystemExit(_main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. The same command goes on from what is in the store.\n")
        raise SystemExit(INTERRUPTED) from None


def expand_home(argument: str) -> str:
    """`a.path=~/model` with the home folder in it: bash leaves it as it is, and Hydra cannot read `~`."""
    key, equals, value = argument.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and value.startswith("~/") else argument


def _main(argv: Sequence[str]) -> int:
    from saeuniv.preflight import preflight
    from saeuniv.preflight.composer import read_command

    if "--version" in argv:
        from saeuniv.store.manifest import git_commit

        commit = git_commit()
        sys.stdout.write(f"saeuniv {version('saeuniv')}{f' ({commit})' if commit else ''}\n")
        return DONE
    command = read_command(argv)
    if command.help:
        sys.stdout.write(help_page(conf_dirs(command.config_dir)))
        return DONE
    register(ALIGNMENTS, METRICS, conf_dirs(command.config_dir))
    checked = preflight(argv)
    if checked.faults:
        lines = [f"  {fault}" for fault in checked.faults]
        sys.stderr.write(
            "\n".join(["The configuration is wrong; nothing was run or written.", *lines]) + "\n"
        )
        return WRONG_CONFIGURATION
    _checked[:] = [checked]
    hydra_main()
    return max(_exit_codes, default=DONE)


def _run(requests: "Sequence[Request]", sweep: "SweepPlace | None") -> int:
    from saeuniv.sweep.run import run
    from saeuniv.sweep.slurm import QueueError

    try:
        return run(requests, sweep)
    except ConfigError as error:
        log.error("Nothing was run. %s", error)
        return WRONG_CONFIGURATION
    except QueueError as error:
        log.error("%s", error)
    except Exception:
        log.exception("%s failed.", sweep.name if sweep else requests[0].folder.name)
    return FAILED


register(ALIGNMENTS, METRICS, conf_dirs(None))
