"""The headline numbers of summary.json."""

from collections.abc import Callable

import pytest

from saeuniv.results import Results
from saeuniv.stages.report import _headline


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
    headline = _headline(list(results.rows), "partial_correlation")
    assert (headline["rejected_bh"], headline["rejected_by"], headline["layer_pairs"]) == (4, 0, 4)
    assert headline["mean"] == pytest.approx(0.25)
    assert (headline["max"], headline["max_at"]) == (pytest.approx(0.4), ["1", "1"])
    assert headline["control_mean"] == pytest.approx(0.05)


def test_a_metric_that_is_nowhere_defined_has_no_headline(make_results: Callable[..., Results]) -> None:
    results = make_results(lambda metric, i, j: None, 2, 2)
    assert _headline(list(results.rows), "partial_correlation") == {"layer_pairs": 0}
