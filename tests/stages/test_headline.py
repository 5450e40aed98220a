"""The headline numbers of summary.json."""

from collections.abc import Callable

import pytest

from saeuniv.results import Results
from saeuniv.stages.headline import headline


def test_headline_counts_rejections_under_independence_and_under_any_dependence(
    make_results: Callable[..., Results],
) -> None:
    # p = .01, .02, .03, .04 over four layer pairs: all four pass at .05 by BH (.04 <= .05 x 4/4); the
    # harmonic factor 25/12 of BY leaves none (.01 > .05 x 1/4 / 2.08).
    results = make_results(
        lambda metric, i, j: {
            "value": 0.1 * (1 + 2 * i + j),
            "p_value": 0.01 * (1 + 2 * i + j),
            "control": 0.05,
        },
        2,
        2,
    )
    found = headline(list(results.rows), "partial_correlation")
    assert (found["rejected_bh"], found["rejected_by"], found["layer_pairs"]) == (4, 0, 4)
    assert found["tested"] == 4
    assert found["smallest_q_bh"] == pytest.approx(0.04)
    assert found["smallest_q_by"] == pytest.approx(0.04 * 25 / 12)
    assert found["mean"] == pytest.approx(0.25)
    assert (found["max"], found["max_at"]) == (pytest.approx(0.4), ["1", "1"])
    assert found["control_mean"] == pytest.approx(0.05)


def test_a_metric_that_is_nowhere_defined_has_no_headline(make_results: Callable[..., Results]) -> None:
    results = make_results(lambda metric, i, j: None, 2, 2)
    assert headline(list(results.rows), "partial_correlation") == {"layer_pairs": 0}


def test_the_headline_is_over_what_was_computed(make_results: Callable[..., Results]) -> None:
    missing = {"value": None, "reason": "not_computed"}
    results = make_results(lambda metric, i, j: missing if i == j else {"value": 0.2, "control": None}, 2, 2)
    found = headline(list(results.rows), "partial_correlation")
    assert (found["layer_pairs"], found["mean"], found["control_mean"]) == (2, pytest.approx(0.2), None)


def test_layer_pairs_without_p_are_no_members_of_the_family(make_results: Callable[..., Results]) -> None:
    results = make_results(
        lambda metric, i, j: {"value": 0.2, "p_value": 0.03 if i == j else None, "reason": "few_shifts"}, 2, 2
    )
    found = headline(list(results.rows), "partial_correlation")
    assert (found["layer_pairs"], found["tested"], found["rejected_bh"]) == (4, 2, 2)
    none = make_results(lambda metric, i, j: {"value": 0.2, "p_value": None, "reason": "few_shifts"}, 2, 2)
    found = headline(list(none.rows), "partial_correlation")
    assert (found["tested"], found["rejected_by"], found["smallest_q_by"]) == (0, 0, None)


def test_q_of_a_family_is_over_the_layer_pairs_of_all_its_metrics(
    make_results: Callable[..., Results],
) -> None:
    # Alone .02 has q = .02 x 4/4; beside four of .9 it is the fourth of eight: q = .02 x 8/4.
    p = {"partial_correlation": 0.02, "cka": 0.9}
    names = tuple(p)
    results = make_results(lambda metric, i, j: {"value": 0.2, "p_value": p[metric]}, 2, 2, names)
    rows = list(results.rows)
    assert headline(rows, names[0])["smallest_q_bh"] == pytest.approx(0.02)
    found = headline(rows, names[0], family=names)
    assert (found["tested"], found["smallest_q_bh"]) == (4, pytest.approx(0.04))
    assert headline(rows, names[1], family=names)["smallest_q_bh"] == pytest.approx(0.9)
