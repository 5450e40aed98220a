"""What the numbers of one run mean, in words computed from its rows, and the acceptance of the science."""

from collections.abc import Callable
from typing import NamedTuple, cast

from saeuniv.report.layer_pairs import LayerPair, equal_depth, row_at
from saeuniv.report.numbers import listed, number
from saeuniv.results import NOT_COMPUTED, Results, Row

HEADLINE = "partial_correlation"
TRAINED, MIXED, UNTRAINED = "trained", "mixed", "untrained"
RAW = "raw_correlation"
_GIVEN = {
    HEADLINE: "the current {unit}",
    "partial_correlation_bigram": "the last two {unit}s",
    "partial_correlation_trigram": "the last three {unit}s",
}
_LEAST_RATIO = 1.8
_SIGNIFICANT_Q = 0.05
_DEMONSTRATION = "One trained and one untrained pair are a demonstration, not a claim about other seeds."


class Beside(NamedTuple):
    """One layer pair, trained and untrained."""

    pair: LayerPair
    trained: Row
    untrained: Row


class Check(NamedTuple):
    """One condition of the acceptance of the science."""

    sentence: str
    holds: bool


def meaning(results: Results, control: Results | None) -> str:
    """A few sentences about trained against untrained at layer pairs of equal number.

    "Above" means that the document intervals are disjoint. The last tokens are called by the
    `token_unit` of the summary ("byte" in the embedded experiment). What is missing is said to be.
    """
    kind = training(results)
    if kind != TRAINED:
        who = "Both models are" if kind == UNTRAINED else "One of the two models is"
        return f"{_against_null(results)} {who} untrained: nothing here was learnt by both."
    if control is None:
        nothing = "Without an untrained control (control=untrained) this says nothing about learning."
        return f"{_against_null(results)} {nothing}"
    sentences = (
        _ratio(results, control),
        _left(results, control),
        _above(results, control),
        _raw(results, control),
        _DEMONSTRATION,
    )
    return " ".join(filter(None, sentences))


def training(results: Results) -> str:
    """Whether the two models are trained, untrained, or one of each (mixed), by the summary."""
    untrained = results.summary.get("untrained", [])
    count = len(cast(list[str], untrained))
    return (TRAINED, MIXED, UNTRAINED)[count]


def acceptance(results: Results, control: Results | None) -> list[Check]:
    """The three conditions on `partial_correlation` at layer pairs (l, l) with l >= 1.

    A condition that cannot be computed does not hold, and its sentence says why.
    """
    beside = [b for b in _beside(results, control, HEADLINE) if b.pair.beyond_first]
    values = [(b.trained.value, b.untrained.value) for b in beside]
    pairs = [(t, u) for t, u in values if t is not None and u is not None]
    if not pairs or len(pairs) < len(values):
        missing = f"{HEADLINE} of both pairs at every layer >= 1: undefined or not computed"
        return [Check(missing, holds=False)]
    trained, untrained = zip(*pairs, strict=True)
    mean_t, mean_u = sum(trained) / len(trained), sum(untrained) / len(untrained)
    apart = [str(b.pair) for b in beside if _is_above(b.trained, b.untrained)]
    return [
        Check(
            f"smallest trained value ({number(min(trained), 3)}) above the largest untrained one "
            f"({number(max(untrained), 3)}) over layers >= 1",
            min(trained) > max(untrained),
        ),
        Check(
            f"mean trained value ({number(mean_t, 3)}) above {_LEAST_RATIO} times the untrained mean "
            f"({number(mean_u, 3)}) over layers >= 1",
            mean_t > max(0.0, _LEAST_RATIO * mean_u),
        ),
        Check(
            f"trained interval above the untrained one at every layer >= 1 "
            f"(at {listed(apart) or 'none'} of {listed([str(b.pair) for b in beside])})",
            len(apart) == len(beside),
        ),
    ]


def _beside(results: Results, control: Results | None, metric: str) -> list[Beside]:
    out: list[Beside] = []
    for pair in equal_depth(results, metric):
        trained, untrained = row_at(results, metric, pair), row_at(control, metric, pair)
        if trained is not None and untrained is not None:
            out.append(Beside(pair, trained, untrained))
    return out


def _is_above(one: Row, other: Row) -> bool:
    return one.ci_low is not None and other.ci_high is not None and one.ci_low > other.ci_high


def _given(results: Results, metric: str) -> str:
    return _GIVEN[metric].format(unit=results.summary.get("token_unit", "token"))


def _against_null(results: Results) -> str:
    metric = HEADLINE if HEADLINE in results.metrics else results.metrics[0]
    rows = [row for row in results.rows if row.metric == metric and row.direction == "both"]
    tested = [row.q_value for row in rows if row.q_value is not None]
    if not tested:
        return f"{metric} was not tested against its null."
    found = sum(q <= _SIGNIFICANT_Q for q in tested)
    threshold = number(_SIGNIFICANT_Q)
    return f"{metric} is above its null (q <= {threshold}) at {found} of {len(tested)} layer pairs."


