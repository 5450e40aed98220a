"""What may go from a store that jobs work in: garbage, as far as SLURM knows of no job that needs it."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from saeuniv.store import ArtifactError
from saeuniv.store.garbage import Garbage, collect
from saeuniv.sweep import claims
from saeuniv.sweep.attach import jobs_of, notes_of, states_of
from saeuniv.sweep.slurm import QueueError


def garbage(
    root: Path, *, keep_days: float, referenced: Collection[str] | None = None
) -> tuple[Garbage, ...]:
    """`saeuniv.store.garbage.collect`, with claims and checkpoints judged by SLURM and by what was published.

    Where SLURM does not answer (or jobs are another cluster's) nothing is known of jobs, and all they claim
    stays.

    Raises:
        ValueError: `keep_days` is not a number of days.
    """
    live = _Live(root)
    return collect(
        root,
        keep_days=keep_days,
        is_live=live.is_live,
        is_done=partial(_is_done, root),
        referenced=referenced,
    )


class _Live:
    """Which claimed tasks are in the hands of jobs; SLURM is asked once, when the first is asked about."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ended: frozenset[str] | None = None

    def is_live(self, key: str) -> bool:
        if self._ended is None:
            try:
                self._ended = self._ask()
            except QueueError:
                self._ended = frozenset()
        return key not in self._ended

    def _ask(self) -> frozenset[str]:
        """Keys of the tasks whose jobs have certainly ended."""
        every = claims.all_claims(self._root)
        notes = notes_of(self._root, every)
        jobs = jobs_of(every, notes)
        states = states_of(every, jobs)
        ended: set[str] = set()
        for each in every:
            if each.token not in notes:
                # No note, and SLURM does not know the token; a note of another cluster says nothing here.
                gone = claims.read_note(self._root, each.token) is None
            else:
                state = states.get(each.key)
                gone = each.key in jobs and (state is None or not state.live)
            ended |= {each.key} if gone else set()
        return frozenset(ended)


def _is_done(root: Path, key: str) -> bool:
    try:
        return claims.read_task(root, key).is_done()
    except (ValueError, ArtifactError):
        return False
