"""`saeuniv doctor [overrides]`: what this machine, the store and SLURM can do; `--job` asks the nodes too."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from saeuniv.commands.asking import Asked, asked, overrides_parser
from saeuniv.commands.shell import DONE, WRONG_CONFIGURATION
from saeuniv.config import Cluster, ConfigError
from saeuniv.report.console import console
from saeuniv.sweep import slurm
from saeuniv.sweep.check import Check, all_well, checks_json, checks_table
from saeuniv.sweep.doctor import doctor
from saeuniv.sweep.probing import probe

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
    wanted = _asked(given)
    store = wanted.checked.cells[0].store
    checks = [*doctor(store)]
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
    wanted = asked(given)
    if given.job and wanted.launcher.cluster is not Cluster.slurm:
        raise ConfigError(
            f"--job: expected a launcher that submits jobs, got one that does not. Choose {_LAUNCHER}slurm."
        )
    return wanted


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
