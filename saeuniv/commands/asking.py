"""The overrides of launch.py as commands take them: checked, and united in comparisons."""

import argparse
from pathlib import Path
from typing import NamedTuple

from saeuniv.app import expand_home, requests_of
from saeuniv.commands.shell import parser
from saeuniv.commands.sweeps import MULTIRUN
from saeuniv.config import ConfigError, Launcher
from saeuniv.config.cell import sweep_name
from saeuniv.config.registry import CONF_DIR
from saeuniv.preflight import Preflight, preflight
from saeuniv.preflight.composer import Command, Composer, read_command
from saeuniv.sweep.plan import Request


class Asked(NamedTuple):
    """What a command line of launch.py asks for."""

    checked: Preflight
    requests: tuple[Request, ...]
    name: str
    folder: Path
    """Of the sweep; multirun/single for a single run."""

    launcher: Launcher


def overrides_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser that takes the arguments of launch.py that ask for work, beside a command's own."""
    arguments = parser(name, description)
    arguments.add_argument("overrides", nargs="*", help="key=value, as for launch.py; see saeuniv --help")
    arguments.add_argument("-m", "--multirun", action="store_true", help="a sweep, as for launch.py")
    arguments.add_argument("-cd", "--config-dir", metavar="DIR", help="a folder with more options")
    arguments.add_argument("-cn", "--config-name", metavar="NAME", help="another root than config")
    return arguments


def asked(given: argparse.Namespace, *, faults_too: bool = False) -> Asked:
    """The comparisons of a command line of launch.py, checked; nothing is written.

    Args:
        given: what `overrides_parser` read.
        faults_too: faults of its files are left in `checked`, where all is well with the command itself.

    Raises:
        ConfigError: every fault of the configuration.
    """
    argv = [*(["--multirun"] if given.multirun else []), *map(expand_home, given.overrides)]
    for flag, value in (("--config-dir", given.config_dir), ("--config-name", given.config_name)):
        argv += [f"{flag}={value}"] if value is not None else []
    checked = preflight(argv)
    if checked.faults and not (faults_too and checked.cells and checked.launcher):
        raise ConfigError(*checked.faults)
    assert checked.launcher is not None
    command, cell = read_command(argv), checked.cells[0]
    # Absolute: tasks may be run from elsewhere.
    if checked.multirun:
        folder = _chosen("hydra.sweep.dir", command)
        folder = (folder or MULTIRUN / sweep_name(cell.sweep.name, command.overrides)).absolute()
        requests = requests_of(checked, folder, folder.name)
        return Asked(checked, requests, folder.name, folder, checked.launcher)
    own = _chosen("hydra.run.dir", command)
    folder = (own.absolute().parent if own else MULTIRUN / "single").absolute()
    name = cell.sweep.name or folder.name
    requests = requests_of(checked, folder, name)
    if own:
        requests = tuple(each._replace(folder=own.absolute()) for each in requests)
    return Asked(checked, requests, name, folder, checked.launcher)


def _chosen(key: str, command: Command) -> Path | None:
    """Where results go instead of multirun/; None where the command does not say."""
    lines = [line for line in command.overrides if line.partition("=")[0] == key]
    if not lines:
        return None
    value = str(Composer(CONF_DIR, command).parse(lines[-1]).value)
    if "${" in value:
        raise ConfigError(f"{lines[-1]}: expected a plain folder, got one that is made from other keys.")
    return Path(value)
