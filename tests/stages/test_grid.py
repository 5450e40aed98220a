"""What summary.json says over the layer pairs of one metric: from stored draws, in plain numbers, no NaN."""

import json

import numpy as np
import pytest

from saeuniv.metrics import Cka, Measurement, PartialCorrelation, RawCorrelation
from saeuniv.metrics.base import DOCUMENT_SHIFT, SELECTION_SHIFT
from saeuniv.numerics.grid import argmax_stability, max_statistic
from saeuniv.stages.grid import grid_summaries, grid_summary
from saeuniv.stages.rows import PairScores
from saeuniv.stages.scores import LayerQuality, Scores

QUALITY = LayerQuality(256, 8.0, 0.1, 200, 100, 0.8, 0.3, 0.4, 0.25, None)
NAME = "partial_correlation"


def pair(layer_a, layer_b, *measured, metric=None):
    scores = Scores(measured, QUALITY, QUALITY, n_tokens=1000, n_documents=50) if measured else None
    return PairScores(layer_a, layer_b, metric or PartialCorrelation(), scores, None, has_control=False)


def measured(value, rng, *, draws=399, bootstrap=200, direction="both", **changes):
    null = 0.01 * rng.standard_normal(draws)
    resampled = value + 0.02 * rng.standard_normal(bootstrap)
    changes = {"nulls": {DOCUMENT_SHIFT: null}, "bootstrap": resampled, **changes}
    return Measurement(direction, value, **changes)


def diagonal_grid(n_a=3, n_b=4):
    """Layers of equal depth are alike; the last of both most. Directed measurements are noise."""
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(n_a):
        for j in range(n_b):
            value = 0.3 - 0.3 * abs(i / (n_a - 1) - j / (n_b - 1)) + 0.3 * (i == n_a - 1 and j == n_b - 1)
            both = measured(value, rng)
            directed = [measured(9.0, rng, direction=each) for each in ("a_to_b", "b_to_a")]
            pairs.append(pair(str(i), str(2 * j), *directed, both))
    return pairs


