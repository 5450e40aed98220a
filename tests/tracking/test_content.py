"""What a run says of results: axes, the wide table, rows per layer pair, histograms, means."""

import numpy as np
import pytest

from saeuniv.metrics import METRICS
from saeuniv.results import Results
from saeuniv.tracking.content import axes, histogram_table, layer_pair_table, pair_rows, scalars

_ALL = [metric.name for metric in METRICS]


def test_columns_are_equal_whatever_was_computed_and_is_defined(make_results):
    full = make_results(lambda metric, i, j: 0.5, 2, 2, ("cka", "svcca"))
    empty = make_results(lambda metric, i, j: None, 3, 1, ("rsa",))
    columns, rows = layer_pair_table(empty, _ALL)
    assert columns == layer_pair_table(full, _ALL)[0]
    assert len(set(columns)) == len(columns)
    assert rows[0][columns.index("rsa")] is None
    assert rows[0][columns.index("cka__reason")] is None, "was not computed"


def test_a_metric_of_the_users_own_has_the_last_columns(make_results):
    own = make_results(lambda metric, i, j: 0.5, 1, 1, ("my_metric", "cka"))
    columns, ((*_,),) = layer_pair_table(own, _ALL)
    assert columns[: len(layer_pair_table(own, ["cka"])[0]) - 20] == columns[:3]
    assert columns[-10] == "my_metric"


def test_the_table_names_the_comparison_in_every_row(make_results):
    results = make_results(lambda metric, i, j: 0.5, 2, 2)
    columns, rows = layer_pair_table(results, ())
    assert columns[:3] == ["comparison", "layer_a", "layer_b"]
    assert {row[0] for row in rows} == {results.rows[0].comparison}


def test_axes_are_flat_and_say_the_alignment_of_the_name_where_no_metric_reads_it(make_results):
    told = axes(make_results(lambda metric, i, j: 0.5, 1, 1, alignment="-"))
    assert told["alignment"] == "hungarian"
    assert axes(make_results(lambda metric, i, j: 0.5, 1, 1, alignment="greedy"))["alignment"] == "greedy"
    assert all(isinstance(value, str | int | float) for value in told.values())
    unknown = axes(make_results(lambda metric, i, j: 0.5, 1, 1, d_sae_a=None))
    assert "d_sae_a" not in unknown


def test_rows_count_layer_pairs_by_depth_and_leave_out_what_is_undefined(make_results):
    rows = pair_rows(make_results(lambda metric, i, j: None if i == j else 0.5, 2, 2))
    assert [row["pair_idx"] for row in rows] == [1, 2]
    assert rows[0]["pair/partial_correlation"] == 0.5


def test_histograms_stand_side_by_side_in_the_same_bins():
    matches = {"r_held_out": np.array([0.99, 1.0, -1.0]), "r_null": np.array([0.01, np.nan, 1.0000001])}
    columns, rows = histogram_table("a-b", [("0", "1", matches)])
    assert columns == ["comparison", "layer_a", "layer_b", "from", "to", "matched", "null"]
    assert len(rows) == 40
    assert rows[0] == ["a-b", "0", "1", -1.0, -0.95, 1, 0]
    assert rows[20][3:] == [0.0, 0.05, 0, 1]
    assert rows[-1][3:] == [0.95, 1.0, 2, 1]


def test_means_leave_out_what_is_undefined(make_results):
    told = scalars(make_results(lambda metric, i, j: 0.25 if i == j else None, 2, 2, ("cka",)))
    assert told["score/cka"] == 0.25
    assert told["quality/undefined_cka"] == 0.5
    assert "score/cka" not in scalars(make_results(lambda metric, i, j: None, 2, 2, ("cka",)))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_row_can_hold_what_is_not_finite(make_results, number):
    with pytest.raises(ValueError, match="finite"):
        _: Results = make_results(lambda metric, i, j: number, 1, 1)
