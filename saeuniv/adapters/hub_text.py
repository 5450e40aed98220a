"""Files of a data set of the Hugging Face hub: chosen once by the hub's list, then read from the cache."""

import fnmatch
from pathlib import Path
from typing import NamedTuple

from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import DATASETS
from saeuniv.adapters.records import SUFFIXES, TextFile, is_text
from saeuniv.config import ConfigError, HubData

# How many files a message names.
_NAMED = 12


class HubText(NamedTuple):
    """What is read of a data set: a commit and names of files, which name the text in a store key."""

    repository: str
    """datasets/owner/name"""

    commit: str
    files: tuple[str, ...]

    def text_files(self) -> list[TextFile]:
        """The files on this machine, fetched where they are not in the cache.

        Raises:
            ConfigError: no access, no such file, or neither in the cache nor to be had.
        """
        source = HubFolder(self.repository, self.commit, self.repository)
        paths = [(name, source.file(name)) for name in self.files]
        return [TextFile(name, self._present(name, path)) for name, path in paths]

    def cached_files(self) -> list[TextFile]:
        """Those of the files that are in the cache; the network is not asked."""
        source = HubFolder(self.repository, self.commit, self.repository)
        return [TextFile(name, path) for name in self.files if (path := source.cached(name))]

    def _present(self, name: str, path: Path | None) -> Path:
        if path is None:
            raise ConfigError(f"{self.repository}: expected {name} at {self.commit}, and the hub has none.")
        return path


def hub_text(data: HubData) -> HubText:
    """The commit that the revision stands for, and the first `max_files` files that match.

    The hub is asked once for each commit; its list of files is kept beside the client's cache.

    Raises:
        ConfigError: no such repository, no access, no file that matches, or files that cannot be read.
        HubUnreachable: the hub could not be asked.
    """
    where = f"data.name={data.name}"
    if data.name.count("/") != 1:
        raise ConfigError(f"{where}: expected owner/name of a data set of the hub, got {data.name}.")
    source = HubFolder(DATASETS + data.name, data.revision, where)
    listing = source.listing("the list of files")
    matching = sorted(name for name in listing.files if fnmatch.fnmatchcase(name, data.files))
    chosen = [name for name in matching if is_text(name)][: data.max_files]
    if not chosen:
        raise ConfigError(_nothing(data, sorted(listing.files), matching))
    return HubText(source.repository, listing.commit, tuple(chosen))


def _nothing(data: HubData, there: list[str], matching: list[str]) -> str:
    """Why no file can be read, with those that could be."""
    readable = [name for name in there if is_text(name)]
    listed = ", ".join(readable[:_NAMED]) + (f" and {len(readable) - _NAMED} more" * (len(readable) > _NAMED))
    got = f"only {', '.join(matching[:_NAMED])}" if matching else "none"
    remedy = f"It has {listed}. Choose data.files=<pattern>." if readable else "It has none of these at all."
    return (
        f"data.files={data.files}: expected files *{', *'.join(SUFFIXES)} of {data.name} that match, "
        f"got {got}. {remedy}"
    )
