"""The cache of the hub's client: where a repository is in it, and what the hub said of its commits."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.hub_errors import DATASETS

# Beside the client's own folders of a repository, which it leaves alone.
_LISTINGS = ".saeuniv"


class Listing(NamedTuple):
    """What the hub says of one commit."""

    commit: str
    files: Mapping[str, int]
    """Every file, with its bytes."""


def place_of(repository: str) -> tuple[str, str]:
    """The client's words for a repository: its repo_id and repo_type."""
    name = repository.removeprefix(DATASETS)
    return name, "model" if name == repository else "dataset"


def cache_folder(repository: str) -> Path:
    """Where the client keeps what it has of a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name, kind = place_of(repository)
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)


def commit_in_cache(repository: str, revision: str) -> str:
    """The commit that a branch or tag was followed to; the revision itself where it was not."""
    reference = cache_folder(repository) / "refs" / revision
    return reference.read_text().strip() if reference.is_file() else revision


def remembered(repository: str, commit: str) -> Listing | None:
    """What `remember` wrote, or None."""
    path = cache_folder(repository) / _LISTINGS / f"{commit}.json"
    return Listing(commit, cast(dict[str, int], read_json(path))) if path.is_file() else None


def remember(repository: str, revision: str, listing: Listing) -> None:
    """Keep a listing, and the commit that its branch or tag stands for from now on, as the client does."""
    folder = cache_folder(repository)
    _write(folder / _LISTINGS / f"{listing.commit}.json", json.dumps(listing.files))
    if listing.commit != revision:
        _write(folder / "refs" / revision, listing.commit)


def _write(path: Path, text: str) -> None:
    """All or nothing: another process may read or write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
