"""The tasks that make what is missing of one side of a comparison."""

from collections.abc import Iterable
from pathlib import Path

from saeuniv.config import Resources, TinyModel, TrainedSae, Weights
from saeuniv.stages.aligned import MakeAlignedTokens, TokenizedText
from saeuniv.stages.dictionaries import TrainDictionaries
from saeuniv.stages.encode import Encode
from saeuniv.stages.models import Rerandomize, TakeInitialWeights, TrainTinyModel
from saeuniv.stages.task import DictionaryReference, LatentsReference, Task
from saeuniv.stages.text import MakeTokens
from saeuniv.store import Artifact
from saeuniv.sweep.devices import Devices
from saeuniv.sweep.model_references import made_here
from saeuniv.sweep.sides import ResolvedSide
from saeuniv.sweep.tokenizers import Partner

# Rough costs in seconds of one thread, to start the dearest first; nothing depends on them.
_SECONDS_PER_STEP = 0.06
_SECONDS_PER_TRAINING_TOKEN = 3e-5


def side_tasks(
    side: ResolvedSide, root: Path, missing: Iterable[Artifact], resources: Resources, devices: Devices
) -> list[Task]:
    """The tasks that make those of a side's artifacts that are missing; models compute on `devices`."""
    wanted = {each.path for each in missing}
    tasks: list[Task] = []
    if side.partner and side.held_out.path in wanted:
        tasks.append(_align_tokens(side, side.partner, root))
    alone = (side.training, None if side.partner else side.held_out)
    texts = [each for each in alone if each and each.path in wanted]
    if texts:
        tasks.append(_make_tokens(side, root, texts))
    if side.original and side.original.artifact and side.original.artifact.path in wanted:
        tasks.append(_make_model(side, root, side.original.artifact))
    if side.model.artifact and side.model.artifact.path in wanted:
        redrawn = _rerandomize(side, root, side.model.artifact)
        tasks.append(redrawn or _make_model(side, root, side.model.artifact))
    dictionaries = tuple(
        each.dictionary
        for each in side.latents.values()
        if each.dictionary.artifact and each.dictionary.artifact.path in wanted
    )
    if dictionaries:
        tasks.append(_train(side, root, dictionaries, devices.training))
    latents = tuple(each for each in side.latents.values() if each.artifact.path in wanted)
    if latents:
        tasks += _encode(side, root, latents, resources, devices.latents)
    return tasks


def _make_tokens(side: ResolvedSide, root: Path, outputs: list[Artifact]) -> Task:
    return MakeTokens(
        root,
        inputs=(),
        outputs=tuple(outputs),
        seconds=10.0,
        data=side.text.data,
        hub=side.text.hub,
        template=side.text.template,
        tokenizer=side.tokenizer.name,
        revision=side.tokenizer.revision,
        training=side.training if side.training in outputs else None,
        held_out=side.held_out if side.held_out in outputs else None,
    )


def _align_tokens(side: ResolvedSide, partner: Partner, root: Path) -> Task:
    """The token sets of both sides: the same task, whichever of the two asks."""
    named = ((side.tokenizer, side.held_out), (partner.tokenizer, partner.held_out))
    both = [TokenizedText(source.name, source.revision, made) for source, made in named]
    first, second = sorted(both, key=lambda each: each.held_out.path)
    return MakeAlignedTokens(
        root,
        inputs=(),
        outputs=tuple(dict.fromkeys((first.held_out, second.held_out))),
        seconds=10.0,
        data=side.text.data,
        sides=(first, second),
        hub=side.text.hub,
    )


def _make_model(side: ResolvedSide, root: Path, output: Artifact) -> Task:
    model = side.side.model
    if isinstance(model, TinyModel):
        training = None if model.untrained else side.training
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
        folder=side.facts.folder,
        revision=side.facts.identity.get("commit"),
        seed=int(str(output.spec["seed"])),
    )


def _rerandomize(side: ResolvedSide, root: Path, output: Artifact) -> Task | None:
    if side.original is None:
        return None
    return Rerandomize(
        root,
        inputs=made_here(side.original),
        outputs=(output,),
        seconds=5.0,
        name=side.model.label,
        original=side.original,
        keep_embeddings=side.side.model.weights is Weights.rerandomized,
        seed=int(str(output.spec["seed"])),
    )


def _train(
    side: ResolvedSide, root: Path, dictionaries: tuple[DictionaryReference, ...], device: str
) -> Task:
    sae = side.side.sae
    assert isinstance(sae, TrainedSae) and side.training
    outputs = tuple(each.artifact for each in dictionaries if each.artifact)
    return TrainDictionaries(
        root,
        inputs=(side.training, *made_here(side.model)),
        outputs=outputs,
        seconds=_SECONDS_PER_TRAINING_TOKEN * sae.n_tokens,
        model=side.model,
        training=side.training,
        sae=sae,
        dictionaries=dictionaries,
        seed=int(str(outputs[0].spec["seed"])),
        context_length=side.text.data.context_length,
        bos=side.text.data.bos,
        device=device,
    )


def _encode(
    side: ResolvedSide,
    root: Path,
    latents: tuple[LatentsReference, ...],
    resources: Resources,
    device: str,
) -> list[Encode]:
    """One task; or several that share the shards, and the one that waits for them and checks them all."""
    dictionaries = tuple(each.dictionary.artifact for each in latents if each.dictionary.artifact)
    whole = Encode(
        root,
        inputs=(side.held_out, *made_here(side.model), *dictionaries),
        outputs=tuple(each.artifact for each in latents),
        seconds=5.0,
        model=side.model,
        tokens=side.held_out,
        latents=latents,
        batch_sequences=resources.encode_batch_sequences,
        device=device,
    )
    return whole.shared_by(resources.encode_tasks)
