"""`saeuniv`: the Hydra application, and commands beside it: `saeuniv plan ...`, `saeuniv status ...`."""

import importlib
import os
import sys

from saeuniv.config.help import CITE, COMMANDS


def main() -> None:
    """Run the command, or the Hydra application where the first argument is none.

    Raises:
        SystemExit: 0 done; 1 work failed; 2 wrong arguments, nothing written; 130 interrupted.
    """
    # Commands are imported when called: completion and --help need none of them.
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    module = "cite" if name == CITE else name
    if name in (*COMMANDS, CITE):
        from saeuniv.commands.shell import guarded

        command = importlib.import_module(f"saeuniv.commands.{module}")
        raise SystemExit(guarded(command.main, sys.argv[2:]))
    if name in ("-sc", "--shell-completion") and "COMP_LINE" in os.environ:
        _complete_commands()
    elif name and "=" not in name and not name.startswith(("-", "~")):
        from saeuniv.preflight.suggestions import choose

        choices = choose(name, list(COMMANDS))
        sys.stderr.write(f"{name}: expected a command, or overrides (key=value; see --help). {choices}\n")
        raise SystemExit(2)
    from saeuniv.app import main as launch

    launch()


def _complete_commands() -> None:
    """Offer what commands take, and leave to Hydra the overrides of those that take overrides."""
    from saeuniv.commands.completion import completed

    offered, line = completed(os.environ["COMP_LINE"])
    sys.stdout.writelines(f"{each}\n" for each in offered)
    if line is None:
        raise SystemExit(0)
    os.environ["COMP_LINE"] = line
