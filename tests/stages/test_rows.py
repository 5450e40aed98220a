"""Rows of the contract: joined with the control, tested in families, and never empty without a reason."""

import dataclasses

import numpy as np
import pytest

from saeuniv.alignments import Hungarian
from saeuniv.metrics import (
    Cka,
    MatchedCorrelation,
    Measurement,
    PartialCorrelation,
    RawCorrelation,
    SemanticRsa,
)
from saeuniv.metrics.base import (
    DOCUMENT_SHIFT,
    PERMUTATION,
    RANDOM_SUBSPACE,
    SELECTION_SHIFT,
    WITHIN_TOKEN_SHUFFLE,
)
from saeuniv.results import hookpoint_kind
from saeuniv.stages.described import Described, SideDescription
from saeuniv.stages.rows import PairScores, null_rows, result_rows
from saeuniv.stages.scores import LayerQuality, Scores

SIDE = SideDescription("model", "", "resid_post", "trained")
DESCRIBED = Described("one-two", SIDE, SIDE._replace(model="other"), Hungarian(), 0.95, 0)


def quality(n_eligible=100):
    return LayerQuality(256, 8.0, 0.1, 200, n_eligible, 0.8, 0.3, 0.4, 0.25, None)


def scores(*measurements, a=100, b=100):
    return Scores(measurements, quality(a), quality(b), n_tokens=1000, n_documents=50)


def measured(value=0.5, direction="both", *, null=None, bootstrap=None, **changes):
    """A measurement with 99 null draws around 0 and 400 bootstrap draws around the value."""
    rng = np.random.default_rng(7)
    draws = 0.1 * rng.standard_normal(99) if null is None else np.asarray(null, dtype=float)
    resampled = value + 0.02 * rng.standard_normal(400) if bootstrap is None else np.asarray(bootstrap)
    return Measurement(direction, value, nulls={DOCUMENT_SHIFT: draws}, bootstrap=resampled, **changes)


def pair(own, control=None, *, layers=("0", "1"), metric=None):
    return PairScores(*layers, metric or PartialCorrelation(), own, control, has_control=control is not None)


def one(own, control=None, **changes):
    (row,) = result_rows([pair(own, control, **changes)], DESCRIBED)
    return row


def test_a_row_names_both_sides_and_counts_each_on_its_own():
    row = one(scores(measured(), a=90, b=70))
    assert (row.model_a, row.model_b, row.hookpoint_a, row.hookpoint_b) == (
        "model",
        "other",
        "resid_post[0]",
        "resid_post[1]",
    )
    assert (row.n_eligible_a, row.n_eligible_b, row.layer_a, row.layer_b) == (90, 70, "0", "1")
    assert (row.control, row.diff_control, row.diff_ci_low, row.flags) == (None, None, None, "")


def test_a_row_says_where_activations_were_read_and_where_they_should_have_been():
    described = DESCRIBED._replace(b=SIDE._replace(hookpoint="resid_post<-resid_pre"))
    (row,) = result_rows([pair(scores(measured()), layers=("0", "1+2"))], described)
    assert (row.hookpoint_a, row.layer_b) == ("resid_post[0]", "1+2")
    assert row.hookpoint_b == "resid_post[1+2]<-resid_pre[1+2]"
    assert hookpoint_kind(row.hookpoint_b) == "resid_post<-resid_pre"
    assert hookpoint_kind(row.hookpoint_a) == "resid_post"


def test_the_control_is_joined_by_direction():
    own = scores(measured(0.5, "a_to_b"), measured(0.6, "b_to_a"), measured(0.55))
    control = scores(measured(0.15), measured(0.1, "a_to_b"), measured(0.2, "b_to_a"))
    rows = result_rows([pair(own, control)], DESCRIBED)
    assert {row.direction: row.control for row in rows} == {"a_to_b": 0.1, "b_to_a": 0.2, "both": 0.15}
    for row in rows:
        assert row.diff_control == pytest.approx(row.value - row.control)


