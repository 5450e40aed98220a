"""`saeuniv retry SWEEP`: the command of a sweep again, from the folder where it was given."""

import os
import sys
from collections.abc import Sequence

from saeuniv.app import main as launch
from saeuniv.commands.shell import DONE
from saeuniv.commands.sweeps import find_sweep, sweep_parser
from saeuniv.config import ConfigError

_STORE = "SAEUNIV_STORE"


def main(argv: Sequence[str]) -> int:
    """Ask again: what failed is submitted, what lives is attached to, what is done is left alone."""
    arguments = sweep_parser(
        "retry",
        "Ask for a sweep again, as it was last asked for: what failed is done again, what lives is attached "
        "to, what is done is left alone.",
    )
    folder, record = find_sweep(arguments.parse_args(argv).sweep)
    try:
        os.chdir(record.stood)
    except OSError as error:
        raise ConfigError(
            f"{folder}: expected the folder in which the sweep was asked for, {record.stood}, but it cannot "
            f"be entered ({error.strerror}). Give its command where its relative paths lead to the same "
            f"files: {' '.join(record.command)}"
        ) from error
    sys.argv[1:] = record.command
    earlier = os.environ.get(_STORE)
    # Its own, whatever this shell says; `store=...` in the command still comes first.
    os.environ[_STORE] = record.store
    try:
        launch()
    finally:
        os.environ.pop(_STORE)
        os.environ |= {_STORE: earlier} if earlier is not None else {}
    return DONE
