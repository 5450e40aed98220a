"""`saeuniv doctor [overrides]`: what this machine, the store, SLURM and hubs have; `--job` asks nodes too."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from saeuniv.commands.asking import Asked, asked, overrides_parser
from saeuniv.commands.shell import DONE, WRONG_CONFIGURATION
from saeuniv.config import Cluster, ConfigError
from saeuniv.report.console import console
from saeuniv.stages.fetch import Fetch
from saeuniv.sweep import slurm
from saeuniv.sweep.check import Check, all_well, checks_json, checks_table
from saeuniv.sweep.doctor import doctor
from saeuniv.sweep.fetching import fetches
from saeuniv.sweep.plan import plan
from saeuniv.sweep.probing import probe
from saeuniv.sweep.repositories import repositories, repository_checks

_LAUNCHER = "hydra/launcher="


def main(argv: Sequence[str]) -> int:
    """Print every check with what to do about it; 2 where something would make a sweep fail."""
    arguments = overrides_parser("doctor", "What this machine, the store and SLURM can do; 2 if not enough.")
    arguments.add_argument("--json", action="store_true", help="for programs")
    arguments.add_argument(
        "--job",
        action="store_true",
        help=f"ask the nodes as well: a small job for each kind of job of {_LAUNCHER}slurm, or of another",
    )
    given = arguments.parse_intermixed_args(argv)
    fetching = shlex.join(["saeuniv", "fetch", *["-m"] * given.multirun, *given.overrides])
    wanted = _asked(given)
    of_hubs = _of_hubs(wanted, fetching)
    store = wanted.checked.cells[0].store
    checks = [*doctor(store), *of_hubs]
    if given.job:
        checks += _probe(wanted)
    if given.json:
        sys.stdout.write(json.dumps(checks_json(checks), indent=1) + "\n")
    else:
        console().print(checks_table(checks))
    return DONE if all_well(checks) else WRONG_CONFIGURATION


def _asked(given: argparse.Namespace) -> Asked:
    """The command, as a sweep: only of these do launchers run; --job needs one on SLURM."""
    given.multirun = True
    if given.job and not any(each.startswith(_LAUNCHER) for each in given.overrides):
        given.overrides = [f"{_LAUNCHER}slurm", *given.overrides]
    wanted = asked(given, faults_too=True)
    if given.job and wanted.launcher.cluster is not Cluster.slurm:
        raise ConfigError(
            f"--job: expected a launcher that submits jobs, got one that does not. Choose {_LAUNCHER}slurm."
        )
    return wanted


def _of_hubs(wanted: Asked, fetching: str) -> list[Check]:
    """What of the repositories is at hand; the hub is asked where the cache is not enough.

    Raises:
        ConfigError: what is wrong beside repositories that cannot be had.
    """
    needed, faults = repositories(wanted.checked.cells), wanted.checked.faults
    planned: tuple[Fetch, ...] | None = None
    if needed and not faults:
        # What cannot be planned is told repository by repository.
        with suppress(ConfigError):
            work = plan(wanted.requests, wanted.launcher if wanted.checked.multirun else None)
            planned = None if work.refused else fetches(work.tasks)
    checks = repository_checks(needed, planned, faults, fetching)
    told = [each.name for each, check in zip(needed, checks, strict=True) if check.ok is False]
    others = [fault for fault in faults if not any(name in fault for name in told)]
    if others:
        raise ConfigError(*others)
    return checks


def _probe(wanted: Asked) -> Iterable[Check]:
    if reason := slurm.available():
        return (Check("job", False, f"none was submitted: {reason}", ""),)
    try:
        return probe(wanted.checked.cells[0].store, wanted.launcher)
    except OSError as error:
        return (
            Check(
                "job",
                False,
                f"none was submitted: {error}",
                "Choose a store that can be written to: store=...",
            ),
        )