def test_the_interval_of_the_difference_pairs_the_draws():
    """Draws of both sides rise and fall together: the difference is known better than either value."""
    common = 0.1 * np.random.default_rng(0).standard_normal(1000)
    own, control = measured(0.5, bootstrap=0.5 + common), measured(0.2, bootstrap=0.2 + common)
    row = one(scores(own), scores(control))
    assert (row.diff_ci_low, row.diff_ci_high) == pytest.approx((0.3, 0.3))
    assert row.ci_high - row.ci_low > 0.3
    unpaired = one(scores(own), scores(control._replace(bootstrap=np.roll(control.bootstrap, 1))))
    assert unpaired.diff_ci_high - unpaired.diff_ci_low > 0.4


def test_the_interval_of_the_difference_has_the_asked_confidence():
    draws = np.linspace(0, 1, 1001)
    described = DESCRIBED._replace(confidence=0.9)
    own, control = measured(0.5, bootstrap=draws), measured(0.2, bootstrap=np.zeros(1001))
    (row,) = result_rows([pair(scores(own), scores(control))], described)
    assert (row.diff_ci_low, row.diff_ci_high) == pytest.approx((0.05, 0.95))
    assert (row.ci_low, row.ci_high) == pytest.approx((0.05, 0.95))


@pytest.mark.parametrize("bootstrap", [[], [0.1, 0.2]])
def test_a_control_without_the_same_draws_gives_a_difference_without_interval(bootstrap):
    row = one(scores(measured(0.5)), scores(measured(0.2, bootstrap=bootstrap)))
    assert row.diff_control == pytest.approx(0.3)
    assert (row.diff_ci_low, row.diff_ci_high) == (None, None)


def test_an_undefined_side_gives_no_difference():
    missing = Measurement("both", None, "no_eligible_latents")
    assert one(scores(measured(0.5)), scores(missing)).diff_control is None
    row = one(scores(missing), scores(measured(0.2)))
    assert (row.control, row.diff_control, row.reason) == (0.2, None, "no_eligible_latents")


@pytest.mark.parametrize(
    ("own", "control", "flagged"),
    [((100, 100), (50, 50), False), ((100, 100), (49, 90), True), ((100, 100), (90, 49), True)],
)
def test_controls_with_less_than_half_the_eligible_latents_on_a_side_are_flagged(own, control, flagged):
    left = scores(measured(flags=("rank_limited",)), a=own[0], b=own[1])
    row = one(left, scores(measured(0.1), a=control[0], b=control[1]))
    assert row.flags == ("rank_limited;unlike_controls" if flagged else "rank_limited")


def with_p(count, **changes):
    """A measurement whose p is (1 + count) / 100."""
    return measured(0.5, null=np.append(np.ones(count), np.zeros(99 - count)), **changes)


def test_q_values_are_taken_over_the_layer_pairs_of_one_metric_and_direction():
    counts = (0, 3, 40)
    pairs = [
        pair(scores(with_p(count), with_p(0, direction="a_to_b")), layers=(str(layer), "0"))
        for layer, count in enumerate(counts)
    ]
    pairs.append(pair(scores(with_p(90)), metric=RawCorrelation()))
    rows = result_rows(pairs, DESCRIBED)
    both = [row for row in rows if (row.metric, row.direction) == ("partial_correlation", "both")]
    assert [row.p_value for row in both] == pytest.approx([0.01, 0.04, 0.41])
    assert [row.q_value for row in both] == pytest.approx([0.03, 0.06, 0.41])
    assert {row.q_value for row in rows if row.direction == "a_to_b"} == {0.01}
    assert [row.q_value for row in rows if row.metric == "raw_correlation"] == pytest.approx([0.91])


def test_q_values_of_a_family_are_taken_over_all_its_metrics():
    null = np.arange(99.0)

    def of_words(name, value):
        found = measured(value)._replace(nulls={RANDOM_SUBSPACE: null})
        return [pair(scores(found), metric=SemanticRsa(category=name))] * 2

    pairs = [*of_words("time", 98.5), *of_words("nature", 1.0), pair(scores(measured(98.5, null=null)))]
    # p = .01 twice among four, and once alone.
    q = [row.q_value for row in result_rows(pairs, DESCRIBED)]
    assert q == pytest.approx([0.02, 0.02, 0.99, 0.99, 0.01])


