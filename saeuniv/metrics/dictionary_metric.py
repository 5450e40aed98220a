"""How many directions two dictionaries of one model share: what seeds of training leave to chance.

No tokens: parameters alone, of every latent. Cosines need one residual basis, so that both sides must be the
same model, with dictionaries of other seeds, say. Read them beside their null, B's dictionary rotated as a
whole: assignments of random directions find cosines far above 0 where there are many latents and few
dimensions.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from saeuniv.config import require_option
from saeuniv.metrics.base import DIRECTIONS, ROTATION, Found, Measurement, MetricMethod, undefined
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.dictionary_matching import (
    agreeing_pairs,
    pair_decoders,
    pair_encoders,
    random_rotation,
    rotated,
)
from saeuniv.numerics.dictionary_similarity import DictionaryParameters

# A gap that is not spoken of: the best assignment but for the last digits of its prices.
_PROVEN = 1e-6


@dataclass
class DictionaryMetric(MetricMethod):
    """Base: a similarity of two dictionaries' directions, and the same with B's in a random basis."""

    reads: ClassVar[str] = "dictionaries"
    space: ClassVar[str] = "decoder"
    primary_null: ClassVar[str] = ROTATION
    aligned: ClassVar[bool] = False
    directions: ClassVar[tuple[str, ...]] = ("both",)

    candidates: int = 50
    """Partners looked at per latent and side."""

    rotations: int = 19
    """Random bases of B behind p; each is as much work as the value."""

    seed: int = 0
    """Of the rotations: draw r uses the generator (seed, r)."""

    assume_same_basis: bool = False
    """Take two models: base and chat, say. Else they are refused."""

    def __post_init__(self) -> None:
        """Refuse numbers below one."""
        for option in ("candidates", "rotations"):
            given = getattr(self, option)
            require_option(f"metrics.{self.name}.{option}", given, given >= 1, "at least 1")

    @abstractmethod
    def statistic(self, a: DictionaryParameters, b: DictionaryParameters) -> Mapping[str, Found]:
        """The statistic in each of `directions`."""

    def measure(self, pair: LayerPair) -> tuple[Measurement, ...]:
        """The statistic, and that of B rotated `rotations` times; no interval, since no token enters."""
        a, b = pair.a.dictionary, pair.b.dictionary
        if a is None or b is None:
            raise ValueError(
                f"metrics.{self.name}: expected the parameters of both dictionaries, got none. Give "
                f"`parameters` to compare_latents, or leave the metric out."
            )
        if self.assume_same_basis:
            b = b._replace(basis=a.basis)
        if a.basis != b.basis or a.decoder.shape[1] != b.decoder.shape[1]:
            return undefined("other_basis", self.directions)
        observed, n_matches = self.statistic(a, b), min(len(a.decoder), len(b.decoder))
        drawn = [
            self.statistic(a, rotated(b, random_rotation(b.decoder.shape[1], rng)))
            for rng in (np.random.default_rng([self.seed, draw]) for draw in range(self.rotations))
        ]
        nulls = {name: np.array([draw[name].value for draw in drawn], np.float64) for name in self.directions}
        return tuple(
            Measurement(
                name,
                found.value,
                nulls={ROTATION: nulls[name]},
                empty={"ci": "no_interval"},
                n_matches=n_matches,
                flags=found.flags,
            )
            for name, found in observed.items()
        )


@dataclass
class PwMcc(DictionaryMetric):
    """Mean cosine of decoder directions over the best one-to-one assignment, in [-1, 1]: PW-MCC of one pair.

    Song et al. 2025 (arXiv 2505.20254), who average it over pairs of seeds; by their code, signed cosines.
    """

    name: ClassVar[str] = "pw_mcc"

    def statistic(self, a: DictionaryParameters, b: DictionaryParameters) -> Mapping[str, Found]:
        """One number: an assignment has no direction."""
        paired = pair_decoders(a, b, top_m=self.candidates)
        return {"both": Found(float(paired.cosine.mean()), flags=_flags(paired.gap))}


@dataclass
class SharedDirections(DictionaryMetric):
    """Share of latents whose partner by decoder is the one by encoder, both cosines above a bound; in [0, 1].

    Paulo and Belrose 2025 (arXiv 2501.16615): two assignments, of decoder rows and of encoder rows. Both is
    the mean over the directions, which differ where widths do.
    """

    name: ClassVar[str] = "shared_directions"
    directions: ClassVar[tuple[str, ...]] = DIRECTIONS

    above: float = 0.7
    """The bound on both cosines."""

    def __post_init__(self) -> None:
        """Refuse a bound that is no cosine."""
        super().__post_init__()
        holds = 0 <= self.above < 1
        require_option("metrics.shared_directions.above", self.above, holds, "a cosine in [0, 1)")

    def statistic(self, a: DictionaryParameters, b: DictionaryParameters) -> Mapping[str, Found]:
        """The share of A's latents, of B's, and their mean; a flag says how many assignments agree on."""
        by_decoder = pair_decoders(a, b, top_m=self.candidates)
        by_encoder = pair_encoders(a, b, top_m=self.candidates)
        same = agreeing_pairs(by_decoder, by_encoder)
        cosine_of = dict(zip(by_encoder.index_a.tolist(), by_encoder.cosine.tolist(), strict=True))
        encoder_cosine = np.array([cosine_of[i] for i in by_decoder.index_a[same].tolist()])
        n_shared = int(((by_decoder.cosine[same] > self.above) & (encoder_cosine > self.above)).sum())
        shares = {"a_to_b": n_shared / len(a.decoder), "b_to_a": n_shared / len(b.decoder)}
        shares["both"] = (shares["a_to_b"] + shares["b_to_a"]) / 2
        agree = f"same_partner={len(same) / max(len(by_decoder.index_a), 1):.4f}"
        flags = (agree, *_flags(max(by_decoder.gap, by_encoder.gap)))
        return {direction: Found(share, flags=flags) for direction, share in shares.items()}


def _flags(gap: float) -> tuple[str, ...]:
    return (f"assignment_gap<={gap:.1e}",) if gap >= _PROVEN else ()
