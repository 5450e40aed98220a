"""Which dictionaries were published for which hub model."""

import difflib

from saeuniv.config import ConfigError, HubModel, Model, Width

# Published at the final checkpoint of each model, in sparsify's format. The 410m ones read mlp_out.
_ELEUTHER_DICTIONARIES: dict[str, dict[int, str]] = {
    "EleutherAI/pythia-70m": {32768: "EleutherAI/sae-pythia-70m-32k"},
    "EleutherAI/pythia-70m-deduped": {32768: "EleutherAI/sae-pythia-70m-deduped-32k"},
    "EleutherAI/pythia-160m": {32768: "EleutherAI/sae-pythia-160m-32k"},
    "EleutherAI/pythia-160m-deduped": {32768: "EleutherAI/sae-pythia-160m-deduped-32k"},
    "EleutherAI/pythia-410m": {65536: "EleutherAI/sae-pythia-410m-65k"},
    "EleutherAI/pythia-410m-deduped": {65536: "EleutherAI/sae-pythia-410m-deduped-65k"},
    "meta-llama/Meta-Llama-3-8B": {131072: "EleutherAI/sae-llama-3-8b-32x"},
}


def eleuther_repository(model: Model, width: int | Width, *, key: str) -> str:
    """The repository of the dictionaries that EleutherAI published for a hub model.

    Raises:
        ConfigError: none for this model, or none of this width; the message lists what exists.
    """
    name = model.name if isinstance(model, HubModel) else model.label
    published = _ELEUTHER_DICTIONARIES.get(name)
    if published is None:
        near = difflib.get_close_matches(name, _ELEUTHER_DICTIONARIES, cutoff=0.0)
        raise ConfigError(
            f"{key}=eleuther: no dictionaries are known for {name}. Nearest models with some: "
            f"{', '.join(near)}. For other repositories choose {key}=hub {key}.name=owner/repository."
        )
    if isinstance(width, Width):
        return next(iter(published.values()))
    if width not in published:
        choices = ", ".join(map(str, published))
        raise ConfigError(
            f"width={width}: the dictionaries published for {name} have {choices} latents. "
            f"Choose width=published or one of these."
        )
    return published[width]
