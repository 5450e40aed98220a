"""A test hook: die in the middle of publishing, as a killed job does."""

import os
import re
from collections import Counter
from typing import NamedTuple

from saeuniv.store.artifacts import Kind

FAULT_POINTS = ("before_publish", "files_written", "manifest_written", "before_rename", "after_rename")
"""In the order in which publishing passes them."""

SUBMISSION_POINTS = ("claimed", "submitted")
"""Before jobs are given to SLURM, and before it is written down that they were."""

_EXIT_CODE_OF_SIGKILL = 137

_passed: Counter[str] = Counter()


def fault(point: str, kind: Kind | None = None) -> None:
    """Die here without any clean-up if SAEUNIV_FAULT asks for it.

    `SAEUNIV_FAULT=<point>` dies at the first artifact to pass that point in this process,
    `<point>:<kind>` at the first of that kind, `<point>:<kind>:<n>` at the n-th of that kind.

    Raises:
        ValueError: if SAEUNIV_FAULT is not of this form; a test with a misspelt point would test nothing.
    """
    asked = os.environ.get("SAEUNIV_FAULT")
    if not asked:
        return
    at, of_kind, nth = _parse(asked)
    if point != at or of_kind not in (None, kind and kind.value):
        return
    _passed[asked] += 1
    if _passed[asked] == nth:
        os._exit(_EXIT_CODE_OF_SIGKILL)


class _Asked(NamedTuple):
    point: str
    kind: str | None
    nth: int


def _parse(asked: str) -> _Asked:
    kinds = [each.value for each in Kind]
    points = (*FAULT_POINTS, *SUBMISSION_POINTS)
    form = rf"({'|'.join(points)})(?::({'|'.join(kinds)})(?::([1-9][0-9]*))?)?"
    match = re.fullmatch(form, asked)
    if match is None:
        raise ValueError(
            f"SAEUNIV_FAULT: expected <point>[:<kind>[:<n>]], got {asked}. "
            f"Points: {', '.join(points)}. Kinds: {', '.join(kinds)}."
        )
    return _Asked(match[1], match[2], int(match[3] or 1))
