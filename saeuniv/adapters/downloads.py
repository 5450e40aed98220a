"""Which files of a hub repository loading takes, how large they are, and fetching exactly these."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from saeuniv.adapters.checkpoints import tensor_shapes
from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import HubUnreachable
from saeuniv.config import ConfigError

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_OPTIONAL = "tokenizer_config.json"
_MODEL = (_OPTIONAL, "config.json", "tokenizer.json")
# Fetched before all others where a repository has them, so that what is complete has them too.
_COMPANIONS = ("generation_config.json", "special_tokens_map.json", "added_tokens.json")


class Parts(NamedTuple):
    """What is loaded of a repository."""

    weights: bool = False
    """The weights of its model, with all that `tokenizer` asks for."""

    tokenizer: bool = False
    """The configuration and tokenizer of its model."""

    dictionaries: frozenset[str] = frozenset()
    """Files of dictionaries."""

    texts: frozenset[str] = frozenset()
    """Files of a data set."""

    def united(self, other: "Parts") -> "Parts":
        """What either asks for."""
        weights, tokenizer = self.weights or other.weights, self.tokenizer or other.tokenizer
        return Parts(weights, tokenizer, self.dictionaries | other.dictionaries, self.texts | other.texts)


class HubFile(NamedTuple):
    """A file of a commit."""

    name: str
    n_bytes: int


def needed(repository: str, commit: str, parts: Parts) -> tuple[HubFile, ...]:
    """The files that loading these parts takes, small ones first, in the cache or not.

    The hub is asked only if one is not in the cache.

    Raises:
        ConfigError: the commit lacks one of them, or has weights only as pickles; no access; a file of
            tensors in the cache is damaged.
        HubUnreachable: one is neither in the cache nor can the hub be asked.
    """
    source = HubFolder(repository, commit, repository)
    names = _required(source, parts)
    absent = missing(repository, commit, names)
    _refuse_damaged(source, names)
    if not absent:
        return _measured(source, names, {})
    try:
        listed = source.files(absent[-1] + (f" and {len(absent) - 1} more" if absent[1:] else ""))
    except HubUnreachable:
        if absent != (_OPTIONAL,):
            raise
        return _measured(source, [name for name in names if name != _OPTIONAL], {})
    lacking = [name for name in absent if name not in listed and name != _OPTIONAL]
    if lacking:
        raise ConfigError(
            f"{repository}: expected {', '.join(lacking)} at {commit}, and the hub lists no such file. "
            f"Choose another repository or revision."
        )
    # The optional file is asked for even if there is none: the cache then remembers.
    companions = [name for name in _COMPANIONS if name in listed and (parts.weights or parts.tokenizer)]
    return _measured(source, [*companions, *names], listed)


def weight_files(source: HubFolder) -> tuple[str, ...]:
    """The safetensors files of a model, after their index if there are several.

    Raises:
        ConfigError: there are none, or only weights that would be unpickled.
        HubUnreachable: they are not all in the cache, and the hub cannot be asked.
    """
    if source.cached(_SINGLE):
        return (_SINGLE,)
    if source.cached(_INDEX) and all(map(source.cached, shards := _shards(source))):
        return (_INDEX, *shards)
    listed = source.files(_SINGLE)
    if _SINGLE in listed:
        return (_SINGLE,)
    if _INDEX in listed:
        return (_INDEX, *_shards(source))
    pickled = [name for name in listed if name.endswith((".bin", ".pt", ".pth")) and "/" not in name]
    found = f"{', '.join(sorted(pickled))}, which would be unpickled and can run code" if pickled else "none"
    raise ConfigError(
        f"{source.where}: expected weights in {_SINGLE}, or several files with {_INDEX}, at revision "
        f"{source.revision} of {source.repository}, got {found}. Choose a revision that has them, or load "
        f"the model where you trust it, call model.save_pretrained(folder), and choose that folder (a=local)."
    )


def missing(repository: str, commit: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of these files that are not in the cache; a file known not to exist is not missing."""
    source = HubFolder(repository, commit, repository)
    return tuple(name for name in names if not (source.cached(name) or source.known_absent(name)))


def download(repository: str, commit: str, name: str) -> None:
    """Fetch one file into the cache, unless it is there.

    Raises:
        ConfigError: there is no such file, or no access to it.
        HubUnreachable: the hub cannot be asked.
    """
    if HubFolder(repository, commit, repository).file(name) is None and name != _OPTIONAL:
        raise ConfigError(f"{repository}: expected {name} at {commit}, and the hub has no such file.")


def local_model(repository: str, commit: str, *, weights: bool) -> Path:
    """A model's files at a commit as a folder of this machine; fetched where they are not.

    Loading by name asks more than once: TransformerLens reads the tokenizer again from the default branch.

    Raises:
        ConfigError: see `needed`.
    """
    for file in needed(repository, commit, Parts(weights=weights, tokenizer=True)):
        download(repository, commit, file.name)
    path = HubFolder(repository, commit, repository).file("config.json")
    assert path is not None, "it is among what is needed"
    return path.parent


def _required(source: HubFolder, parts: Parts) -> list[str]:
    names = list(_MODEL) if parts.weights or parts.tokenizer else []
    names += sorted(parts.texts)
    described = {name for name in parts.dictionaries if name.endswith(".json")}
    names += sorted(described)
    names += weight_files(source) if parts.weights else ()
    return names + sorted(parts.dictionaries - described)


def _shards(source: HubFolder) -> tuple[str, ...]:
    """The files that the index names."""
    index = source.json(_INDEX) or {}
    named = index.get("weight_map")
    shards = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    if not shards or not all(name.endswith(".safetensors") and ".." not in name for name in shards):
        raise ConfigError(
            f"{source.where}: expected {_INDEX} of {source.repository} to name *.safetensors files under "
            f"weight_map, got {', '.join(shards) or 'none'}. Choose another revision."
        )
    return tuple(shards)


def _refuse_damaged(source: HubFolder, names: Iterable[str]) -> None:
    """What another program, or a full disk, left in the cache would otherwise fail in the middle of a run."""
    faults: list[str] = []
    for name in names:
        path = source.cached(name) if name.endswith(".safetensors") else None
        try:
            if path:
                tensor_shapes(path)
        except ValueError as error:
            faults.append(
                f"{source.repository}: {name} at {source.revision} is damaged in the cache ({error}). Fetch "
                f"it again with `hf download {source.repository} {name} --revision {source.revision} "
                f"--force-download`."
            )
    if faults:
        raise ConfigError(*faults)


def _measured(source: HubFolder, names: Iterable[str], listed: Mapping[str, int]) -> tuple[HubFile, ...]:
    paths = {name: source.cached(name) for name in names}
    return tuple(
        HubFile(name, path.stat().st_size if path else listed.get(name, 0)) for name, path in paths.items()
    )
