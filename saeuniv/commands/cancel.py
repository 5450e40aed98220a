"""`saeuniv cancel SWEEP`: cancel the jobs of a sweep that wait or run."""

from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.shell import DONE, say
from saeuniv.commands.sweeps import find_sweep, sweep_parser
from saeuniv.sweep import slurm
from saeuniv.sweep.claims import submission_lock
from saeuniv.sweep.slurm import QueueError
from saeuniv.sweep.status import sweep_status


def main(argv: Sequence[str]) -> int:
    """Cancel what lives; what has been published stays, and the same command goes on from it.

    Raises:
        QueueError: SLURM did not answer; nothing was cancelled.
    """
    arguments = sweep_parser(
        "cancel",
        "Cancel the jobs of a sweep on SLURM, also where other sweeps wait for them; what they published "
        "stays.",
    )
    _, record = find_sweep(arguments.parse_args(argv).sweep)
    if not record.tasks:
        say(f"0 jobs cancelled: {record.name} has none. It runs where its command does; interrupt that.")
        return DONE
    # No driver is between two arrays of the sweep meanwhile.
    with submission_lock(Path(record.store)):
        status = sweep_status(record)
        if status.unanswered:
            raise QueueError(f"nothing was cancelled: {status.unanswered}")
        if jobs := status.live_jobs():
            slurm.cancel(jobs)
    if jobs:
        say(f"{len(jobs)} jobs cancelled. `saeuniv retry {record.name}` goes on.")
    else:
        say(f"0 jobs cancelled: nothing of {record.name} waits or runs.")
    return DONE
