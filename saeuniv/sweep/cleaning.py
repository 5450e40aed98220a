"""What may go from a store that jobs work in: garbage, as far as SLURM knows of no job that needs it."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from saeuniv.store import ArtifactError
from saeuniv.store.garbage import Garbage, collect
from saeuniv.sweep import claims, slurm
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
        cluster = slurm.cluster_name()
        jobs: dict[str, tuple[str, str]] = {}
        ended: set[str] = set()
        for claim in claims.all_claims(self._root):
            note = claims.read_note(self._root, claim.token)
            if note is None:
                # Its driver died about when it submitted; if it did, SLURM knows the token.
                if slurm.find(claim.token) is None:
                    ended.add(claim.key)
            elif note.cluster == cluster and claim.place < len(note.jobs):
                jobs[claim.key] = (note.jobs[claim.place], claim.token)
        states = slurm.states({job for job, _ in jobs.values()})
        for key, (job, token) in jobs.items():
            state = states.get(job)
            # Another comment: the cluster was set up anew, and this is another job of that number.
            if state is None or not state.live or state.comment not in (None, token):
                ended.add(key)
        return frozenset(ended)


def _is_done(root: Path, key: str) -> bool:
    try:
        return claims.read_task(root, key).is_done()
    except (ValueError, ArtifactError):
        return False
