"""How the comparison is made, and the root of conf/config.yaml."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from saeuniv.config.models import Model
from saeuniv.config.resources import Resources
from saeuniv.config.sources import Sae
from saeuniv.config.text import Data


class Condition(Enum):
    """What a correlation is taken within: rows of one group share this."""

    none = "none"
    token = "token"
    token_bigram = "token_bigram"
    token_trigram = "token_trigram"
    token_x_position = "token_x_position"


class EvidenceKind(Enum):
    """What makes two latents alike on the same tokens."""

    pearson = "pearson"
    """Correlation of activations; a few large ones dominate it."""

    phi = "phi"
    """Correlation of firing, whatever the size of the activation."""

    jaccard = "jaccard"
    """Rows on which both fire over rows on which either does; needs condition=none."""


class TrackingMode(Enum):
    """Where W&B runs go. auto: online if an API key is at hand, else offline; it never prompts."""

    auto = "auto"
    online = "online"
    offline = "offline"
    off = "off"


class ControlKind(Enum):
    """What stands beside the comparison: nothing, or counterparts of A and B that have learnt nothing."""

    none = "none"
    untrained = "untrained"
    """Initial weights of the same configurations."""

    step0 = "step0"
    """The published initial weights of the very models: their revision step0."""

    rerandomized = "rerandomized"
    """The trained weights drawn anew, embeddings kept; see a.weights."""

    rerandomized_all = "rerandomized_all"
    """Embeddings drawn anew as well."""


@dataclass
class Alignment:
    """Base of the alignment methods (saeuniv/alignments): latents of A put in pairs with latents of B."""

    name: ClassVar[str]

    reads: ClassVar[str] = "tokens"
    """tokens: pairs are chosen by what latents do on the match half. dictionaries: by what they are."""

    needs_thresholds: ClassVar[bool] = False
    """Reads the thresholds of JumpReLU dictionaries."""

    condition: Condition = Condition.token
    """Within-group correlation that the pairs are chosen by: token, or none for raw Pearson."""

    evidence: EvidenceKind = EvidenceKind.pearson
    """What the pairs are chosen by on the match half: pearson, phi or jaccard."""

    assume_same_basis: bool = False
    """Let an alignment that reads dictionaries take two models: base and chat, say. Else it is refused."""

    def __post_init__(self) -> None:
        """Refuse a condition that the evidence does not know."""
        if self.evidence is EvidenceKind.jaccard and self.condition is not Condition.none:
            raise ValueError(
                f"alignment.evidence=jaccard: expected alignment.condition=none, since sets of rows are not "
                f"taken within groups, got {self.condition.value}. Add alignment.condition=none, or choose "
                f"alignment.evidence=phi."
            )


@dataclass
class Metric:
    """Base of the metrics (saeuniv/metrics): one number for one layer pair."""

    name: ClassVar[str]


@dataclass
class Layers:
    """Which layers are compared; typed Any because the forms differ, parsed by `select_layers`."""

    a: Any = "all"
    """all | 3 | -1 | [0,3,5] | 0-11 | 0-11:2 | every2 | last | [[3,4],5] (a group is read as one)."""

    b: Any = "all"
    pairs: Any = "all"
    """all | same_depth | an explicit list [[0,0],[1,2]] of (layer of A, layer of B)."""


@dataclass
class Control:
    """What stands beside the comparison."""

    kind: ControlKind = ControlKind.untrained


@dataclass
class Eligibility:
    """Floors that a latent must pass in EACH half of the documents to be compared."""

    min_firings: int | None = None
    """Firings on token types seen at least twice; unset: 10 for embedded models, 100 otherwise.

    0 here, with a rate of 1 and a share of 0, lets in every latent, those that never fire too."""

    max_rate: float = 0.5
    """Largest firing rate."""

    min_within_share: float = 0.01
    """Least share of the latent's variance that lies within token types."""

    min_df_share: float = 0.5
    """Least degrees of freedom per row, (rows - token types) / rows."""


@dataclass
class Nulls:
    """How broken pairings are drawn. Draw r uses the generator (seed, r), the same for all layer pairs."""

    seed: int = 0
    draws: int = 99
    """Draws of the selection-aware shift and of the permutation; document shifts use all there are."""

    shuffle_draws: int = 5
    """Draws of the within-token shuffle (a decomposition, without p)."""


@dataclass
class Bootstrap:
    """The document bootstrap behind every interval."""

    draws: int = 1000
    seed: int = 0
    confidence: float = 0.95
    min_documents: int = 20
    """Documents per half below which no interval is given."""

    min_effective_documents: float = 15.0
    """(sum n)^2 / sum n^2 over documents of n rows, per half."""


@dataclass
class Tracking:
    """Weights & Biases; results never depend on it."""

    mode: TrackingMode = TrackingMode.offline
    project: str = "saeuniv"
    entity: str | None = None


@dataclass
class Sweep:
    """A sweep as a whole; never part of a result."""

    name: str | None = None
    """What its folder, W&B group and status go by; unset: a short hash of the overrides, so that the same
    command finds its sweep again."""

    detach: bool = False
    """Return after submission (SLURM only)."""

    max_gpu_hours: float | None = None
    """A plan that is expected to take more GPU hours is refused."""


@dataclass
class Config:
    """The root of conf/config.yaml."""

    a: Model = field(default_factory=Model)
    b: Model = field(default_factory=Model)
    sae: Sae = field(default_factory=Sae)
    sae_a: Sae | None = None
    sae_b: Sae | None = None
    width: Any = None
    width_a: Any = None
    width_b: Any = None
    layers: Layers = field(default_factory=Layers)
    alignment: Alignment = field(default_factory=Alignment)
    metrics: dict[str, Metric] = field(default_factory=dict[str, Metric])
    primary_metric: str | None = None
    """The metric of the headline; unset: partial_correlation where it is computed, else the first."""

    data: Data = field(default_factory=Data)
    control: Control = field(default_factory=Control)
    eligibility: Eligibility = field(default_factory=Eligibility)
    nulls: Nulls = field(default_factory=Nulls)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)
    resources: Resources = field(default_factory=Resources)
    store: str = "${oc.env:SAEUNIV_STORE,'~/.cache/saeuniv'}"
    allow_mixed: bool = False
