"""What views and reports both ask of W&B: the library for them, which runs, whose, and faults in words.

The library (wandb-workspaces, a public preview) is the optional extra `workspace`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

_INSTALL = 'wandb-workspaces, which is not installed. Install it: pip install "saeuniv[workspace]"'


class Library(NamedTuple):
    """What is used of wandb-workspaces, by name: it is an extra, and what it says of its own types fails."""

    expr: Any
    workspaces: Any
    reports: Any


def library(asked_by: str) -> Library:
    """The library of views and reports.

    Raises:
        ValueError: where it is not installed.
    """
    try:
        import_module("wandb_workspaces")
        names = ("expr", "workspaces", "reports.v2")
        return Library(*(import_module(f"wandb_workspaces.{name}") for name in names))
    except ImportError as error:
        raise ValueError(f"{asked_by}: expected the package {_INSTALL}") from error


def runs_where(**equal: str) -> str:
    """A filter of runs in the library's language; keys are W&B's names of what a run has, as `group`.

    The library puts values between quotes as they are, then replaces each `=`, `<` and `>` of the whole
    text, and reads it as Python. So all but letters, digits and what names are made of is escaped.
    """
    return " and ".join(f'Metric("{key}") == "{_escaped(value)}"' for key, value in equal.items())


def default_entity() -> str:
    """The entity that the API key belongs to; needs the server.

    Raises:
        ValueError: it has none, or the server does not say.
    """
    import wandb

    with faults_in_words():
        entity = wandb.Api().default_entity
    if not entity:
        raise ValueError(
            "W&B: expected an API key with an entity of its own, got one without. "
            "Say the user or team: --entity=<name>"
        )
    return entity


@contextmanager
def faults_in_words() -> Generator[None]:
    """Makes one ValueError of whatever is raised where the server refuses or does not answer.

    W&B's libraries have several classes for this, and a bare Exception.

    Raises:
        ValueError: with what W&B said.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"W&B: expected what was asked for to be done, got {type(error).__name__}: "
            f"{str(error).rstrip('.')}. Nothing on disk depends on it; the same command asks again."
        ) from error


def _escaped(value: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else f"\\U{ord(each):08x}" for each in value)
