"""One side of a comparison as artifacts: its model, dictionaries and latents, named by what they are."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from saeuniv.adapters.dictionary_facts import dictionary_facts, require_same_width
from saeuniv.adapters.dictionary_sources import absent_layers
from saeuniv.adapters.folders import ModelFacts, model_facts
from saeuniv.config import (
    Bos,
    Cell,
    Expansion,
    FileData,
    LatentKind,
    SharedSae,
    Side,
    TinyModel,
    TrainedSae,
    Weights,
    Width,
    canonical_json,
    plain,
)
from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.task import DictionaryReference, LatentsReference, ModelReference
from saeuniv.store import Artifact, Kind, artifact, artifact_key
from saeuniv.sweep.model_references import made_here, model_reference, redrawn, seed_of
from saeuniv.sweep.texts import ResolvedText, resolve_text
from saeuniv.sweep.tokenizers import Partner, TokenizerSource, tokenizer_source


@dataclass(frozen=True)
class ResolvedSide:
    """A side whose model, text and dictionaries have been identified."""

    side: Side
    text: ResolvedText
    facts: ModelFacts
    training: Artifact | None
    """The training stream; None where nothing is trained on text."""

    held_out: Artifact
    tokenizer: TokenizerSource
    partner: Partner | None
    """Where this model's rows are aligned with those of a model with another tokenizer."""

    model: ModelReference
    original: ModelReference | None
    """The trained model that `model` is drawn from; None where it is not re-randomised."""

    latents: dict[int, LatentsReference]
    """By layer."""

    absent: Mapping[int, str] = field(default_factory=dict[int, str])
    """Layers left out of `all`, and why each has no dictionary."""


def resolve_side(
    side: Side,
    text: ResolvedText,
    layers: Iterable[int],
    *,
    device: str = "cpu",
    partner: TokenizerSource | None = None,
) -> ResolvedSide:
    """The side with everything it needs named by content.

    On `device` its model will compute: what dtype=auto stands for depends on it.

    `partner` is the tokenizer of the model that it is compared with, where their tokens are aligned.

    Raises:
        ConfigError: files that are missing or do not fit, all faults of a folder at once.
    """
    facts = model_facts(side.model, key=side.name)
    trains = isinstance(side.sae, TrainedSae) or (
        isinstance(side.model, TinyModel) and not side.model.untrained
    )
    training = text.training(facts.tokenizer) if trains else None
    held_out = text.held_out(facts.tokenizer, partner and partner.key)
    beside = Partner(partner, text.held_out(partner.key, facts.tokenizer)) if partner else None
    original = model_reference(side, facts, training, device)
    if side.model.untrained or side.model.weights is Weights.trained:
        model, drawn_from = original, None
    else:
        model, drawn_from = redrawn(side, original), original
    dictionaries = _dictionaries(side, facts, model, training, text, sorted(set(layers)))
    latents = {
        each.hookpoint.layer: _latents(each, held_out, model, lent=side.lender is not None)
        for each in dictionaries
    }
    tokenizer = tokenizer_source(side.model, facts)
    return ResolvedSide(side, text, facts, training, held_out, tokenizer, beside, model, drawn_from, latents)


