"""The model of a side, named by what it is: given, trained here, or drawn anew from one of these."""

import hashlib
from dataclasses import replace

from saeuniv.adapters.model_facts import ModelFacts
from saeuniv.config import Side, TinyModel
from saeuniv.stages.task import ModelReference
from saeuniv.store import Artifact, Kind, artifact, artifact_key


def model_reference(side: Side, facts: ModelFacts, training: Artifact | None, device: str) -> ModelReference:
    """The model with its trained or initial weights; `training` is the stream it is trained on here.

    On `device` it will compute.
    """
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
            Kind.models,
            {"initial_weights_of": dict(facts.identity), "seed": seed_of(*facts.identity.values())},
        )
    return ModelReference(
        label=side.model.label,
        architecture=facts.architecture,
        n_layers=facts.n_layers,
        key=made.key if made else artifact_key(Kind.models, facts.identity),
        artifact=made,
        folder=facts.folder,
        revision=None if made else facts.identity.get("commit"),
        dtype=facts.computes_in(side.model.dtype, device=device, key=side.name),
        backend=side.model.backend,
    )


def redrawn(side: Side, original: ModelReference) -> ModelReference:
    """The model with weights drawn anew from those of the original."""
    weights = side.model.weights.value
    spec: dict[str, object] = {"of": original.key, "weights": weights, "seed": seed_of(original.key, weights)}
    made = artifact(Kind.models, spec, tuple(each.path for each in made_here(original)))
    return replace(original, key=made.key, artifact=made, folder="", revision=None)


def made_here(model: ModelReference) -> tuple[Artifact, ...]:
    """The model's artifact, where it is one."""
    return (model.artifact,) if model.artifact else ()


def seed_of(*parts: object) -> int:
    """A seed that differs where any part does."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8], 16) >> 1