def _ratio(results: Results, control: Results) -> str:
    beside = [b for b in _beside(results, control, HEADLINE) if b.pair.beyond_first]
    values = [(b.trained.value, b.untrained.value) for b in beside]
    defined = [(t, u) for t, u in values if t is not None and u is not None]
    if not defined:
        return f"No {HEADLINE} of a trained and an untrained pair at equal layers >= 1: no ratio is given."
    mean_t = sum(t for t, _ in defined) / len(defined)
    mean_u = sum(u for _, u in defined) / len(defined)
    means = f"mean {number(mean_t)} against {number(mean_u)}{_but(beside, _has_values)}"
    given = _given(results, HEADLINE)
    if mean_u <= 0 or mean_t <= 0:
        return f"Given {given}, a ratio of trained to untrained has no meaning at layers >= 1 ({means})."
    return (
        f"Given {given}, the latents of the trained pair correlate {mean_t / mean_u:.1f} times as much as "
        f"those of the untrained pair at layers >= 1 ({means})."
    )


def _left(results: Results, control: Results) -> str:
    """How much of the gap to the untrained pair is left when more of the past is given."""
    gaps = {metric: _gap(results, control, metric) for metric in _GIVEN}
    whole = gaps.pop(HEADLINE)
    left = {metric: gap / whole for metric, gap in gaps.items() if gap is not None and whole and whole > 0}
    if whole is None or not left:
        return ""
    first, *more = [
        f"{max(share, 0.0):.0%} {{}}given {_given(results, each)}" for each, share in left.items()
    ]
    most = "most of it is carried by these" if min(left.values()) < 0.5 else "most of it goes beyond these"
    parts = " and ".join([first.format("is left "), *(each.format("") for each in more)])
    return f"Of this gap ({number(whole)}) {parts}: {most}."


def _gap(results: Results, control: Results, metric: str) -> float | None:
    """Mean difference of the trained and the untrained pair at layers >= 1."""
    beside = [each for each in _beside(results, control, metric) if each.pair.beyond_first]
    values = [(each.trained.value, each.untrained.value) for each in beside]
    gaps = [
        trained - untrained for trained, untrained in values if trained is not None and untrained is not None
    ]
    return sum(gaps) / len(gaps) if gaps and len(gaps) == len(values) else None


def _above(results: Results, control: Results) -> str:
    if not any(map(_has_intervals, (b for metric in _GIVEN for b in _beside(results, control, metric)))):
        return "There are no two document intervals to compare."
    clauses: list[str] = []
    for metric in _GIVEN:
        beside = _beside(results, control, metric)
        given = _given(results, metric)
        if not any(map(_has_intervals, beside)):
            clauses.append(f"given {given} there are no two intervals to compare")
            continue
        above = _layers(beside, lambda b: _is_above(b.trained, b.untrained))
        below = _layers(beside, lambda b: _is_above(b.untrained, b.trained))
        and_below = "" if below == "no layer" else f" and below at {below}"
        clauses.append(f"given {given} above at {above}{and_below}{_but(beside, _has_intervals)}")
    return f"Document intervals of the trained pair against the untrained: {'; '.join(clauses)}."


def _raw(results: Results, control: Results) -> str:
    beside = _beside(results, control, RAW)
    if not any(map(_has_values, beside)):
        return "Raw correlation was not computed for both."
    higher = _layers(beside, _untrained_is_higher)
    but = _but(beside, _has_values)
    if higher == "no layer":
        return f"Raw correlation ranks the untrained pair higher at no layer{but}."
    return f"Raw correlation ranks the untrained pair higher at {higher}{but}: it is no evidence of learning."


def _has_values(beside: Beside) -> bool:
    return beside.trained.value is not None and beside.untrained.value is not None


def _has_intervals(beside: Beside) -> bool:
    return beside.trained.ci_low is not None and beside.untrained.ci_low is not None


def _untrained_is_higher(beside: Beside) -> bool:
    trained, untrained = beside.trained.value, beside.untrained.value
    return trained is not None and untrained is not None and untrained > trained


def _layers(beside: list[Beside], holds: Callable[[Beside], bool]) -> str:
    found = [str(b.pair) for b in beside if holds(b)]
    if not found:
        return "no layer"
    if len(found) == len(beside) > 1:
        return "every layer"
    return f"layer{'s' if len(found) > 1 else ''} {listed(found)}"


def _but(beside: list[Beside], is_defined: Callable[[Beside], bool]) -> str:
    """A remark on the layers left out, so that silence never reads as a result."""
    missing = [b for b in beside if not is_defined(b)]
    if not missing:
        return ""
    later = all(NOT_COMPUTED in (b.trained.value_reason, b.untrained.value_reason) for b in missing)
    why = "not computed" if later else "undefined"
    return f" ({why} at {_layers(beside, lambda b: b in missing)})"
