"""Which dictionaries were published for which hub model, and how their authors read it."""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from saeuniv.config import ConfigError, HubModel, Model, ReleaseFamily, ReleaseSae, Width
from saeuniv.hookpoints import HookpointKind

_FINAL = ("main", "step143000")
_COMMIT_DIGITS = 40


class Release(NamedTuple):
    """A repository of dictionaries, and the model that they were trained on, at its final checkpoint."""

    family: ReleaseFamily | None
    """How `sae=` names it; None for repositories that `sae=hub` reads and whose model is known."""

    model: str
    repository: str
    kind: HookpointKind | None = None
    """None where one repository has several kinds."""

    width: int | None = None
    """None where one repository has several widths."""

    processing: str = "none"


def _releases() -> Iterator[Release]:
    """Every release.

    Sources: the repositories' own names for EleutherAI's, else the registry of sae-lens 6.54.12
    (pretrained_saes.yaml: repo_id, model, config_overrides).
    """
    family = ReleaseFamily
    resid, mlp, attention = HookpointKind.resid_post, HookpointKind.mlp_out, HookpointKind.attn_out
    for size, width in (("70m", 32), ("160m", 32), ("410m", 65)):
        for model in (f"pythia-{size}", f"pythia-{size}-deduped"):
            yield Release(
                *(family.eleuther, f"EleutherAI/{model}", f"EleutherAI/sae-{model}-{width}k"),
                width={32: 32768, 65: 65536}[width],
            )
    llama_3 = ("meta-llama/Meta-Llama-3-8B", "EleutherAI/sae-llama-3-8b-32x")
    yield Release(family.eleuther, *llama_3, width=131072)
    for base, name, kinds in (
        ("gemma-2-2b", "2b-pt", ("res", "mlp")),
        ("gemma-2-9b", "9b-pt", ("res", "mlp")),
        ("gemma-2-9b-it", "9b-it", ("res",)),
        ("gemma-2-27b", "27b-pt", ("res",)),
    ):
        for kind in kinds:
            place = {"res": resid, "mlp": mlp}[kind]
            yield Release(family.gemma_scope, f"google/{base}", f"google/gemma-scope-{name}-{kind}", place)
    for size in ("270m", "1b", "4b", "12b", "27b"):
        for tuned in ("pt", "it"):
            base = (
                "google/gemma-3-270m" if (size, tuned) == ("270m", "pt") else f"google/gemma-3-{size}-{tuned}"
            )
            yield Release(family.gemma_scope_2, base, f"google/gemma-scope-2-{size}-{tuned}")
    # Trained on residuals of weights that TransformerLens had centred (center_writing_weights: true).
    yield Release(
        *(family.gpt2_res_jb, "openai-community/gpt2", "jbloom/GPT2-Small-SAEs-Reformatted"),
        processing="tl_compat",
    )
    for kind, place in (("resid-post", resid), ("mlp-out", mlp), ("attn-out", attention)):
        for words, width in (("32k", 32768), ("128k", 131072)):
            repository = f"jbloom/GPT2-Small-OAI-v5-{words}-{kind}-SAEs"
            yield Release(family.gpt2_oai, "openai-community/gpt2", repository, place, width)
    for letter, place in (("R", resid), ("M", mlp), ("A", attention)):
        for words, width in (("8x", 32768), ("32x", 131072)):
            repository = f"fnlp/Llama3_1-8B-Base-LX{letter}-{words}"
            yield Release(family.llama_scope, "meta-llama/Llama-3.1-8B", repository, place, width)
    for kind, place in (("res", resid), ("mlp", mlp), ("att", attention)):
        repository = f"ctigges/pythia-70m-deduped__{kind}-sm_processed"
        yield Release(family.pythia_sm, "EleutherAI/pythia-70m-deduped", repository, place)
    yield Release(None, "EleutherAI/pythia-70m-deduped", "canrager/lm_sae")
    yield Release(None, "meta-llama/Llama-3.1-8B-Instruct", "andyrdt/saes-llama-3.1-8b-instruct")
    yield Release(None, "Qwen/Qwen2.5-7B-Instruct", "andyrdt/saes-qwen2.5-7b-instruct")


RELEASES = tuple(_releases())
"""Every release that is known; the revision of each model is that of its final checkpoint."""

_BY_REPOSITORY = {each.repository: each for each in RELEASES}


def release_of(sae: ReleaseSae, model: Model, width: int | Width, *, key: str) -> Release:
    """The release of a family that was made for a hub model.

    Raises:
        ConfigError: none for this model, kind of hookpoint or width; the message lists what exists.
    """
    choice, own = f"{key}={sae.release.value}", [each for each in RELEASES if each.family is sae.release]
    name = model.name if isinstance(model, HubModel) else model.label
    found = [each for each in own if same_model(name, each.model)]
    if not found:
        models = list(dict.fromkeys(each.model for each in own))
        near = difflib.get_close_matches(name, models, n=3, cutoff=0.0)
        raise ConfigError(
            f"{choice}: no dictionaries are known for {name}. Nearest models with some: {', '.join(near)}. "
            f"For other repositories choose {key}=hub {key}.name=owner/repository."
        )
    of_kind = [each for each in found if each.kind in (None, sae.hookpoint)]
    if not of_kind:
        kinds = ", ".join(dict.fromkeys(each.kind.value for each in found if each.kind))
        raise ConfigError(
            f"{choice}: the dictionaries published for {name} read {kinds}, got {key}.hookpoint="
            f"{sae.hookpoint.value}. Choose one of these."
        )
    fitting = [
        each
        for each in of_kind
        if isinstance(width, Width) or each.width is None or same_width(width, each.width)
    ]
    if not fitting:
        choices = ", ".join(str(each.width) for each in of_kind)
        raise ConfigError(
            f"width={width}: the dictionaries published for {name} have {choices} latents. "
            f"Choose width=published or one of these."
        )
    return fitting[0]


def known_release(repository: str) -> Release | None:
    """What is known of a repository."""
    return _BY_REPOSITORY.get(repository)


def base_fault(base: str, model: Model) -> str | None:
    """Why a model is not the one that dictionaries were trained on, as a predicate; None where it may be.

    A folder of this machine has no name to compare: its d_model and the FVU decide.
    """
    if not isinstance(model, HubModel):
        return None
    if not same_model(model.name, base):
        return f"trained on {base}, got {model.name}"
    is_commit = len(model.revision) == _COMMIT_DIGITS
    if model.revision not in _FINAL and not is_commit:
        return f"trained on the final checkpoint of {base}, got revision {model.revision}"
    return None


def same_model(name: str, base: str) -> bool:
    """Whether a hub name is that of `base`, which files and old names may give without its owner."""
    if "/" in name and "/" in base:
        return name.lower() == base.lower()
    aliases = {"gpt2-small": "gpt2"}
    tail, other = (each.rsplit("/", 1)[-1].lower() for each in (name, base))
    return aliases.get(tail, tail) == aliases.get(other, other)


def same_width(asked: int, published: int) -> bool:
    """Whether a width is the one asked for: releases call 65536 latents 65k, which is 66560 here."""
    return asked == published or (asked % 1024 == 0 and asked // 1024 == published // 1000)
