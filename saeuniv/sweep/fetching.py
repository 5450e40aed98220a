"""What the tasks of a plan load from hubs, and how jobs are kept from asking there themselves."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from saeuniv.adapters.downloads import Parts, needed
from saeuniv.adapters.hub_text import HubText
from saeuniv.config import ConfigError
from saeuniv.stages.aligned import MakeAlignedTokens
from saeuniv.stages.compare import ComparePairs
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.fetch import Fetch
from saeuniv.stages.models import Rerandomize, TakeInitialWeights
from saeuniv.stages.task import LatentsReference, ModelReference, Task
from saeuniv.stages.text import MakeTokens
from saeuniv.store.usage import bytes_text

# Rough, to start the dearest first; nothing depends on it.
_BYTES_PER_SECOND = 5e7

_Commit = tuple[str, str]
_Need = tuple[_Commit, Parts]


def fetches(tasks: Iterable[Task]) -> tuple[Fetch, ...]:
    """What these tasks load from hubs, one for each commit, in the order of first use.

    Those in the cache are among them (`is_done`). The hub is asked for sizes only where files are missing.

    Raises:
        ConfigError: every repository that lacks a file, has only pickled weights, gives no access, or is
            neither in the cache nor to be asked.
    """
    parts: dict[_Commit, Parts] = {}
    roots: dict[_Commit, Path] = {}
    for task in tasks:
        for commit, part in _needs(task):
            parts[commit] = parts.get(commit, Parts()).united(part)
            roots.setdefault(commit, task.root)
    found: list[Fetch] = []
    faults: list[str] = []
    for (repository, revision), part in parts.items():
        try:
            files = needed(repository, revision, part)
        except ConfigError as error:
            faults += error.faults
            continue
        seconds = sum(file.n_bytes for file in files) / _BYTES_PER_SECOND
        found.append(Fetch(roots[repository, revision], (), (), seconds, repository, revision, files))
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return tuple(found)


def announce(planned: Iterable[Fetch]) -> str:
    """`3 repositories, 12 files, 1.4 GB to fetch (0.3 GB cached)`, as the cache is now."""
    missing = {each: each.missing() for each in planned}
    if not missing:
        return "nothing comes from hubs"
    files = [file for names in missing.values() for file in names]
    to_fetch = sum(file.n_bytes for file in files)
    cached = bytes_text(sum(each.n_bytes for each in missing) - to_fetch)
    if not files:
        return f"nothing to fetch ({cached} cached)"
    repositories = _counted(len({each.repository for each, names in missing.items() if names}), "repository")
    return (
        f"{repositories}, {_counted(len(files), 'file')}, {bytes_text(to_fetch)} to fetch ({cached} cached)"
    )


def _needs(task: Task) -> Iterator[_Need]:
    """The commits that a task loads from, and what of each."""
    match task:
        case MakeTokens():
            yield from _tokens(task.hub, [(task.tokenizer, task.revision), *_template(task)])
        case MakeAlignedTokens():
            yield from _tokens(task.hub, [(side.tokenizer, side.revision) for side in task.sides])
        case TakeInitialWeights(folder=name, revision=str(commit)):
            yield (name, commit), Parts(tokenizer=True)
        case Rerandomize():
            yield from _model(task.original)
        case TrainDictionaries():
            yield from _model(task.model)
        case Encode():  # also a part
            yield from _model(task.model)
            yield from _dictionaries(task.latents)
        case ComparePairs():
            yield from _dictionaries(task.layer_a)
            for pair in task.pairs:
                yield from _dictionaries(pair.layer_b)
        case _:
            pass


def _tokens(hub: HubText | None, tokenizers: Iterable[tuple[str, str | None]]) -> Iterator[_Need]:
    if hub is not None:
        yield (hub.repository, hub.commit), Parts(texts=frozenset(hub.files))
    for name, commit in tokenizers:
        if commit is not None:
            yield (name, commit), Parts(tokenizer=True)


def _template(task: MakeTokens) -> list[tuple[str, str | None]]:
    return [(task.template.folder, task.template.revision)] if task.template else []


def _model(model: ModelReference) -> Iterator[_Need]:
    if model.revision is not None:
        yield (model.folder, model.revision), Parts(weights=True)


def _dictionaries(latents: Iterable[LatentsReference]) -> Iterator[_Need]:
    for each in latents:
        dictionary = each.dictionary
        if dictionary.repository is not None and dictionary.revision is not None:
            files = frozenset(dictionary.file_names)
            yield (dictionary.repository, dictionary.revision), Parts(dictionaries=files)


def _counted(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
