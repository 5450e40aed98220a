"""Where dictionaries come from that are not trained here: schemas of the group sae beside `TrainedSae`."""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from omegaconf import MISSING

from saeuniv.config.sources import Sae


class DictionaryFormat(Enum):
    """How dictionaries are written; auto: their files tell."""

    auto = "auto"
    sparsify = "sparsify"
    gemma_scope = "gemma_scope"
    gemma_scope_2 = "gemma_scope_2"
    sae_lens = "sae_lens"
    llama_scope = "llama_scope"
    dictionary_learning = "dictionary_learning"


class ReleaseFamily(Enum):
    """Releases whose repositories are looked up by model."""

    eleuther = "eleuther"
    gemma_scope = "gemma_scope"
    gemma_scope_2 = "gemma_scope_2"
    gpt2_res_jb = "gpt2_res_jb"
    gpt2_oai = "gpt2_oai"
    llama_scope = "llama_scope"
    pythia_sm = "pythia_sm"


class Processing(Enum):
    """What was done to a model before its activations were read; auto: the release or its files tell."""

    auto = "auto"
    none = "none"
    tl_compat = "tl_compat"
    """TransformerLens' centring of writing weights: activations less the mean over their dimensions."""


@dataclass
class PublishedSae(Sae):
    """Base of dictionaries that are read from files, in any of the formats."""

    l0: str = "canonical"
    """Which of several dictionaries of a layer: their mean number of active latents (82), a word of the
    release (small, medium, big), or canonical: nearest to 100, or medium."""

    allow_other_base: bool = False
    """Take dictionaries that were trained on another model or checkpoint."""

    processing: Processing = Processing.auto
    """What the activations were that they were trained on."""


@dataclass
class HubSae(PublishedSae):
    """Published dictionaries in one hub repository."""

    name: str = MISSING
    """Repository, for example EleutherAI/sae-pythia-160m-32k."""

    revision: str = "main"
    folder: str = ""
    """Only the dictionaries below this folder of the repository."""

    format: DictionaryFormat = DictionaryFormat.auto


@dataclass
class ReleaseSae(PublishedSae):
    """The dictionaries that a release has for the model of this side; the repository is looked up."""

    release: ReleaseFamily = MISSING


@dataclass
class LocalSae(PublishedSae):
    """A folder of dictionaries, or of one."""

    path: str = MISSING
    format: DictionaryFormat = DictionaryFormat.auto


@dataclass
class SharedSae(Sae):
    """The dictionaries of side A, applied to B: the same files, B's activations."""


@dataclass
class NoSae(Sae):
    """No dictionary: the activations themselves, split in their positive and negative parts."""

    may_have_thresholds: ClassVar[bool] = False
    has_pre_acts: ClassVar[bool] = False

    max_width: int = 4096
    """The largest number of dimensions; every row has as many entries."""


@dataclass
class CustomSae(Sae):
    """An object of yours with encode and decode."""

    has_pre_acts: ClassVar[bool] = False

    object: str = MISSING
    """`module:function`; called with the hookpoint (`resid_post[3]`) it gives the object. It is imported and
    run because it is named here."""

    version: str = ""
    """Change it where the object computes something else though its module's file is the same."""
