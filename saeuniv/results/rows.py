"""The rows of layer_pairs.csv and nulls.csv: the stable contract that every other view is made from."""

import math
import re
from dataclasses import dataclass, fields

NOT_COMPUTED = "not_computed"
"""The reason of a score that was asked for and is not in the store: its task failed, or has not run."""

CONTROL_NOT_COMPUTED = "control_not_computed"
"""The flag of a row whose control was asked for and is not in the store."""

REASONS = (
    "",
    "not_requested",
    "no_eligible_latents",
    "few_degrees_of_freedom",
    "too_few_matches",
    "undefined_similarity",
    "few_documents",
    "few_shifts",
    "matching_size_varies",
    "too_many_latents",
    "needs_rematching",
    "no_null",
    "failed",
    NOT_COMPUTED,
    "no_interval",
    "matched_without_tokens",
    "other_basis",
    "no_token_text",
    "few_latents",
)
"""Why something is empty; the index of a code is its number in `<metric>__reason`, 0 is "defined".

Results on disk hold the numbers: a new code goes to the end.
"""

DIRECTIONS = ("a_to_b", "b_to_a", "both")
SPACES = ("tokens", "decoder")


def hookpoint_kind(place: str) -> str:
    """A row's hookpoint without its layer: `resid_post`, `resid_post<-resid_pre`."""
    return re.sub(r"\[[^\]]*\]", "", place)


@dataclass(frozen=True)
class Row:
    """One number: one layer pair, metric and direction, with its null, control, interval and counts.

    Numbers are finite or None; None comes with a code of `REASONS` in `reason`.

    Raises:
        ValueError: for a number that is not finite, an unknown direction, space or reason code, and a
            value that is empty without a reason.
    """

    comparison: str
    model_a: str
    model_b: str
    revision_a: str
    """Commit that pins the model; empty where it is no hub repository."""
    revision_b: str
    hookpoint_a: str
    """Where activations were read: `resid_post[3]`.

    `resid_post[3]<-resid_pre[3]`: a dictionary of the first was given the second, on purpose.
    """
    hookpoint_b: str
    layer_a: str
    """`3`, or `3+4` for a group of layers read as one."""
    layer_b: str
    sae_a: str
    sae_b: str
    d_sae_a: int | None
    """Latents of the dictionary; empty, like all that is known of a side, where no score of it is there."""
    d_sae_b: int | None
    l0_a: float | None
    """Mean number of active latents per token."""
    l0_b: float | None
    fvu_a: float | None
    """Fraction of variance unexplained by the dictionary on its own input; up is worse."""
    fvu_b: float | None
    fvu_high_norm_a: float | None
    """The same on rows of high norm, which are no part of `fvu_a`; empty where there are none."""
    fvu_high_norm_b: float | None
    dead_fraction_a: float | None
    """Share of the dictionary's latents that never fire on the rows compared on."""
    dead_fraction_b: float | None
    loss_recovered_a: float | None
    """(loss ablated - loss spliced) / (loss ablated - loss clean); 1: the reconstruction loses nothing."""
    loss_recovered_b: float | None
    alignment: str
    """`-` for metrics that need no matching or carry their own."""
    direction: str
    """a_to_b, b_to_a or both."""
    metric: str
    space: str
    """tokens or decoder."""
    value: float | None
    null: str
    """The metric's primary null; the others are in nulls.csv."""
    null_mean: float | None
    null_std: float | None
    null_draws: int | None
    control: float | None
    """The value of the untrained counterparts; empty also where it was not computed (see `flags`)."""
    calibrated: float | None
    """max(0, (value - q) / (1 - q)), q the null's 95 % point; for display only (Groeger 2026)."""
    excess: float | None
    """value - null_mean, signed; what averages and comparisons are made from."""
    z: float | None
    """excess / null_std; not an effect size."""
    diff_control: float | None
    """value - control."""
    diff_ci_low: float | None
    """Document bootstrap of diff_control, same draws on both sides."""
    diff_ci_high: float | None
    p_value: float | None
    q_value: float | None
    """Benjamini-Hochberg over the layer pairs of this metric."""
    ci_low: float | None
    """Document bootstrap of the value, conditional on these models and dictionaries."""
    ci_high: float | None
    n_matches: int | None
    n_eligible_a: int | None
    n_eligible_b: int | None
    n_alive_a: int | None
    n_alive_b: int | None
    eligible_mass_a: float | None
    """Share of activation mass in eligible latents."""
    eligible_mass_b: float | None
    context_share_a: float | None
    """Share of variance within token types."""
    context_share_b: float | None
    n_tokens: int
    n_documents: int
    seed: int
    flags: str
    """`;`-joined remarks that leave the value standing: rank_limited, subsampled, unlike_controls,
    control_not_computed, and what a metric says of itself."""
    reason: str
    """`;`-joined codes of what is empty in this row; the first is the value's where the value is empty."""

    def __post_init__(self) -> None:
        _check_choices(self, "space", SPACES)
        _check_numbers(self)
        if self.value is None and not self.reason:
            raise ValueError(
                f"{_where(self)}: expected a reason beside an empty value, got none. "
                f"Choose one of: {', '.join(REASONS[1:])}."
            )

    @property
    def value_reason(self) -> str:
        """Why the value is empty; empty itself where the value is defined."""
        return "" if self.value is not None else self.reason.split(";")[0]


@dataclass(frozen=True)
class NullRow:
    """One null of one layer pair, metric and direction: the primary one and every other.

    Raises:
        ValueError: for a number that is not finite, an unknown direction or reason code.
    """

    comparison: str
    layer_a: str
    layer_b: str
    metric: str
    direction: str
    null: str
    """document_shift, permutation, within_token_shuffle, ..."""
    is_primary: bool
    """Whether this is the null named in layer_pairs.csv."""
    mean: float | None
    std: float | None
    q95: float | None
    draws: int | None
    p_value: float | None
    """Empty for decompositions, which are no significance tests."""
    reason: str

    def __post_init__(self) -> None:
        _check_numbers(self)


def _check_numbers(row: Row | NullRow) -> None:
    _check_choices(row, "direction", DIRECTIONS)
    unknown = [code for code in row.reason.split(";") if code not in REASONS]
    if unknown:
        raise ValueError(
            f"{_where(row)}: expected reason codes, got {', '.join(unknown)}. "
            f"Choose from: {', '.join(REASONS[1:])}."
        )
    for field in fields(row):
        number = getattr(row, field.name)
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(
                f"{_where(row)}: expected a finite {field.name}, got {number}. "
                f"Leave undefined numbers empty (None) and give a reason."
            )


def _check_choices(row: Row | NullRow, name: str, choices: tuple[str, ...]) -> None:
    if getattr(row, name) not in choices:
        raise ValueError(
            f"{_where(row)}: {name}={getattr(row, name)!r} is not known. Choose one of: {', '.join(choices)}."
        )


def _where(row: Row | NullRow) -> str:
    return f"{row.metric} of layer pair ({row.layer_a}, {row.layer_b}), {row.direction}"
