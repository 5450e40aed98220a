"""How kernels are compiled: once for each kind of machine, kept on disk, and without Python's lock."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config

_HERE = Path(__file__).parent


def kept_in() -> Path:
    """The folder of compiled kernels: NUMBA_CACHE_DIR, or beside the artifacts, which all jobs see.

    Below it, one folder for each state of these sources: numba looks at a kernel's own file only, not at
    those of the kernels that it calls.
    """
    store = Path(os.environ.get("SAEUNIV_STORE") or "~/.cache/saeuniv").expanduser()
    sources = b"".join(file.read_bytes() for file in sorted(_HERE.glob("*.py")))
    named = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(named) if named else store / "numba") / hashlib.sha256(sources).hexdigest()[:12]


config.CACHE_DIR = str(kept_in())  # pyright: ignore[reportAttributeAccessIssue]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled by numba when it is first called, and running beside other threads.

    Neither `fastmath` nor `parallel`: results must be the same bits whatever runs beside them, so work is
    split over threads by the caller. Write it under `typing.no_type_check`, which keeps the tests' checks of
    arguments out of compiled code.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # No folder can be written to: every process compiles anew (`saeuniv doctor` says so).
        return numba.njit(nogil=True)(function)
