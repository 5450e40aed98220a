"""Where models come from: the schemas of the groups a and b.

Schemas hold types, units and defaults; a YAML file lists only what it changes. They stay unfrozen
because Hydra merges YAML into them; nothing mutates them later.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING


class ModelBackend(Enum):
    """What reads a model's activations. auto: bridge where it knows the architecture, else hf."""

    auto = "auto"
    bridge = "bridge"
    """TransformerLens' TransformerBridge."""

    hf = "hf"
    """Hooks on the modules of Hugging Face's class."""


class Dtype(Enum):
    """The type a model computes in. auto: on a GPU that of its checkpoint, else float32."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    """Overflows in some models (Gemma): there it is refused."""


class Weights(Enum):
    """What became of the trained weights. In all, norms are kept."""

    trained = "trained"
    rerandomized = "rerandomized"
    """Each projection drawn anew with the mean and spread of the trained tensor; embeddings kept."""

    rerandomized_all = "rerandomized_all"
    """Embeddings and unembedding drawn anew as well."""


STEP0 = "step0"
"""The revision that holds the initial weights of models published with checkpoints, as Pythia's are."""


@dataclass
class Model:
    """Base of the model sources; `untrained` asks for the initial weights of the same model."""

    embedded: ClassVar[bool] = False

    untrained: bool = False
    """Take the same configuration and seed after zero training steps."""

    weights: Weights = Weights.trained
    """As trained, or drawn anew (for models that are not untrained)."""

    dtype: Dtype = Dtype.auto
    """What the model computes in; dictionaries always compute in float32."""

    backend: ModelBackend = ModelBackend.auto
    """What reads its activations; both ways give the same."""

    @property
    def label(self) -> str:
        """A short name for folders, tables and figures."""
        if self.untrained:
            return f"{self._label()}_untrained"
        return self._label() + ("" if self.weights is Weights.trained else f"_{self.weights.value}")

    @property
    def is_trained(self) -> bool:
        """Whether the weights are what training made of them."""
        return not self.untrained and self.weights is Weights.trained

    def _label(self) -> str:
        return type(self).__name__.lower()


@dataclass
class HubModel(Model):
    """A model of the Hugging Face hub."""

    name: str = MISSING
    """Repository, for example EleutherAI/pythia-160m."""

    revision: str = "main"
    """Branch, tag or commit, for example step3000."""

    @property
    def is_trained(self) -> bool:
        """Not at step 0 either."""
        return super().is_trained and self.revision != STEP0

    def _label(self) -> str:
        tail = self.name.rsplit("/", 1)[-1]
        return tail if self.revision == "main" else f"{tail}@{self.revision[:12]}"


@dataclass
class LocalModel(Model):
    """A folder in Hugging Face format: config.json, weights, tokenizer.json."""

    path: str = MISSING
    """The folder; relative paths are relative to where you stand."""

    def _label(self) -> str:
        return Path(self.path).expanduser().resolve().name


@dataclass
class TinyModel(Model):
    """The embedded byte-level GPT-NeoX, trained at first use on the standard library's documentation."""

    embedded: ClassVar[bool] = True

    seed: int = MISSING
    """Seed of the initial weights and of the order of the training data."""

    d_model: int = 64
    n_layers: int = 4
    n_heads: int = 4
    context_length: int = 128
    """Tokens per sequence, in training and evaluation."""

    steps: int = 500
    """Optimizer steps; the untrained counterpart takes none."""

    batch_sequences: int = 16
    """Sequences per step."""

    learning_rate: float = 3e-3
    """Peak of the cosine schedule of AdamW."""

    def _label(self) -> str:
        size = "" if (self.d_model, self.n_layers) == (64, 4) else f"_d{self.d_model}l{self.n_layers}"
        return f"tiny{size}_s{self.seed}"