def summary(pairs, metric=NAME):
    found = grid_summary(pairs, metric, confidence=0.95, seed=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_an_aligned_grid_says_how_surely_where_and_along_what():
    pairs = diagonal_grid()
    found = summary([*pairs, *(each._replace(metric=RawCorrelation(), scores=None) for each in pairs)])
    assert (found["layers_a"], found["layers_b"]) == (["0", "1", "2"], ["0", "2", "4", "6"])
    assert (found["null_draws"], found["draws_needed_bh"], found["reasons"]) == (399, 239, {})
    assert found["draws_needed_by"] == 744
    maximum, diagonality, best = (found[key] for key in ("max_statistic", "diagonality", "best_cell"))
    assert (maximum["cells"], maximum["left_out"]) == (12, 0)
    assert maximum["p_any"] == 1 / 400 and maximum["p"][2][3] == 1 / 400 and maximum["p"][0][3] > 0.05
    assert maximum["rejected"] == sum(p <= 0.05 for row in maximum["p"] for p in row)
    assert diagonality["correlation"] > 0.8 and diagonality["permutations"] == 24
    assert (best["at"], best["share"], best["not_excluded"]) == (["2", "6"], 1.0, [["2", "6"]])
    assert 0 < best["difference_ci_low"] < best["difference"] < best["difference_ci_high"]


def test_every_metric_has_a_summary_of_its_own():
    pairs = diagonal_grid()
    both = [*pairs, *(each._replace(metric=RawCorrelation()) for each in pairs[:4])]
    found = grid_summaries(both, confidence=0.95, seed=0)
    assert found[NAME] == summary(pairs) and list(found) == [NAME, "raw_correlation"]
    assert found["raw_correlation"]["layers_a"] == ["0"]


def test_the_numbers_are_those_of_the_draws_of_both_directions():
    pairs = diagonal_grid()
    both = [each.scores.measurements[2] for each in pairs]
    values = np.array([each.value for each in both])
    expected = max_statistic(values, np.column_stack([e.nulls[DOCUMENT_SHIFT] for e in both]), level=0.05)
    found = summary(pairs)
    np.testing.assert_array_equal(np.ravel(found["max_statistic"]["p"]), expected.p)
    assert found["max_statistic"]["critical_z"] == expected.critical
    best = argmax_stability(values, np.column_stack([each.bootstrap for each in both]), confidence=0.95)
    np.testing.assert_array_equal(np.ravel(found["best_cell"]["shares"]), best.shares)


def test_layers_in_another_order_say_the_same_of_each():
    pairs = diagonal_grid()
    before, after = summary(pairs), summary(pairs[::-1])
    assert after["layers_b"] == before["layers_b"][::-1]
    assert np.array_equal(np.array(after["max_statistic"]["p"])[::-1, ::-1], before["max_statistic"]["p"])
    assert after["best_cell"]["at"] == before["best_cell"]["at"]
    assert after["diagonality"]["correlation"] == pytest.approx(before["diagonality"]["correlation"])


def test_undefined_and_missing_layer_pairs_are_left_out_and_counted():
    pairs = diagonal_grid()
    pairs[1] = pairs[1]._replace(scores=None)
    pairs[2] = pair("0", "4", Measurement("both", None, "no_eligible_latents"))
    found = summary(pairs)
    assert (found["max_statistic"]["cells"], found["max_statistic"]["left_out"]) == (10, 2)
    assert found["max_statistic"]["p"][0][1:3] == found["best_cell"]["shares"][0][1:3] == [None, None]
    assert found["best_cell"]["at"] == ["2", "6"]
    assert (found["diagonality"], found["reasons"]) == (None, {"diagonality": "undefined_cells"})


def test_a_metric_without_p_or_interval_says_why():
    rng = np.random.default_rng(1)
    empty = {"p_value": "few_shifts", "calibrated": "few_shifts", "ci": "few_documents"}
    pairs = [
        pair(str(i), str(j), measured(0.1 * rng.random(), rng, bootstrap=0, empty=empty))
        for i in range(3)
        for j in range(3)
    ]
    found = summary(pairs)
    assert (
        found["max_statistic"]
        is found["best_cell"]
        is found["null_draws"]
        is found["draws_needed_bh"]
        is None
    )
    assert found["reasons"] == {"max_statistic": "few_shifts", "best_cell": "few_documents"}
    assert found["diagonality"]["permutations"] == 6


def test_the_null_of_a_metric_is_its_own_primary_one():
    rng = np.random.default_rng(2)
    nulls = {SELECTION_SHIFT: rng.random(99), "permutation": np.zeros(99)}
    empty = {"ci": "needs_rematching"}
    pairs = [
        pair(i, j, measured(0.5, rng, nulls=nulls, bootstrap=0, empty=empty), metric=Cka())
        for i in "01"
        for j in "01"
    ]
    found = summary(pairs, "cka")
    assert 0.3 < found["max_statistic"]["p_any"] < 0.7
    assert found["reasons"] == {"best_cell": "needs_rematching", "diagonality": "few_layers"}


def test_draws_that_are_not_shared_are_not_compared():
    rng = np.random.default_rng(3)
    pairs = [pair("0", str(j), measured(0.1, rng, draws=99 + j, bootstrap=50 + j)) for j in range(3)]
    found = summary(pairs)
    assert found["reasons"] == dict.fromkeys(("max_statistic", "best_cell"), "draws_differ") | {
        "diagonality": "few_layers"
    }
    assert found["null_draws"] == 99


def test_groups_of_layers_have_their_mean_depth_and_constant_grids_no_diagonal():
    rng = np.random.default_rng(4)
    layers = ("0", "1+2", "4")
    depths = np.array([0, 1.5, 4]) / 4
    nearness = 1 - np.abs(depths[:, None] - depths)
    pairs = [
        pair(a, b, measured(nearness[i, j], rng)) for i, a in enumerate(layers) for j, b in enumerate(layers)
    ]
    assert summary(pairs)["diagonality"]["correlation"] == pytest.approx(1.0)
    flat = [pair(a, b, measured(0.2, rng)) for a in layers for b in layers]
    assert summary(flat)["reasons"] == {"diagonality": "no_interaction"}


def test_nothing_computed_and_one_cell_say_so():
    nothing = summary([pair("0", "0"), pair("0", "1")])
    assert nothing["reasons"] == {
        "max_statistic": "no_values",
        "diagonality": "few_layers",
        "best_cell": "few_cells",
    }
    one = summary([pair("0", "0", measured(0.5, np.random.default_rng(5)))])
    assert one["max_statistic"]["p"] == [[1 / 400]] and one["draws_needed_by"] == 19
    assert summary([], "cka")["layers_a"] == []