class Sides:
    """Sides, each resolved once for all comparisons of a plan; their models will compute on `device`."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._texts: dict[str, ResolvedText] = {}
        self._resolved: dict[tuple[object, ...], ResolvedSide] = {}
        self._absent: dict[str, Mapping[int, str]] = {}

    def absent(self, side: Side) -> Mapping[int, str]:
        """Layers of the side that have no dictionary, and why.

        Raises:
            ConfigError: see `absent_layers`.
        """
        key = canonical_json([*_about(side), *(_about(side.lender) if side.lender else ())])
        if key not in self._absent:
            self._absent[key] = absent_layers(side, model_facts(side.model, key=side.name))
        return self._absent[key]

    def text(self, cell: Cell) -> ResolvedText:
        """The text of a cell.

        Raises:
            ConfigError: see `resolve_text`.
        """
        # Rows are chosen among those of one token set.
        data = dataclasses.replace(cell.data, n_tokens=None)
        models = [plain(side.model) for side in cell.sides]
        key = canonical_json([plain(data), *(models if isinstance(data, FileData) else ())])
        if key not in self._texts:
            self._texts[key] = resolve_text(dataclasses.replace(cell, data=data))
        return self._texts[key]

    def resolve(
        self,
        side: Side,
        text: ResolvedText,
        layers: Iterable[int],
        *,
        partner: TokenizerSource | None = None,
    ) -> ResolvedSide:
        """The side with the latents of these layers, on tokens aligned with those of a `partner` or its own.

        Raises:
            ConfigError: see `resolve_side`.
        """
        read = [plain(text.data), text.fingerprint, text.template]
        about = [*_about(side), *(_about(side.lender) if side.lender else ()), *read]
        wanted = tuple(sorted(set(layers)))
        key = (canonical_json(about), wanted, partner)
        if key not in self._resolved:
            self._resolved[key] = resolve_side(side, text, wanted, device=self._device, partner=partner)
        return self._resolved[key]


def _about(side: Side) -> list[object]:
    return [side.name, plain(side.model), plain(side.sae), str(side.width)]


def _dictionaries(
    side: Side,
    facts: ModelFacts,
    model: ModelReference,
    training: Artifact | None,
    text: ResolvedText,
    layers: list[int],
) -> list[DictionaryReference]:
    sae = side.sae
    if isinstance(sae, SharedSae):
        return _lent(side, facts, text, layers)
    if not isinstance(sae, TrainedSae):
        assert not isinstance(side.width, Expansion)
        found = dictionary_facts(sae, side.model, facts, layers, side.width, key=f"sae_{side.name}")
        return [
            DictionaryReference(
                hookpoint=each.hookpoint,
                sae=sae,
                width=each.width,
                key=artifact_key(Kind.dictionaries, each.identity),
                artifact=None,
                folder=each.folder,
                repository=each.identity.get("repository"),
                revision=each.identity.get("commit"),
                files=each.files,
                form=each.form,
                centred=each.centred,
            )
            for each in found
        ]
    assert isinstance(sae, TrainedSae) and training is not None and not isinstance(side.width, Width)
    width = side.width * facts.width_at(sae.hookpoint) if isinstance(side.width, Expansion) else side.width
    references: list[DictionaryReference] = []
    for layer in layers:
        hookpoint = Hookpoint(sae.hookpoint, layer)
        spec: dict[str, object] = {
            "model": model.key,
            "hookpoint": str(hookpoint),
            "width": width,
            **sae.recipe(),
            "context_length": text.data.context_length,
            # Trainers seed every dictionary alike: two models would start from identical ones.
            "seed": seed_of(model.key, sae.seed),
            "text": training.key,
        }
        if text.data.bos is not Bos.auto or not isinstance(side.model, TinyModel):
            # What tiny models read has none, and their dictionaries' keys are older than this entry.
            spec["bos"] = text.data.bos.value
        parents = (*(each.path for each in made_here(model)), training.path)
        made = artifact(Kind.dictionaries, spec, parents)
        references.append(DictionaryReference(hookpoint, sae, width, made.key, made, ""))
    return references


def _lent(side: Side, facts: ModelFacts, text: ResolvedText, layers: list[int]) -> list[DictionaryReference]:
    """The dictionaries of the lender's layers; what they are read by here has its own bound of FVU."""
    lender, sae = side.lender, side.sae
    assert lender is not None
    own = resolve_side(lender, text, layers)
    require_same_width(own.facts, facts, lender.model.label, side.model.label)
    return [
        replace(each.dictionary, sae=replace(each.dictionary.sae, max_fvu=sae.max_fvu))
        for each in own.latents.values()
    ]


def _latents(
    dictionary: DictionaryReference, held_out: Artifact, model: ModelReference, *, lent: bool
) -> LatentsReference:
    spec: dict[str, object] = {
        "dictionary": dictionary.key,
        "tokens": held_out.key,
        "kind": "topk",
        "dtype": model.dtype,
    }
    # What came later is named only where it is asked for.
    if dictionary.sae.latent_kind is LatentKind.pre_acts:
        # The width says how much they take.
        spec |= {"kind": LatentKind.pre_acts.value, "width": dictionary.width}
    if dictionary.given != dictionary.hookpoint:
        spec["given"] = str(dictionary.given)
    if dictionary.artifact is None or lent:
        # Files say what is in them, not what they are read with: of which model, and where in it.
        spec |= {"model": model.key, "hookpoint": str(dictionary.hookpoint)}
    parents = (held_out.path, *((dictionary.artifact.path,) if dictionary.artifact else ()))
    return LatentsReference(artifact(Kind.latents, spec, parents), held_out, dictionary, model)