def test_a_layer_pair_without_p_is_no_member_of_the_family():
    tested = [pair(scores(with_p(count)), layers=(str(count), "0")) for count in (0, 3)]
    untested = pair(scores(with_p(0, empty={"p_value": "few_shifts", "calibrated": "few_shifts"})))
    rows = result_rows([tested[0], untested, tested[1]], DESCRIBED)
    assert [row.q_value for row in rows] == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert (rows[1].p_value, rows[1].calibrated, rows[1].reason) == (None, None, "few_shifts")
    assert rows[1].excess == pytest.approx(0.5)


def test_the_numbers_of_a_row_are_those_of_its_null():
    null = np.arange(99) / 100
    row = one(scores(measured(0.9, null=null)))
    assert (row.null, row.null_draws) == (DOCUMENT_SHIFT, 99)
    assert row.null_mean == pytest.approx(0.49)
    assert row.excess == pytest.approx(0.41)
    assert row.z == pytest.approx(0.41 / null.std(ddof=1))
    assert row.p_value == pytest.approx((1 + 9) / 100)
    # The 95th smallest of the 99 draws and the value.
    assert row.calibrated == 0.0
    assert one(scores(measured(0.97, null=null))).calibrated == pytest.approx((0.97 - 0.94) / (1 - 0.94))


def test_null_rows_mark_the_primary_null_and_test_no_decomposition():
    draws = {name: np.arange(99) / 100 for name in (SELECTION_SHIFT, PERMUTATION, WITHIN_TOKEN_SHUFFLE)}
    measurement = measured(0.9)._replace(nulls=draws)
    rows = {row.null: row for row in null_rows([pair(scores(measurement), metric=Cka())], DESCRIBED)}
    assert {name: row.is_primary for name, row in rows.items()} == {
        SELECTION_SHIFT: True,
        PERMUTATION: False,
        WITHIN_TOKEN_SHUFFLE: False,
    }
    assert rows[SELECTION_SHIFT].p_value == rows[PERMUTATION].p_value == pytest.approx(0.1)
    assert rows[WITHIN_TOKEN_SHUFFLE].p_value is None
    assert (rows[PERMUTATION].mean, rows[PERMUTATION].q95, rows[PERMUTATION].draws) == pytest.approx(
        (0.49, 0.94, 99)
    )


def test_a_null_that_the_row_gives_no_p_for_has_none_in_the_null_row_either():
    refused = {"p_value": "few_shifts", "calibrated": "few_shifts"}
    measurement = measured(0.9, null=np.arange(10) / 100, empty=refused)
    permuted = measurement._replace(nulls={**measurement.nulls, PERMUTATION: np.arange(99) / 100})
    primary, other = null_rows([pair(scores(permuted))], DESCRIBED)
    assert one(scores(permuted)).p_value is None
    assert (primary.p_value, primary.reason, primary.draws) == (None, "few_shifts", 10)
    assert other.p_value == pytest.approx(0.1) and other.reason == ""


def test_a_null_without_draws_says_so():
    empty = measured(0.9, null=[], empty={"p_value": "few_shifts", "calibrated": "few_shifts"})
    (row,) = null_rows([pair(scores(empty))], DESCRIBED)
    assert (row.mean, row.std, row.q95, row.p_value, row.draws) == (None, None, None, None, 0)
    assert row.reason == "few_shifts"
    (row,) = null_rows([pair(scores(measured(0.9, null=[])))], DESCRIBED)
    assert row.reason == "no_null"


def test_the_alignment_is_named_only_where_it_enters():
    assert one(scores(measured())).alignment == "-"
    assert one(scores(measured()), metric=MatchedCorrelation()).alignment == "hungarian"


def test_every_pair_and_direction_has_one_row_in_the_order_given():
    pairs = [pair(scores(measured(0.5, "a_to_b"), measured()), layers=(str(layer), "0")) for layer in (1, 0)]
    rows = result_rows(pairs, DESCRIBED)
    assert [(row.layer_a, row.direction) for row in rows] == [
        ("1", "a_to_b"),
        ("1", "both"),
        ("0", "a_to_b"),
        ("0", "both"),
    ]
    assert dataclasses.replace(rows[0], layer_a="0", hookpoint_a=rows[2].hookpoint_a) == rows[2]


_OF_A_SIDE = ("d_sae", "l0", "fvu", "n_alive", "n_eligible", "eligible_mass", "context_share")


