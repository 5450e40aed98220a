"""One side of a comparison as artifacts: its model, dictionaries and latents, named by what they are."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from saeuniv.adapters.folders import ModelFacts, dictionary_facts, model_facts
from saeuniv.config import (
    Data,
    EleutherSae,
    Expansion,
    HubSae,
    LocalSae,
    Side,
    TextData,
    TinyModel,
    TrainedSae,
    Width,
)
from saeuniv.hookpoints import Hookpoint
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.models import TakeInitialWeights, TrainTinyModel
from saeuniv.stages.task import DictionaryReference, LatentsReference, ModelReference, Task
from saeuniv.stages.tokens import TINY_TOKENIZER, MakeTokens
from saeuniv.store import Artifact, Kind, artifact, artifact_key

# Rough costs in seconds of one thread, to start the dearest first; nothing depends on them.
_SECONDS_PER_STEP = 0.06
_SECONDS_PER_TRAINING_TOKEN = 3e-5


@dataclass(frozen=True)
class ResolvedSide:
    """A side whose model, text and dictionaries have been identified."""

    side: Side
    data: Data
    facts: ModelFacts
    training: Artifact | None
    """The training stream; None where nothing is trained on text."""

    held_out: Artifact
    model: ModelReference
    latents: dict[int, LatentsReference]
    """By layer."""

    def tasks(self, root: Path, missing: Iterable[Artifact], *, batch_sequences: int) -> list[Task]:
        """The tasks that make those of this side's artifacts that are missing."""
        wanted = {each.path for each in missing}
        tasks: list[Task] = []
        texts = [each for each in (self.training, self.held_out) if each and each.path in wanted]
        if texts:
            tasks.append(self._make_tokens(root, texts))
        if self.model.artifact and self.model.artifact.path in wanted:
            tasks.append(self._make_model(root, self.model.artifact))
        dictionaries = tuple(
            each.dictionary
            for each in self.latents.values()
            if each.dictionary.artifact and each.dictionary.artifact.path in wanted
        )
        if dictionaries:
            tasks.append(self._train(root, dictionaries))
        latents = tuple(each for each in self.latents.values() if each.artifact.path in wanted)
        if latents:
            tasks.append(self._encode(root, latents, batch_sequences))
        return tasks

    def _make_tokens(self, root: Path, outputs: list[Artifact]) -> Task:
        return MakeTokens(
            root,
            inputs=(),
            outputs=tuple(outputs),
            seconds=10.0,
            data=self.data,
            tokenizer=TINY_TOKENIZER if isinstance(self.side.model, TinyModel) else self.facts.folder,
            revision=self.facts.identity.get("commit"),
            training=self.training if self.training in outputs else None,
            held_out=self.held_out if self.held_out in outputs else None,
        )

    def _make_model(self, root: Path, output: Artifact) -> Task:
        model = self.side.model
        if isinstance(model, TinyModel):
            training = None if model.untrained else self.training
            return TrainTinyModel(
                root,
                inputs=(training,) if training else (),
                outputs=(output,),
                seconds=_SECONDS_PER_STEP * (model.steps if training else 0),
                spec=model,
                training=training,
            )
        return TakeInitialWeights(
            root,
            inputs=(),
            outputs=(output,),
            seconds=5.0,
            name=model.label,
            folder=self.facts.folder,
            revision=self.facts.identity.get("commit"),
            seed=int(str(output.spec["seed"])),
        )

    def _train(self, root: Path, dictionaries: tuple[DictionaryReference, ...]) -> Task:
        sae = self.side.sae
        assert isinstance(sae, TrainedSae) and self.training
        outputs = tuple(each.artifact for each in dictionaries if each.artifact)
        return TrainDictionaries(
            root,
            inputs=(self.training, *_of(self.model)),
            outputs=outputs,
            seconds=_SECONDS_PER_TRAINING_TOKEN * sae.n_tokens,
            model=self.model,
            training=self.training,
            sae=sae,
            dictionaries=dictionaries,
            seed=int(str(outputs[0].spec["seed"])),
            context_length=self.data.context_length,
        )

    def _encode(self, root: Path, latents: tuple[LatentsReference, ...], batch_sequences: int) -> Task:
        dictionaries = tuple(each.dictionary.artifact for each in latents if each.dictionary.artifact)
        return Encode(
            root,
            inputs=(self.held_out, *_of(self.model), *dictionaries),
            outputs=tuple(each.artifact for each in latents),
            seconds=5.0,
            model=self.model,
            tokens=self.held_out,
            latents=latents,
            skip_first=self.data.skip_first,
            batch_sequences=batch_sequences,
        )


