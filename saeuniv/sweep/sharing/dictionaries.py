"""The dictionaries that results rest on, as an export has them: in sparsify's layout, or by name."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from saeuniv.adapters.checkpoints import read_json
from saeuniv.adapters.hub import HubFolder
from saeuniv.config import canonical_json
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.stages.stored import StoredComparison, config_of
from saeuniv.store import Artifact, Kind
from saeuniv.sweep.sharing.contract import DICTIONARIES, PICKLES
from saeuniv.sweep.sharing.origins import Origin, origins
from saeuniv.sweep.sharing.pieces import Piece, copied, stored
from saeuniv.sweep.sharing.used import node, sae_config, used

SPARSIFY_FILE = "sae.safetensors"
"""What dictionaries in sparsify's layout have."""

# Of a recipe, what tells dictionaries of one training run from one another.
_WITHIN_A_RUN = ("hookpoint", "model")


@dataclass(frozen=True)
class Place:
    """A dictionary and where it stands."""

    key: str
    model: str
    """The label of the model that it reads."""

    hookpoint: Hookpoint
    architecture: str
    """Hugging Face's model_type; empty where nothing on this machine says it."""

    recipe: Mapping[str, object]
    """What its manifest says; empty for dictionaries that were not trained here."""

    comparison: StoredComparison
    side: str

    @property
    def module(self) -> str:
        """The folder that sparsify gives it: `layers.3`."""
        return self.hookpoint.dictionary_folder(self.architecture)

    @property
    def artifact(self) -> Artifact:
        """It in the store, where it was trained here."""
        return Artifact(Kind.dictionaries, self.key, {})


class Shelf(NamedTuple):
    """The dictionaries of an export."""

    pieces: tuple[Piece, ...]
    folders: Mapping[str, Place]
    """By their folder in the export."""

    artifacts: Mapping[str, str]
    published: tuple[Mapping[str, object], ...]
    left_out: tuple[Mapping[str, str], ...]
    remarks: tuple[str, ...]


def places(comparisons: Iterable[StoredComparison]) -> dict[str, Place]:
    """Every dictionary that latents of these comparisons come from, by its key.

    Raises:
        ArtifactError: the store lacks what names them.
    """
    found: dict[str, Place] = {}
    for stored_comparison in comparisons:
        for side in "ab":
            for latents in side_latents(stored_comparison, side):
                place = _place(stored_comparison, side, latents)
                found.setdefault(place.key, place)
    return found


def side_latents(comparison: StoredComparison, side: str) -> tuple[Artifact, ...]:
    """The latents of one side, each once.

    Raises:
        ArtifactError: the store lacks what names them.
    """
    pairs = (comparison.pair(*layers) for layers in comparison.compared)
    return tuple(dict.fromkeys(each for pair in pairs for each in (pair.a if side == "a" else pair.b)))


def remade(comparison: StoredComparison, artifact: Artifact) -> tuple[str, ...]:
    """A sentence where the store's artifact is not the one that the results were made from.

    Raises:
        ArtifactError: its manifest is damaged.
    """
    recorded = node(comparison.results.summary.get("artifacts")).get(artifact.path)
    if not recorded or recorded == comparison.store.digest(artifact):
        return ()
    name = comparison.results.rows[0].comparison
    return (f"{artifact.path} was made again since the results of {name}: last digits may differ.",)


def shelve(found: Mapping[str, Place]) -> Shelf:
    """Dictionaries trained here and local ones are copied, those of a hub named.

    Raises:
        ArtifactError: a manifest in the store is damaged.
    """
    named = _folders([place for place in found.values() if place.recipe])
    pieces: list[Piece] = []
    for folder, place in named.items():
        pieces += stored(place.comparison.store.folder(place.artifact), folder, DICTIONARIES)
    remarks = [said for place in named.values() for said in remade(place.comparison, place.artifact)]
    artifacts = {place.artifact.path: folder for folder, place in named.items()}
    others = {key: place for key, place in found.items() if not place.recipe}
    sources = used(place.comparison.results for place in others.values())
    at = origins(sources, set(others))
    published: list[Mapping[str, object]] = []
    left_out: list[Mapping[str, str]] = []
    local = {key: place for key, place in others.items() if key in at and not at[key].repository}
    for folder, place in _folders(list(local.values()), taken=named).items():
        if reason := _unfit(at[place.key]):
            left_out.append(_left_out(place, reason))
            continue
        named[folder] = place
        pieces += [
            copied(f"{folder}/{name}", DICTIONARIES, path) for name, path in at[place.key].files.items()
        ]
    for key, place in others.items():
        if key not in at:
            left_out.append(_left_out(place, _why_absent(place)))
        elif at[key].repository:
            published.append(_published(place, at[key]))
    return Shelf(tuple(pieces), named, artifacts, tuple(published), tuple(left_out), tuple(remarks))