def test_a_score_that_was_not_computed_has_empty_rows_in_the_directions_of_its_metric():
    own = scores(measured(0.5, "a_to_b"), measured(0.6, "b_to_a"), measured(0.55))
    rows = result_rows([pair(own), pair(None, layers=("0", "2"))], DESCRIBED)
    assert [row.direction for row in rows[3:]] == ["a_to_b", "b_to_a", "both"]
    for row in rows[3:]:
        assert (row.value, row.reason, row.value_reason) == (None, "not_computed", "not_computed")
        empty = ("null_mean", "null_draws", "excess", "p_value", "q_value", "ci_low", "n_matches", "control")
        assert all(getattr(row, name) is None for name in empty)
        assert (row.null, row.space, row.alignment, row.flags) == ("document_shift", "tokens", "-", "")
        assert (row.layer_b, row.hookpoint_b) == ("2", "resid_post[2]")


def test_what_other_scores_say_of_a_layer_stands_beside_a_score_that_was_not_computed():
    computed = scores(measured(), a=90, b=70)
    rows = result_rows(
        [pair(computed), pair(None, layers=("0", "2")), pair(None, layers=("3", "1"))], DESCRIBED
    )
    known_a, known_b = (
        next(row for row in rows if row.layer_b == b and row.value is None) for b in ("2", "1")
    )
    assert (known_a.n_eligible_a, known_b.n_eligible_b) == (90, 70)
    assert all(getattr(known_a, f"{name}_a") == getattr(quality(90), name) for name in _OF_A_SIDE)
    assert all(getattr(known_a, f"{name}_b") is None for name in _OF_A_SIDE)
    assert all(getattr(known_b, f"{name}_a") is None for name in _OF_A_SIDE)
    assert {(row.n_tokens, row.n_documents) for row in rows} == {(1000, 50)}


def test_a_metric_that_is_nowhere_computed_has_the_directions_it_has_by_itself():
    pairs = [pair(scores(measured())), pair(None, metric=RawCorrelation()), pair(None, metric=Cka())]
    rows = result_rows(pairs, DESCRIBED)
    assert [row.direction for row in rows if row.metric == "raw_correlation"] == ["a_to_b", "b_to_a", "both"]
    (row,) = (row for row in rows if row.metric == "cka")
    assert (row.direction, row.alignment, row.space, row.reason) == (
        "both",
        "hungarian",
        "decoder",
        "not_computed",
    )


def test_q_values_are_over_what_was_computed():
    p_of_three = [pair(scores(with_p(count)), layers=(str(count), "0")) for count in (0, 3, 40)]
    two = [*p_of_three[:2], p_of_three[2]._replace(scores=None)]
    whole = [row.q_value for row in result_rows(p_of_three, DESCRIBED)]
    assert whole == pytest.approx([0.03, 0.06, 0.41])
    rows = [row for row in result_rows(two, DESCRIBED) if row.direction == "both"]
    assert [row.q_value for row in rows] == [pytest.approx(0.02), pytest.approx(0.04), None]


def test_a_control_that_was_not_computed_is_flagged_and_its_columns_are_empty():
    own = scores(measured(0.5, flags=("rank_limited",)))
    (row,) = result_rows([pair(own)._replace(has_control=True)], DESCRIBED)
    assert (row.value, row.control, row.diff_control, row.diff_ci_low) == (0.5, None, None, None)
    assert (row.flags, row.reason) == ("rank_limited;control_not_computed", "")
    assert one(scores(measured(0.5)), None).flags == ""


def test_a_control_is_shown_beside_a_score_that_was_not_computed():
    computed = pair(scores(measured(0.5)), scores(measured(0.1)))
    missing = pair(None, scores(measured(0.2), a=1, b=1), layers=("0", "2"))
    row = next(row for row in result_rows([computed, missing], DESCRIBED) if row.value is None)
    assert (row.control, row.diff_control, row.flags) == (0.2, None, "")


def test_nothing_computed_is_no_table():
    with pytest.raises(ValueError, match="expected at least one that was computed, got none of 2"):
        result_rows([pair(None), pair(None, layers=("0", "2"))], DESCRIBED)


def test_a_score_that_was_not_computed_has_no_null_rows():
    assert null_rows([pair(None)], DESCRIBED) == ()
