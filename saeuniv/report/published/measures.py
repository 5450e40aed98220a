"""Which number of ours stands beside which published one, and how far apart they may be: the one place."""

from typing import NamedTuple

from saeuniv.report.published.tables import Pairing

ALPHA = 0.05
LEAST_AGREEMENT = 0.9
"""Share of the layer pairs in which p is to be on the same side of ALPHA."""

SAME_SIDE = "same_side"

_PC1 = ("published_svcca", "pc1_abs_corr")
_RSA = ("published_rsa", "rsa_dimensions")
_KEPT = ("published_kept_correlation", "matched_correlation")
_ALL = ("published_mean_correlation",)


class Measure(NamedTuple):
    """A published quantity and its counterpart here."""

    quantity: str
    metrics: tuple[str, ...]
    """The first of these that was computed is read; the first of all repeats the published pipeline."""

    column: str
    """Of layer_pairs.csv; null_mean and p_value are those of shuffled pairs."""

    tolerance: float | None
    """None: shown, not judged."""

    rule: str = "absolute"
    """absolute, relative (to the published value), or same_side (of ALPHA)"""

    def is_within(self, ours: float, theirs: float) -> bool | None:
        """Whether the two agree; None where that is not judged."""
        if self.rule == SAME_SIDE:
            return (ours < ALPHA) == (theirs < ALPHA)
        if self.tolerance is None:
            return None
        bound = self.tolerance * (abs(theirs) if self.rule == "relative" else 1.0)
        return abs(ours - theirs) <= bound + _ROUNDING

    @property
    def is_of_one_component(self) -> bool:
        """Whether it was published of the first principal components."""
        return self.metrics == _PC1 or self.metrics[0].startswith("semantic_svcca_")

    @property
    def is_judged(self) -> bool:
        """Whether it counts as within tolerance or not."""
        return self.rule == SAME_SIDE or self.tolerance is not None

    @property
    def bound(self) -> str:
        """The tolerance in words."""
        if self.rule == SAME_SIDE:
            return f"same side of {ALPHA:g}"
        if self.tolerance is None:
            return "not judged"
        return f"{self.tolerance:.0%}" if self.rule == "relative" else f"{self.tolerance:g}"


# So that .53 is within .03 of .50 whatever the last bits are.
_ROUNDING = 1e-9

MEASURES = (
    Measure("pc1_abs_corr", _PC1, "value", 0.03),
    Measure("rsa_dimensions", _RSA, "value", 0.02),
    Measure("mean_correlation", _KEPT, "value", 0.02),
    Measure("mean_correlation_all", _ALL, "value", 0.02),
    Measure(
        "n_pairs",
        (_PC1[0], _RSA[0], _KEPT[0], *_ALL, _PC1[1], _RSA[1], _KEPT[1]),
        "n_matches",
        0.05,
        "relative",
    ),
    Measure("pc1_p", _PC1, "p_value", None, SAME_SIDE),
    Measure("pc1_null_mean", _PC1, "null_mean", None),
)
"""In the order in which they are shown. The null's mean depends on how many pairs there are, and follows."""

_OF_WORDS = (
    Measure("pc1_abs_corr", ("semantic_svcca",), "value", 0.05),
    Measure("rsa_dimensions", ("semantic_rsa",), "value", 0.05),
    # Ours are other words: as many latents are not to be expected.
    Measure("n_pairs", ("semantic_svcca", "semantic_rsa"), "n_matches", None),
    Measure("pc1_p", ("semantic_svcca",), "p_value", None, SAME_SIDE),
    Measure("pc1_null_mean", ("semantic_svcca",), "null_mean", None),
)


def measures_of(category: str) -> tuple[Measure, ...]:
    """What stands beside the numbers of a category of words; of all latents where it is empty."""
    if not category:
        return MEASURES
    return tuple(
        each._replace(metrics=tuple(f"{metric}_{category}" for metric in each.metrics)) for each in _OF_WORDS
    )


_ONE_TO_ONE = ("hungarian", "greedy", "mutual_nn")
_DIRECTIONS = {Pairing.many_to_one: "b_to_a", Pairing.one_to_many: "a_to_b"}


def direction_of(metric: str, alignment: str, pairing: Pairing) -> str | None:
    """The direction whose rows are paired like a published table; None where none is.

    Metrics that repeat the published pipeline pair latents 1 to 1 by themselves, whatever the alignment.
    """
    if metric.startswith(("published_", "semantic_")):
        return "both" if pairing is Pairing.one_to_one else None
    if pairing is Pairing.one_to_one:
        return "both" if alignment in _ONE_TO_ONE else None
    return _DIRECTIONS[pairing] if alignment == "max_corr" else None
