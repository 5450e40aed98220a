"""The state of a training in a file, from which a killed training goes on with the same numbers."""

import hashlib
import logging
import os
import pickle
import secrets
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from io import BufferedRandom
from pathlib import Path
from typing import Any

import torch

from saeuniv.config import canonical_json

_log = logging.getLogger(__name__)

# Seconds of training between two writes: what a kill loses at most ...
INTERVAL_S = 60.0
# ... unless a write is slow: it is followed by this many times its duration without one.
PAUSE_PER_WRITE = 20

# Another version of these may give other numbers, half-way.
_PACKAGES = ("torch", "eai-sparsify", "schedulefree")

_FILE = "state.pt"
_DIGEST_BYTES = hashlib.sha256().digest_size


class TrainingState:
    """One file in `folder`, replaced by a rename; no folder, no file.

    `settings` are JSON values: all that decides what a step does. A state of others is not used. Keep in
    a state all that changes from step to step. When it is written never enters the numbers.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, object]) -> None:
        self._folder = folder
        versions = {package: version(package) for package in _PACKAGES}
        self._settings = canonical_json({**settings, "versions": versions})
        self._due = time.monotonic() + INTERVAL_S

    def read(self) -> dict[str, Any] | None:
        """What was last written, on the CPU; None where nothing was or it is damaged or of other settings."""
        if self._folder is None:
            return None
        path = self._folder / _FILE
        try:
            for unfinished in self._folder.glob("*.tmp"):
                # Of a writer that was killed; one that lives merely fails to write this once.
                unfinished.unlink(missing_ok=True)
            with path.open("rb") as file:
                digest = file.read(_DIGEST_BYTES)
                # torch does not check the sums in its files: without ours, a flipped bit would be trained on.
                if digest != hashlib.file_digest(file, "sha256").digest():
                    raise ValueError("its bytes are not those that were written")
                file.seek(_DIGEST_BYTES)
                written = torch.load(file, map_location="cpu", weights_only=True)
            if written["settings"] != self._settings:
                raise ValueError("it is of a training with other settings or versions of packages")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
            _log.warning("%s is not used: %s. The training starts from zero.", path, error)
            return None
        return written["state"]

    def write(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write `state()` if it is due. A disk that cannot take it is named, and training goes on."""
        started = time.monotonic()
        if self._folder is None or started < self._due:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._replace(self._folder, {"settings": self._settings, "state": state()})
        except (OSError, RuntimeError) as error:  # torch says a full disk as RuntimeError
            _log.warning("%s: the state of the training could not be written: %s", self._folder, error)
        ended = time.monotonic()
        self._due = ended + max(INTERVAL_S, (ended - started) * PAUSE_PER_WRITE)

    @staticmethod
    def _replace(folder: Path, content: dict[str, Any]) -> None:
        # Not tempfile: its files are readable by their owner only; a store may be shared.
        temporary = folder / f"{secrets.token_hex(4)}.tmp"
        try:
            with temporary.open("x+b") as file:
                _write_with_digest(file, content)
            temporary.replace(folder / _FILE)
        finally:
            temporary.unlink(missing_ok=True)


def _write_with_digest(file: BufferedRandom, content: dict[str, Any]) -> None:
    """The sha256 of all that follows, then the content."""
    file.write(bytes(_DIGEST_BYTES))
    torch.save(content, file)
    file.seek(_DIGEST_BYTES)
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0)
    file.write(digest)
    file.flush()
    os.fsync(file.fileno())
