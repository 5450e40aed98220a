"""Files of hub repositories, fetched on the machine that submits: jobs run without a network."""

import hashlib
import logging
from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from saeuniv.adapters import downloads
from saeuniv.adapters.downloads import HubFile
from saeuniv.config import canonical_json
from saeuniv.stages.task import Progress, Task
from saeuniv.store.usage import bytes_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetch(Task):
    """The files of one commit that other tasks load, into the cache of the hub's client.

    It publishes nothing in the store, so that it is never a job: it runs before anything is submitted.
    """

    stage: ClassVar[str] = "fetch"

    repository: str
    revision: str
    """The commit."""

    files: tuple[HubFile, ...]
    """In the order of fetching."""

    @property
    def label(self) -> str:
        """The repository and how large its files are."""
        return f"{self.repository} {bytes_text(self.n_bytes)}"

    @property
    def key(self) -> str:
        """16 hexadecimal digits, equal for the same commit."""
        named = canonical_json([self.stage, self.repository, self.revision])
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    @property
    def group(self) -> Hashable:
        """The commit."""
        return (self.stage, self.key)

    @property
    def n_bytes(self) -> int:
        """Of all files, those in the cache included."""
        return sum(file.n_bytes for file in self.files)

    def missing(self) -> tuple[HubFile, ...]:
        """The files that are not in the cache; the network is not asked."""
        names = downloads.missing(self.repository, self.revision, (file.name for file in self.files))
        return tuple(file for file in self.files if file.name in names)

    def is_done(self) -> bool:
        """True if every file is in the cache."""
        return not self.missing()

    def united(self, other: Any) -> "Fetch":
        """The files of both."""
        return replace(self, files=tuple(dict.fromkeys((*self.files, *other.files))))

    def without(self, paths: Collection[str]) -> "Fetch | None":
        """The same: nothing of it is in the store."""
        return self

    def __call__(self, progress: Progress) -> None:
        """Fetch file by file; what an interruption leaves is gone on with.

        Raises:
            ConfigError: no access, no such file, or the hub cannot be asked.
        """
        wanted = self.missing()
        for done, file in enumerate(wanted):
            downloads.download(self.repository, self.revision, file.name)
            progress(done + 1, len(wanted))
        if wanted:
            _log.info("fetch: %s at %s ready, %d files", self.repository, self.revision[:12], len(wanted))