def _place(comparison: StoredComparison, side: str, latents: Artifact) -> Place:
    spec = comparison.spec(replace(latents, shard=0))
    key = str(spec["dictionary"])
    trained = Artifact(Kind.dictionaries, key, {})
    recipe = comparison.spec(trained) if not spec.get("hookpoint") or _is_stored(comparison, trained) else {}
    kind, _, layer = str(recipe.get("hookpoint") or spec["hookpoint"]).rstrip("]").partition("[")
    hookpoint = Hookpoint(HookpointKind(kind), int(layer))
    label = str(getattr(comparison.results.rows[0], f"model_{side}"))
    return Place(key, label, hookpoint, _architecture(comparison, side, recipe), recipe, comparison, side)


def _is_stored(comparison: StoredComparison, trained: Artifact) -> bool:
    """Lent dictionaries were trained here too, though latents say what they were read with."""
    return comparison.store.exists(trained)


def _architecture(comparison: StoredComparison, side: str, recipe: Mapping[str, Any]) -> str:
    """What names the model's modules: its manifest, or its config.json where it is on this machine."""
    made = Artifact(Kind.models, str(recipe.get("model", "")), {})
    if recipe and comparison.store.exists(made) and (named := comparison.spec(made).get("architecture")):
        return str(named)
    model = node(config_of(comparison.results).get(side))
    path: Path | None = None
    if model.get("path"):
        path = Path(str(model["path"])).expanduser() / "config.json"
    elif model.get("name"):
        name = str(model["name"])
        path = HubFolder(name, str(model.get("revision", "main")), name).cached("config.json")
    try:
        return str(read_json(path).get("model_type", "")) if path and path.is_file() else ""
    except ValueError:
        return ""


def _folders(found: Sequence[Place], taken: Iterable[str] = ()) -> dict[str, Place]:
    """A folder for each: `<model>/<module>`; several runs of a model have what differs in their names."""
    runs: dict[str, dict[str, Mapping[str, object]]] = {}
    for place in found:
        run = _run(place)
        runs.setdefault(place.model, {})[canonical_json(dict(run))] = run
    folders: dict[str, Place] = {}
    for place in found:
        own = _run(place)
        others = [run for run in runs[place.model].values() if run != own]
        differing = sorted(
            {name for run in others for name in {*own, *run} if own.get(name) != run.get(name)}
        )
        words = "".join(f"-{name}_{json.dumps(own.get(name)).strip(chr(34))}" for name in differing)
        below = _plain(f"{place.model}{words}")
        folder = f"{DICTIONARIES}/{below}/{place.module}"
        if folder in folders or folder in taken:
            folder = f"{DICTIONARIES}/{below}-{place.key}/{place.module}"
        folders[folder] = place
    return folders


def _run(place: Place) -> dict[str, object]:
    """What all dictionaries of one training run share, in words that a name of a folder can have."""
    run = {name: value for name, value in place.recipe.items() if name not in _WITHIN_A_RUN}
    return run | {"model": str(place.recipe.get("model", ""))[:8]}


def _plain(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_.@=+" else "_" for each in name).lstrip(".") or "_"


def _unfit(origin: Origin) -> str:
    """Why a local dictionary is not copied; empty where it is."""
    pickled = [name for name in origin.files if name.endswith(PICKLES)]
    if pickled:
        return f"{', '.join(pickled)} would be unpickled; save its tensors as safetensors"
    return ""


def _why_absent(place: Place) -> str:
    sae = sae_config(config_of(place.comparison.results), place.side)
    if sae.get("object"):
        return "an object of one's own has no files"
    if sae.get("max_width"):
        return "the activation itself (sae=none) has no files"
    source = str(getattr(place.comparison.results.rows[0], f"sae_{place.side}"))
    return f"{source} is not on this machine, or is another by now"


def _left_out(place: Place, why: str) -> Mapping[str, str]:
    return {"what": f"dictionary {place.key} of {place.model} at {place.hookpoint}", "why": why}


def _published(place: Place, origin: Origin) -> Mapping[str, object]:
    return {
        "key": place.key,
        "model": place.model,
        "hookpoint": str(place.hookpoint),
        "repository": origin.repository,
        "commit": origin.commit,
        "folder": origin.folder,
        "format": origin.form,
        "files": origin.hashes(),
    }
