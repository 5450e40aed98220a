"""Matrices are views of the rows."""

import dataclasses

import numpy as np
import pytest

from saeuniv.results import REASONS, Results


def _half_undefined(metric: str, i: int, j: int) -> float | None:
    return None if (i + j) % 3 == 0 else 0.1 * i - 0.01 * j


def test_every_entry_of_a_matrix_is_the_number_of_its_row(make_results):
    results = make_results(_half_undefined, 3, 5, ("partial_correlation", "cka"))
    for metric in results.metrics:
        matrix = results.matrix(metric)
        assert matrix.shape == (3, 5)
        for row in (r for r in results.rows if r.metric == metric):
            entry = matrix[int(row.layer_a), int(row.layer_b)]
            assert (row.value is None and np.isnan(entry)) or entry == row.value


def test_a_value_is_nan_exactly_where_its_reason_is_not_zero(make_results):
    results = make_results(_half_undefined, 4, 4)
    reasons = results.reasons("partial_correlation")
    assert reasons.dtype == np.int8
    assert ((reasons != 0) == np.isnan(results.matrix("partial_correlation"))).all()
    assert reasons[0, 0] == REASONS.index("too_few_matches")


def test_a_reason_for_another_column_leaves_the_value_defined(make_results):
    given = {"value": 0.2, "p_value": None, "reason": "few_shifts"}
    results = make_results(lambda metric, i, j: given, 1, 1)
    assert results.reasons("partial_correlation") == 0
    assert np.isnan(results.matrix("partial_correlation", "p"))


def test_what_was_not_computed_is_nan_with_a_number_of_its_own(make_results):
    missing = {"value": None, "reason": "not_computed", "d_sae_b": None, "l0_b": None}
    results = make_results(lambda metric, i, j: 0.1 if i == j else missing, 2, 2)
    assert np.isnan(results.matrix("partial_correlation")).tolist() == [[False, True], [True, False]]
    assert results.reasons("partial_correlation").tolist() == [[0, 13], [13, 0]]
    assert results.matrix("partial_correlation", "l0_a").tolist() == [[8.0, 8.0], [8.0, 8.0]]


def test_layer_pairs_without_a_row_were_not_requested(make_results):
    full = make_results(lambda metric, i, j: 0.1, 3, 3)
    diagonal = dataclasses.replace(full, rows=tuple(r for r in full.rows if r.layer_a == r.layer_b))
    reasons = diagonal.reasons("partial_correlation")
    assert (np.diag(reasons) == 0).all()
    assert (reasons[~np.eye(3, dtype=bool)] == REASONS.index("not_requested")).all()


def test_other_statistics_and_directions_come_from_their_own_columns(make_results, make_row):
    both = make_results(lambda metric, i, j: {"value": 0.4, "null_mean": 0.25, "q_value": None}, 1, 1)
    directed = make_row(direction="a_to_b", value=0.5, null_mean=0.125)
    results = dataclasses.replace(both, rows=(*both.rows, directed))
    assert results.matrix("partial_correlation", "null") == 0.25
    assert results.matrix("partial_correlation", "p") == 1 / 486
    assert results.matrix("partial_correlation", "null", "a_to_b") == 0.125
    assert results.matrix("partial_correlation", "ci_high") == 0.31
    assert np.isnan(results.matrix("partial_correlation", "q"))
    assert np.isnan(results.matrix("partial_correlation", direction="b_to_a"))


def test_the_named_arrays_are_those_of_the_contract(make_results, make_row):
    both = make_results(lambda metric, i, j: 0.1, 1, 1, ("partial_correlation", "cka"))
    directed = tuple(make_row(direction=direction) for direction in ("a_to_b", "b_to_a"))
    arrays = dataclasses.replace(both, rows=(*both.rows, *directed)).arrays()
    plain = ("", "__null", "__excess", "__control", "__calibrated", "__p", "__q", "__reason")
    expected = {f"partial_correlation{s}" for s in (*plain, "__ab", "__ba")} | {f"cka{s}" for s in plain}
    assert set(arrays) == expected


def test_a_group_of_layers_is_a_row_of_the_matrix(make_row):
    rows = (make_row(layer_a="3+4", value=0.7), make_row(layer_a="5", value=0.6))
    results = Results(rows, (), ("3+4", "5"), ("0",), {}, "")
    assert results.matrix("partial_correlation").tolist() == [[0.7], [0.6]]
    row = results.row("partial_correlation", "3+4", "0")
    assert row is not None
    assert row.value == 0.7


def test_a_misspelt_metric_is_answered_with_the_nearest(make_results):
    results = make_results(lambda metric, i, j: 0.1, 1, 1, ("partial_correlation", "cka"))
    with pytest.raises(ValueError, match=r"metric='partial_corelation'.*Did you mean partial_correlation"):
        results.matrix("partial_corelation")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"statistic": "calibratd"}, "statistic='calibratd'.*Did you mean calibrated"),
        ({"direction": "both_ways"}, "direction='both_ways'.*Did you mean both"),
    ],
)
def test_unknown_statistics_and_directions_are_refused(make_results, given, message):
    with pytest.raises(ValueError, match=message):
        make_results(lambda metric, i, j: 0.1, 1, 1).matrix("partial_correlation", **given)


def test_a_row_of_a_layer_that_is_not_listed_is_refused(make_row):
    with pytest.raises(ValueError, match="expected a layer pair of layers_a"):
        Results((make_row(layer_a="9"),), (), ("0",), ("0",), {}, "")


def test_two_rows_of_one_place_are_refused(make_row):
    with pytest.raises(ValueError, match="expected one row per layer pair, metric and direction, got two"):
        Results((make_row(), make_row(value=0.1)), (), ("0",), ("0",), {}, "")
