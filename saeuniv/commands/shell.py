"""How commands speak and end: lines on the one console, flags as launch.py has them, faults as exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from saeuniv.app import DONE, FAILED, INTERRUPTED, WRONG_CONFIGURATION
from saeuniv.config import ConfigError
from saeuniv.report.console import console
from saeuniv.sweep.slurm import QueueError


def guarded(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command; faults are said in words, one a line, and become exit codes."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        code = command(argv)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        sys.stderr.write("".join(f"{fault}\n" for fault in error.faults))
        return WRONG_CONFIGURATION
    except BrokenPipeError:
        # Whoever read (head, less) has seen enough; Python must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (QueueError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED


def say(text: str) -> None:
    """One line for people, as it is: brackets are no markup, and long paths are not broken."""
    console().print(text, highlight=False, markup=False, soft_wrap=True)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser of a command's own arguments."""
    return argparse.ArgumentParser(prog=f"saeuniv {name}", description=description, allow_abbrev=False)


def add_store(arguments: argparse.ArgumentParser) -> None:
    """Let a command have --store, by default the one that SAEUNIV_STORE names."""
    default = path_of(os.environ.get("SAEUNIV_STORE", "~/.cache/saeuniv"))
    help_ = f"another than {default}".replace("%", "%%")
    arguments.add_argument("--store", type=path_of, default=default, metavar="DIR", help=help_)


def path_of(text: str) -> Path:
    """A path as it is written in a shell that does not know ~."""
    return Path(text).expanduser()


__all__ = ["DONE", "FAILED", "WRONG_CONFIGURATION", "add_store", "guarded", "parser", "path_of", "say"]
