"""What a shell offers after `saeuniv`: commands, what they take, and overrides as for launch.py."""

from collections.abc import Sequence

from saeuniv.commands.sweeps import sweep_names
from saeuniv.config.help import CITE, COMMANDS

_TAKE_OVERRIDES = ("plan", "fetch", "doctor")
_TAKE_A_SWEEP = (
    *("status", "logs", "cancel", "retry", "report"),
    *("figure", "compare", "export", "sync", "workspace", CITE),
)
_ACTIONS = {"store": ("du", "gc"), "task": ("run",)}

# Of commands; Hydra, which completes the rest, does not know them.
_FLAGS = ("--json", "--job", "--emit")


def completed(line: str) -> tuple[Sequence[str], str | None]:
    """What to offer at the end of a line that begins with the program's name.

    Returns:
        Words to offer, and the line as Hydra completes it; None where it has nothing to add.
    """
    program, *words = line.split()
    typed = "" if line[-1:].isspace() else words.pop() if words else ""
    if not words:
        return [each for each in COMMANDS if each.startswith(typed)], line
    command, *rest = words
    if command not in (*COMMANDS, CITE):
        return [], line
    if command in _TAKE_OVERRIDES and not typed.startswith("-") and rest[-1:] != ["--emit"]:
        return [], " ".join([program, *_overrides(rest), typed])
    first = sweep_names() if command in _TAKE_A_SWEEP else _ACTIONS.get(command, ())
    return [each for each in first if each.startswith(typed)] if not rest else [], None


def _overrides(words: Sequence[str]) -> list[str]:
    """What is left without the command's own flags."""
    emitted = {place + 1 for place, word in enumerate(words) if word == "--emit"}
    return [
        word
        for place, word in enumerate(words)
        if place not in emitted and word.partition("=")[0] not in _FLAGS
    ]
