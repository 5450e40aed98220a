"""How commands speak and end: lines on the one console, flags as launch.py has them, faults as exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

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


__all__ = ["DONE", "FAILED", "WRONG_CONFIGURATION", "guarded", "parser", "say"]
