"""`saeuniv store du|gc`: what the store holds, and what of it may go."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.shell import DONE, FAILED, add_store, parser, path_of, say
from saeuniv.config import ConfigError
from saeuniv.report.console import console
from saeuniv.store.garbage import ARTIFACTS, Garbage, mentioned
from saeuniv.store.manifest import MANIFEST
from saeuniv.store.removal import garbage_json, garbage_table, remove
from saeuniv.store.usage import bytes_text, usage, usage_json, usage_table
from saeuniv.sweep.cleaning import garbage

_KEEP_DAYS = 30.0


def main(argv: Sequence[str]) -> int:
    """Show, or with `gc --yes` remove.

    Raises:
        ConfigError: there is no store, or an argument is wrong; nothing is removed.
    """
    given = _parser().parse_args(argv)
    root: Path = given.store
    if not root.is_dir():
        raise ConfigError(
            f"{root}: expected a store, found no such folder. Set SAEUNIV_STORE, or --store DIR."
        )
    return _du(root, given) if given.action == "du" else _gc(root, given)


def _parser() -> argparse.ArgumentParser:
    arguments = parser("store", "What the store holds, and what of it may go.")
    actions = arguments.add_subparsers(dest="action", required=True, metavar="du|gc")
    du = actions.add_parser("du", allow_abbrev=False, help="what the store holds, by kind")
    gc = actions.add_parser("gc", allow_abbrev=False, help="what may go; with --yes it goes")
    for each in (du, gc):
        add_store(each)
        each.add_argument("--json", action="store_true", help="for programs")
    gc.add_argument("--yes", action="store_true", help="remove it; without, it is only listed")
    gc.add_argument(
        "--keep-days",
        type=float,
        default=_KEEP_DAYS,
        metavar="N",
        help=f"what is younger stays ({_KEEP_DAYS:g})",
    )
    gc.add_argument(
        "--unreferenced",
        type=path_of,
        nargs="+",
        metavar="DIR",
        help="also artifacts that no results below these folders (multirun) rest on",
    )
    return arguments


def _du(root: Path, given: argparse.Namespace) -> int:
    found = usage(root)
    if given.json:
        sys.stdout.write(json.dumps(usage_json(found), indent=1) + "\n")
    else:
        console().print(usage_table(found))
    return DONE


def _gc(root: Path, given: argparse.Namespace) -> int:
    found = _garbage(root, given)
    if not given.yes:
        if given.json:
            sys.stdout.write(json.dumps(garbage_json(root, found), indent=1) + "\n")
            return DONE
        if found:
            console().print(garbage_table(root, found))
        say("Nothing was removed; --yes removes it." if found else "Nothing may go.")
        return DONE
    removed = remove(root, found)
    for path, reason in removed.kept:
        sys.stderr.write(f"kept {path}: {reason}\n")
    if given.json:
        values = {
            **garbage_json(root, found),
            "removed": removed.n,
            "removed_bytes": removed.bytes,
            "kept": dict(removed.kept),
        }
        sys.stdout.write(json.dumps(values, indent=1) + "\n")
    else:
        say(f"{removed.n} removed, {bytes_text(removed.bytes)}.")
    return FAILED if removed.kept else DONE


def _garbage(root: Path, given: argparse.Namespace) -> tuple[Garbage, ...]:
    """Raises ConfigError where an argument is wrong, or the folder no store."""
    # In another folder checkpoints/ and jobs/ are somebody else's.
    if not any(any(root.glob(f"{kind}/{each}/{MANIFEST}")) for kind in ARTIFACTS for each in ("*", "*/*")):
        raise ConfigError(f"{root}: expected a store, found no artifact in it. Name the store: --store DIR.")
    try:
        referenced = mentioned(given.unreferenced) if given.unreferenced else None
        return garbage(root, keep_days=given.keep_days, referenced=referenced)
    except ValueError as error:
        raise ConfigError(str(error)) from error
