"""Which repositories of the hub a configuration needs, and what of them is at hand: for `saeuniv doctor`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from saeuniv.adapters.hub import HubFolder
from saeuniv.adapters.hub_errors import DATASETS, HubUnreachable
from saeuniv.adapters.published import release_of
from saeuniv.config import Cell, ConfigError, Expansion, HubData, HubModel, HubSae, ReleaseSae, Side
from saeuniv.stages.fetch import Fetch
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.check import Check

_SITE = "https://huggingface.co"
# Known without asking: owners who give files only to those who have accepted their licence.
_GATED = ("google/gemma-2b", "google/gemma-7b", "google/gemma-2-", "google/gemma-3-", "meta-llama/")


class Repository(NamedTuple):
    """A repository that a configuration names, or that its dictionaries are looked up in."""

    name: str
    """As in the hub's addresses: datasets/owner/name of a data set."""

    revision: str
    uses: tuple[str, ...]
    """What it is for: model a, dictionaries b, text."""


def repositories(cells: Iterable[Cell]) -> tuple[Repository, ...]:
    """What these cells need of the hub, each repository once; the hub is not asked."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        for name, revision, use in _named(cell):
            found.setdefault((name, revision), {})[use] = None
    return tuple(Repository(*place, tuple(uses)) for place, uses in found.items())


def repository_checks(
    wanted: Iterable[Repository], planned: Sequence[Fetch] | None, faults: Sequence[str], fetching: str
) -> list[Check]:
    """One for each repository: in the cache or missing, how large, whether gated, and how to have it.

    Args:
        wanted: the repositories.
        planned: what a plan fetches of them; None where none could be made.
        faults: of the configuration, which name repositories that lack something.
        fetching: the command that fetches.
    """
    by_name: dict[str, list[Fetch]] = {}
    for each in planned or ():
        by_name.setdefault(each.repository, []).append(each)
    return [
        _planned(each, by_name.get(each.name, []), fetching)
        if planned is not None
        else _looked_up(each, fetching, is_faulty=any(each.name in fault for fault in faults))
        for each in wanted
    ]


def _named(cell: Cell) -> Iterator[tuple[str, str, str]]:
    """Name, revision and use."""
    for side in cell.sides:
        if isinstance(side.model, HubModel):
            yield side.model.name, side.model.revision, f"model {side.name}"
        match side.sae:
            case HubSae():
                yield side.sae.name, side.sae.revision, f"dictionaries {side.name}"
            case ReleaseSae():
                # One that was published for no such model is a fault of the configuration.
                with suppress(ConfigError):
                    yield _release(side, side.sae), "main", f"dictionaries {side.name}"
            case _:
                pass
    if isinstance(cell.data, HubData):
        yield DATASETS + cell.data.name, cell.data.revision, "text"


def _release(side: Side, sae: ReleaseSae) -> str:
    assert not isinstance(side.width, Expansion)
    return release_of(sae, side.model, side.width, key=f"sae_{side.name}").repository


def _planned(repository: Repository, fetches: Sequence[Fetch], fetching: str) -> Check:
    """As the plan has it: the very files that are loaded."""
    missing = [file for each in fetches for file in each.missing()]
    whole = sum(each.n_bytes for each in fetches)
    if not fetches:
        return _check(repository, True, "not needed: what is made from it is in the store")
    if not missing:
        return _check(repository, True, f"in the cache, {bytes_text(whole)}")
    lacking = sum(file.n_bytes for file in missing)
    said = f"missing: {len(missing)} files, {bytes_text(lacking)} of {bytes_text(whole)}"
    return _check(repository, None, said, fetching)


def _looked_up(repository: Repository, fetching: str, *, is_faulty: bool) -> Check:
    """As the cache and the hub have it, where no plan says which files are loaded."""
    source = HubFolder(repository.name, repository.revision, repository.name)
    cached = {name: path.stat().st_size for name in source.names() if (path := source.cached(name))}
    here = f"{len(cached)} files, {bytes_text(sum(cached.values()))} in the cache"
    try:
        listed: Mapping[str, int] = source.files("the list of its files")
    except HubUnreachable:
        if cached and not is_faulty:
            said = f"{here}; whether that is all it takes cannot be told without the hub"
            return _check(repository, None, said, f"Where there is a network: {fetching}")
        said = f"{here}, and more is needed" if cached else "missing, size unknown"
        remedy = f"Where there is a network: {fetching}. Then copy the cache here, or set HF_HOME to it."
        return _check(repository, False, f"{said}: the hub cannot be asked", _licence(repository) + remedy)
    except ConfigError as error:
        return _check(repository, False, " ".join(error.faults), f"Then: {fetching}")
    said = f"{here}, of {len(listed)} files, {bytes_text(sum(listed.values()))} on the hub"
    return _check(repository, None, said, f"What is needed of them: {fetching}")


def _licence(repository: Repository) -> str:
    """What comes before fetching where a repository is known to be gated; empty elsewhere."""
    if not repository.name.startswith(_GATED):
        return ""
    return f"It is gated: accept its licence at {_SITE}/{repository.name}, then hf auth login. "


def _check(repository: Repository, ok: bool | None, said: str, remedy: str = "") -> Check:
    at = "" if repository.revision == "main" else f" at {repository.revision}"
    return Check(", ".join(repository.uses), ok, f"{repository.name}{at}: {said}", remedy)