def resolve_side(side: Side, data: Data, layers: Iterable[int], *, text: str) -> ResolvedSide:
    """The side with everything it needs named by content; `text` is the fingerprint of `data`.

    Raises:
        ConfigError: files that are missing or do not fit, all faults of a folder at once.
    """
    facts = model_facts(side.model, key=side.name)
    trains = isinstance(side.sae, TrainedSae) or (
        isinstance(side.model, TinyModel) and not side.model.untrained
    )
    source: dict[str, object] = {"text": text, "tokenizer": facts.tokenizer, "held_out": data.held_out}
    if isinstance(data, TextData):
        source["document"] = data.document.value
    training = artifact(Kind.tokens, {**source, "split": "training"}) if trains else None
    held_out = artifact(
        Kind.tokens,
        {
            **source,
            "split": "held_out",
            "context_length": data.context_length,
            "max_sequences_per_document": data.max_sequences_per_document,
        },
    )
    model = _model(side, facts, training)
    dictionaries = _dictionaries(side, facts, model, training, data, sorted(set(layers)))
    latents = {
        each.hookpoint.layer: _latents(each, held_out, model, data.skip_first) for each in dictionaries
    }
    return ResolvedSide(side, data, facts, training, held_out, model, latents)


def _of(model: ModelReference) -> tuple[Artifact, ...]:
    return (model.artifact,) if model.artifact else ()


def _seed(*parts: object) -> int:
    """A seed that differs where any part does."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8], 16) >> 1


def _model(side: Side, facts: ModelFacts, training: Artifact | None) -> ModelReference:
    made: Artifact | None = None
    if isinstance(side.model, TinyModel):
        spec: dict[str, object] = {
            "architecture": facts.architecture,
            "tokenizer": facts.tokenizer,
            **{name: getattr(side.model, name) for name in ("d_model", "n_layers", "n_heads")},
            **{name: getattr(side.model, name) for name in ("context_length", "seed")},
            "steps": 0,
        }
        if not side.model.untrained:
            assert training is not None
            recipe = ("steps", "batch_sequences", "learning_rate")
            spec |= {**{name: getattr(side.model, name) for name in recipe}, "text": training.key}
        parents = (training.path,) if training and not side.model.untrained else ()
        made = artifact(Kind.models, spec, parents)
    elif side.model.untrained:
        made = artifact(
            Kind.models, {"initial_weights_of": dict(facts.identity), "seed": _seed(*facts.identity.values())}
        )
    return ModelReference(
        label=side.model.label,
        architecture=facts.architecture,
        n_layers=facts.n_layers,
        key=made.key if made else artifact_key(Kind.models, facts.identity),
        artifact=made,
        folder=facts.folder,
        revision=None if made else facts.identity.get("commit"),
    )


def _dictionaries(
    side: Side,
    facts: ModelFacts,
    model: ModelReference,
    training: Artifact | None,
    data: Data,
    layers: list[int],
) -> list[DictionaryReference]:
    sae = side.sae
    if isinstance(sae, HubSae | EleutherSae | LocalSae):
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
            )
            for each in found
        ]
    assert isinstance(sae, TrainedSae) and training is not None and not isinstance(side.width, Width)
    width = side.width * facts.d_model if isinstance(side.width, Expansion) else side.width
    references: list[DictionaryReference] = []
    for layer in layers:
        hookpoint = Hookpoint(sae.hookpoint, layer)
        spec: dict[str, object] = {
            "model": model.key,
            "hookpoint": str(hookpoint),
            "width": width,
            **{name: getattr(sae, name) for name in ("k", "n_tokens", "batch_sequences", "warmup_steps")},
            "context_length": data.context_length,
            "trainer": "sparsify/signum",
            # sparsify seeds every dictionary alike: two models would start from identical ones.
            "seed": _seed(model.key, sae.seed),
            "text": training.key,
        }
        parents = (*(each.path for each in _of(model)), training.path)
        made = artifact(Kind.dictionaries, spec, parents)
        references.append(DictionaryReference(hookpoint, sae, width, made.key, made, ""))
    return references


def _latents(
    dictionary: DictionaryReference, held_out: Artifact, model: ModelReference, skip_first: int
) -> LatentsReference:
    spec: dict[str, object] = {
        "dictionary": dictionary.key,
        "tokens": held_out.key,
        "kind": "topk",
        "dtype": "float32",
        "skip_first": skip_first,
    }
    parents = (held_out.path, *((dictionary.artifact.path,) if dictionary.artifact else ()))
    return LatentsReference(artifact(Kind.latents, spec, parents), held_out, dictionary, model)
