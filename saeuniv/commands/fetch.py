"""`saeuniv fetch <overrides>`: what a command needs from hubs, fetched now; its jobs then run offline."""

import sys
from collections.abc import Sequence

from saeuniv.commands.asking import asked, overrides_parser
from saeuniv.commands.shell import DONE, FAILED
from saeuniv.sweep.plan import plan
from saeuniv.sweep.run import fetch


def main(argv: Sequence[str]) -> int:
    """Say how much is to be fetched, then fetch it; 1 where a comparison is refused."""
    arguments = overrides_parser(
        "fetch", "Fetch what a command of launch.py needs from hubs, and does not have; nothing else is done."
    )
    wanted = asked(arguments.parse_intermixed_args(argv))
    work = plan(wanted.requests, wanted.launcher if wanted.checked.multirun else None)
    fetch(work, always_say=True)
    for request, error in work.refused:
        sys.stderr.write(f"refused: {request.folder.name}: {error}\n")
    return FAILED if work.refused else DONE
