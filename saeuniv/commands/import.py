"""`saeuniv import DIR`: what `saeuniv export` wrote, verified, into the store and below multirun/."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from saeuniv.commands.shell import DONE, FAILED, add_store, parser, say
from saeuniv.commands.sweeps import MULTIRUN
from saeuniv.config import ConfigError
from saeuniv.store import ArtifactError, Store, check_writable
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.sharing import Import, plan_import, read_contract
from saeuniv.sweep.sharing.progress import progress
from saeuniv.sweep.sharing.room import room_faults


def main(argv: Sequence[str]) -> int:
    """Verify every file, then place artifacts and results; what is there already is kept.

    Raises:
        ConfigError: see `plan_import`; nothing is placed.
    """
    arguments = parser("import", "Put what `saeuniv export` wrote into the store and below multirun/.")
    arguments.add_argument("folder", metavar="DIR", type=Path, help="that was exported")
    arguments.add_argument("--name", help="of the sweep here; default: as exported")
    add_store(arguments)
    given = arguments.parse_args(argv)
    source, store = given.folder.expanduser(), Store(given.store)
    total = sum(each.bytes for each in read_contract(source).files.values())
    with progress("verified", total) as told:
        found = plan_import(source, MULTIRUN, name=given.name, told=told)
    faults = [*filter(None, [check_writable(store.root)]), *_room(found, store)]
    if faults:
        raise ConfigError(*faults)
    return _placed(found, store, total)


def _room(found: Import, store: Store) -> Iterator[str]:
    return room_faults(store.root, found.stored_bytes, remedy="Choose another: --store DIR.")


def _placed(found: Import, store: Store, total: int) -> int:
    try:
        with progress("placed", total) as told:
            n_artifacts, n_results = found.place(store, told)
    except ArtifactError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    say(f"{bytes_text(total)} verified, {len(found.contract.files):,} files.")
    if found.artifacts:
        kept = len(found.artifacts) - n_artifacts
        say(f"store: {store.root}: {n_artifacts} artifacts placed, {kept} were there.")
    if found.local:
        say(f"dictionaries that were not trained by saeuniv stay in {found.source}: {', '.join(found.local)}")
    if comparisons := [name for name in found.results if name]:
        say(f"results: {found.sweep}: {n_results} placed, {len(comparisons) - n_results} were there.")
        if os.environ.get("SAEUNIV_STORE") != str(store.root) and found.artifacts:
            say(f"Results name a store of their own; this one is found with SAEUNIV_STORE={store.root}")
    return DONE
