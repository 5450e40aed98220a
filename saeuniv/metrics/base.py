"""What every metric is: a configuration, what it declares, and one function of a layer pair."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from saeuniv.config import Metric
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.kernels import Moments

DIRECTIONS = ("a_to_b", "b_to_a", "both")

DOCUMENT_SHIFT = "document_shift"
"""N3a: fixed matches, B shifted by whole sequences on the evaluation half."""

SELECTION_SHIFT = "selection_shift"
"""N3b: B shifted on the match half and matched again."""

PERMUTATION = "permutation"
"""N1: the pairing permuted."""

WITHIN_TOKEN_SHUFFLE = "within_token_shuffle"
"""N3c: B's rows shuffled within the token and matched again; a decomposition, no significance test."""

ROTATION = "rotation"
"""N10: B's dictionary in another basis: one rotation of all its directions, matched again."""

RANDOM_SUBSPACE = "random_subspace"
"""N2: as many latents of each side, as often active, paired by the same procedure."""

RANDOM_WORDS = "random_words"
"""N2 of words: the latents of as many words, as frequent, found and paired by the same procedure."""

TOKEN_IDENTITY = "token_identity_ceiling"
"""N6: mean over latents of the largest r that a function of the token alone has with them; no draws."""

DECOMPOSITIONS = frozenset({WITHIN_TOKEN_SHUFFLE})

_NONE = np.empty(0)


class Measurement(NamedTuple):
    """One metric of one layer pair in one direction, with everything its statistics are made of."""

    direction: str
    """a_to_b, b_to_a or both."""

    value: float | None
    """None where undefined; `reason` says why."""

    reason: str = ""
    nulls: Mapping[str, Float[np.ndarray, " draws"]] = {}
    """The statistic under broken pairings, by the null's name."""

    bootstrap: Float[np.ndarray, " draws"] = _NONE
    """The statistic on resampled documents; empty where there is no interval."""

    empty: Mapping[str, str] = {}
    """Why p_value, calibrated or ci is empty although the value is not."""

    moments: Mapping[str, Moments] = {}
    """Mean and spread of nulls known without drawing them, by name."""

    n_matches: int = 0
    flags: tuple[str, ...] = ()
    """Remarks that leave the value standing."""


class Found(NamedTuple):
    """What a statistic gives in one direction, before it is set against its nulls."""

    value: float | None
    """None where undefined"""

    reason: str = "undefined_similarity"
    """Why the value is undefined; says nothing where it is not."""

    flags: tuple[str, ...] = ()
    """Remarks that leave the value standing."""


@dataclass
class MetricMethod(Metric, ABC):
    """Base of the metrics; a new one is a file here, a line in `METRICS`, a YAML file and a test."""

    space: ClassVar[str]
    """tokens or decoder."""

    primary_null: ClassVar[str]
    """The null behind p_value, excess, z and calibrated."""

    aligned: ClassVar[bool]
    """Uses the alignment's matches; otherwise the metric is computed once, with alignment `-`."""

    draws_shifts: ClassVar[bool] = False
    """Evaluates as many shifts as nulls.draws says, rather than all of them; so they are in its key."""

    draws_permutations: ClassVar[bool] = False
    """Draws permutations without an alignment, as many as its own options say; nulls.seed is in its key."""

    needs_nulls: ClassVar[tuple[str, ...]] = ()
    """Matched-again nulls that must be drawn before `measure`."""

    needs_decoders: ClassVar[bool] = False

    needs_words: ClassVar[bool] = False
    """Reads the word that the token of each row is a part of."""

    family: ClassVar[str] = ""
    """Metrics of one family are one family of tests, over which q is taken; empty: each is its own."""

    @property
    def needs_token_text(self) -> bool:
        """Reads the text of the token of each row; an option may decide it."""
        return False

    @abstractmethod
    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The metric in each of its directions."""


def undefined(reason: str, directions: tuple[str, ...] = DIRECTIONS) -> tuple[Measurement, ...]:
    """The measurement of a value that is not defined, in each direction."""
    return tuple(Measurement(direction, None, reason) for direction in directions)
