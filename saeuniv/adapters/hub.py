"""Hugging Face hub repositories: what they say of themselves, from the local cache where it can."""

import os
import socket
import urllib.parse
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from saeuniv.adapters.checkpoints import read_json, tensor_shapes
from saeuniv.adapters.hub_cache import (
    Listing,
    cache_folder,
    commit_in_cache,
    place_of,
    remember,
    remembered,
)
from saeuniv.adapters.hub_download import download_file
from saeuniv.adapters.hub_errors import client_errors, explained
from saeuniv.config import ConfigError

_TIMEOUT_SECONDS = 10.0
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


class HubFolder(NamedTuple):
    """One revision of a repository of the hub. Files come from the cache, else over the network.

    A branch is followed to its commit once, and every further file is of that commit.
    """

    repository: str
    """owner/name of a model; datasets/owner/name of a data set, as the hub writes it in addresses."""

    revision: str
    where: str
    """The configuration key and value that named the repository, for messages."""

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None where the repository has no such file.

        Raises:
            ConfigError: see `file`.
        """
        path = self.file(name)
        return None if path is None else read_json(path)

    def file(self, name: str) -> Path | None:
        """A file in the cache, fetched first if it is not there; None where the repository has none.

        Raises:
            ConfigError: there is no such repository, or no access to it.
            HubUnreachable: neither the cache nor the hub could be asked.
        """
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with self._explained(name):
            cached = self.cached(name)
            if cached is not None or self.known_absent(name):
                return cached
            _require_network()
            try:
                repository, kind = place_of(self.repository)
                return download_file(repository, name, kind=kind, revision=self._pinned())
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError):
                    raise
                return None

    def cached(self, name: str) -> Path | None:
        """A file in the cache; the network is not asked."""
        found = self._looked_up(name)
        return Path(found) if isinstance(found, str) else None

    def known_absent(self, name: str) -> bool:
        """Whether the cache remembers that this commit has no such file."""
        found = self._looked_up(name)
        return found is not None and not isinstance(found, str)

    def _looked_up(self, name: str) -> object:
        import huggingface_hub

        repository, kind = place_of(self.repository)
        return huggingface_hub.try_to_load_from_cache(
            repository, name, repo_type=kind, revision=self.revision
        )

    def files(self, wanted: str) -> Mapping[str, int]:
        """Every file of the commit with its bytes, as the hub lists them; asked once per process.

        `wanted` is what messages name. Access to a gated repository is checked.

        Raises:
            ConfigError: there is no such repository, or no access to it.
            HubUnreachable: the hub could not be asked.
        """
        return (remembered(self.repository, self._pinned()) or self._asked(wanted)).files

    def listing(self, wanted: str) -> Listing:
        """The commit and its files, remembered beside the cached files: asked once, later runs need no hub.

        Raises:
            ConfigError: see `files`.
        """
        listing = remembered(self.repository, self._pinned())
        if listing is None:
            listing = self._asked(wanted)
            remember(self.repository, self.revision, listing)
        return listing

    def _asked(self, wanted: str) -> Listing:
        from huggingface_hub import constants

        with self._explained(wanted):
            _require_network()
            listing = _listing(constants.ENDPOINT, self.repository, self._pinned())
            if isinstance(listing, Exception):
                raise listing
            return listing

    def shapes(self, name: str) -> dict[str, tuple[int, ...]] | None:
        """The shapes of the tensors of a safetensors file; over the network only its header is read.

        Raises:
            ValueError: the file has no such header; otherwise see `file`.
        """
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, SafetensorsParsingError

        with self._explained(name):
            cached = self.cached(name)
            if cached is not None:
                return tensor_shapes(cached)
            if self.known_absent(name):
                return None
            _require_network()
            try:
                header = huggingface_hub.HfApi().parse_safetensors_file_metadata(
                    self.repository, name, revision=self._pinned()
                )
            except EntryNotFoundError:
                return None
            except SafetensorsParsingError as error:
                raise ValueError(f"{name}: expected a safetensors file, got no readable header.") from error
        return {tensor: tuple(entry.shape) for tensor, entry in header.tensors.items()}

    @property
    def title(self) -> str:
        """The repository's name without its owner."""
        return self.repository.rsplit("/", 1)[-1]

    def names(self) -> list[str]:
        """The files of this revision that are in the cache; the network is not asked."""
        snapshot = self._snapshot()
        if snapshot is None:
            return []
        return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def identity(self, folder: str, *names: str) -> dict[str, str]:
        """What names these files in a store key: repository, resolved commit and sub-folder."""
        place = {"folder": folder} if folder else {}
        return {"repository": self.repository, "commit": self._commit(), **place}

    def loadable(self, folder: str) -> str:
        """What loading takes: the repository's name, or the sub-folder within it."""
        return folder or self.repository

    def _snapshot(self) -> Path | None:
        """The cached files of this revision; the folder's name is the commit."""
        snapshot = cache_folder(self.repository) / "snapshots" / self._pinned()
        return snapshot if snapshot.is_dir() else None

    def _commit(self) -> str:
        """The commit, from the cache, else as listed; the cache remembers it, for runs without a network."""
        snapshot = self._snapshot()
        return snapshot.name if snapshot else self.listing("its commit").commit

    def _pinned(self) -> str:
        """The commit once it is known: a branch may move between two files."""
        return commit_in_cache(self.repository, self.revision)

    def _explained(self, wanted: str) -> AbstractContextManager[None]:
        return explained(self.repository, self.revision, where=self.where, wanted=wanted)


@lru_cache(maxsize=1024)
def _listing(endpoint: str, repository: str, revision: str) -> Listing | Exception:
    """Commit, files and bytes, or what went wrong: a hub that does not answer is waited for once."""
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint)
    name, kind = place_of(repository)
    asking = {"model": api.model_info, "dataset": api.dataset_info}[kind]
    try:
        about = asking(name, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS)
        if about.gated:
            api.auth_check(name, repo_type=kind)  # Lists are public, files are not.
    except client_errors() as error:
        return error
    return Listing(about.sha or revision, {each.rfilename: each.size or 0 for each in about.siblings or ()})


def _require_network() -> None:
    from huggingface_hub import constants

    # The client answers at once where it is told to stay offline.
    if not constants.HF_HUB_OFFLINE and not _has_network():
        raise OSError("its address is not to be found: no network")


@cache
def _has_network() -> bool:
    """Whether the hub's address can be looked up: the client would try for half a minute where it cannot."""
    from huggingface_hub import constants

    if any(name.lower() in _PROXIES for name in os.environ):
        return True  # A proxy looks addresses up itself.
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def local_folder(repository: str, commit: str | None, folder: str, files: Collection[str]) -> Path:
    """A dictionary's folder of a repository at a commit, on this machine; its files are fetched if need be.

    Not SparseCoder.load_from_hub, which reads whatever the default branch holds today.

    Raises:
        ConfigError: the files do not exist, or are neither in the cache nor to be had.
    """
    source = HubFolder(repository, commit or "main", repository)
    names = [f"{folder}/{name}" if folder else name for name in files]
    paths = [source.file(name) for name in names]
    if absent := [name for name, path in zip(names, paths, strict=True) if path is None]:
        raise ConfigError(
            f"{repository}: expected {' and '.join(absent)} at {source.revision}, and the hub has no such "
            f"file. Choose another repository or revision."
        )
    first = paths[0]
    assert first is not None
    return first.parent
