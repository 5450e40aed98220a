"""Hugging Face hub repositories: what they say of themselves, from the local cache where it can."""

import difflib
import os
import socket
import urllib.parse
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from saeuniv.adapters.checkpoints import read_json, tensor_shapes
from saeuniv.config import ConfigError, HubModel, Model, Width

# Published at the final checkpoint of each model, in sparsify's format. The 410m ones read mlp_out.
_ELEUTHER_DICTIONARIES: dict[str, dict[int, str]] = {
    "EleutherAI/pythia-70m": {32768: "EleutherAI/sae-pythia-70m-32k"},
    "EleutherAI/pythia-70m-deduped": {32768: "EleutherAI/sae-pythia-70m-deduped-32k"},
    "EleutherAI/pythia-160m": {32768: "EleutherAI/sae-pythia-160m-32k"},
    "EleutherAI/pythia-160m-deduped": {32768: "EleutherAI/sae-pythia-160m-deduped-32k"},
    "EleutherAI/pythia-410m": {65536: "EleutherAI/sae-pythia-410m-65k"},
    "EleutherAI/pythia-410m-deduped": {65536: "EleutherAI/sae-pythia-410m-deduped-65k"},
    "meta-llama/Meta-Llama-3-8B": {131072: "EleutherAI/sae-llama-3-8b-32x"},
}


class HubFolder(NamedTuple):
    """One revision of a model repository of the hub. Files come from the cache, else over the network."""

    repository: str
    revision: str
    where: str
    """The configuration key and value that named the repository, for messages."""

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None where the repository has no such file.

        Raises:
            ConfigError: neither the cache nor the hub could be asked, or there is no such repository.
        """
        path = self._file(name)
        return None if path is None else read_json(path)

    def shapes(self, name: str) -> dict[str, tuple[int, ...]] | None:
        """The shapes of the tensors of a safetensors file; over the network only its header is read."""
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        cached = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.revision)
        if isinstance(cached, str):
            return tensor_shapes(Path(cached))
        try:
            header = huggingface_hub.HfApi().parse_safetensors_file_metadata(
                self.repository, name, revision=self.revision
            )
        except OSError as error:
            if isinstance(error, EntryNotFoundError):
                return None
            raise self._unreachable(name, error) from error
        return {tensor: tuple(entry.shape) for tensor, entry in header.tensors.items()}

    def folders_with(self, name: str) -> list[str]:
        """The sub-folders known to hold a file of this name: those in the cache, else those listed."""
        import huggingface_hub

        snapshot = self._snapshot()
        if snapshot is not None:
            return sorted(path.parent.name for path in snapshot.glob(f"*/{name}"))
        files = huggingface_hub.HfApi().list_repo_files(self.repository, revision=self.revision)
        return sorted(file.split("/")[0] for file in files if file.endswith(f"/{name}"))

    def identity(self, folder: str, *names: str) -> dict[str, str]:
        """What names these files in a store key: repository, resolved commit and sub-folder."""
        snapshot = self._snapshot()
        assert snapshot is not None, "a JSON file was read before, so the commit is in the cache"
        place = {"folder": folder} if folder else {}
        return {"repository": self.repository, "commit": snapshot.name, **place}

    def loadable(self, folder: str) -> str:
        """What loading takes: the repository's name, or the sub-folder within it."""
        return folder or self.repository

    def _snapshot(self) -> Path | None:
        """The cached files of this revision; the folder's name is the commit."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.repository, repo_type="model")
        reference = cache / "refs" / self.revision
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        snapshot = cache / "snapshots" / commit
        return snapshot if snapshot.is_dir() else None

    def _file(self, name: str) -> Path | None:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

        try:
            cached = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.revision)
            if isinstance(cached, str):
                return Path(cached)
            if not _has_network():
                raise OSError("its address is not to be found: no network")
            return Path(huggingface_hub.hf_hub_download(self.repository, name, revision=self.revision))
        except HFValidationError as error:
            raise ConfigError(f"{self.where}: expected owner/name of a hub repository. {error}") from error
        except OSError as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            raise self._unreachable(name, error) from error

    def _unreachable(self, name: str, error: OSError) -> ConfigError:
        from huggingface_hub import constants

        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else str(error).split("\n")[0]
        return ConfigError(
            f"{self.where}: {name} of {self.repository} at revision {self.revision} is neither in the cache "
            f"({constants.HF_HUB_CACHE}) nor to be had from the hub ({reason}). Check name and revision; "
            f"`hf download {self.repository} --revision {self.revision}` fetches it where there is a network."
        )


@cache
def _has_network() -> bool:
    """Whether the hub's address can be looked up: the client would try for half a minute where it cannot."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or any(name.lower().endswith("_proxy") for name in os.environ):
        return True  # The client answers at once; a proxy looks addresses up itself.
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def local_folder(repository: str, commit: str | None, folder: str) -> Path:
    """A sub-folder of a repository at a commit, as files on this machine; fetched where they are not.

    Not SparseCoder.load_from_hub, which reads whatever the default branch holds today.
    """
    import huggingface_hub

    root = huggingface_hub.snapshot_download(repository, revision=commit, allow_patterns=f"{folder}/*")
    return Path(root) / folder


def eleuther_repository(model: Model, width: int | Width, *, key: str) -> str:
    """The repository of the dictionaries that EleutherAI published for a hub model.

    Raises:
        ConfigError: none for this model, or none of this width; the message lists what exists.
    """
    name = model.name if isinstance(model, HubModel) else model.label
    published = _ELEUTHER_DICTIONARIES.get(name)
    if published is None:
        near = difflib.get_close_matches(name, _ELEUTHER_DICTIONARIES, cutoff=0.0)
        raise ConfigError(
            f"{key}=eleuther: no dictionaries are known for {name}. Nearest models with some: "
            f"{', '.join(near)}. For other repositories choose {key}=hub {key}.name=owner/repository."
        )
    if isinstance(width, Width):
        return next(iter(published.values()))
    if width not in published:
        choices = ", ".join(map(str, published))
        raise ConfigError(
            f"width={width}: the dictionaries published for {name} have {choices} latents. "
            f"Choose width=published or one of these."
        )
    return published[width]
