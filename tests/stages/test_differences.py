"""Which comparisons of two sweeps belong together."""

from collections.abc import Callable

import pytest

from saeuniv.config import ConfigError
from saeuniv.results import Results
from saeuniv.stages.differences import axes, differences, matched
from saeuniv.stages.stored import StoredComparison
from saeuniv.store import Store

CONFIG = """# Replay: saeuniv
sae: {{k: {k}}}
width: {width}
layers: {{a: {layers}}}
bootstrap: {{draws: {draws}, confidence: 0.95}}
store: {width}{k}
"""


@pytest.fixture
def make(make_results: Callable[..., Results], tmp_path) -> Callable[..., StoredComparison]:
    def stored(
        k: int = 8, width: int = 64, *, draws: int = 100, layers: str = "all", **changes
    ) -> StoredComparison:
        values = changes.pop("values", lambda metric, i, j: 0.1 * (i + j))
        results = make_results(values, n_a=2, n_b=2, comparison=f"k{k}w{width}", **changes)
        config = CONFIG.format(k=k, width=width, layers=layers, draws=draws)
        return StoredComparison(Results(**{**vars(results), "config": config}), Store(tmp_path))

    return stored


def names(found) -> list[tuple[str, str]]:
    return [tuple(each.results.rows[0].comparison for each in pair) for pair in found.pairs]


def test_what_was_asked_and_where_it_ran_are_no_axes(make) -> None:
    assert axes(make(layers="0")) == axes(make(layers="[0,1]"))
    assert set(axes(make())) >= {"sae.k", "width", "bootstrap.draws", "model_a", "alignment"}


def test_comparisons_are_matched_on_what_both_sweeps_vary(make) -> None:
    one, other = [make(8, 64), make(8, 128)], [make(16, 128), make(16, 64)]
    found = matched(one, other)
    assert names(found) == [("k8w64", "k16w64"), ("k8w128", "k16w128")]
    assert found.differing == {"sae.k": (("8",), ("16",))} and found.unmatched == ()


def test_a_comparison_without_a_partner_is_named(make) -> None:
    one = [make(8, 64), make(8, 128, draws=200), make(8, 128)]
    other = [make(8, 64), make(8, 64, draws=200), make(8, 128)]
    found = matched(one, other)
    assert names(found) == [("k8w64", "k8w64"), ("k8w128", "k8w128")] and len(found.unmatched) == 2


def test_sweeps_that_cannot_be_told_apart_or_share_nothing_are_refused(make) -> None:
    with pytest.raises(ConfigError, match=r"which differ in sae\.k only"):
        matched([make(8), make(9)], [make(16)])
    with pytest.raises(ConfigError, match="alike in both, got none among 2 and 2"):
        matched([make(8, 64), make(9, 128)], [make(9, 64), make(8, 128)])


def test_differences_without_common_draws_have_a_reason_and_no_interval(make) -> None:
    one = make(values=lambda m, i, j: None if i == 0 == j else 0.1)
    found = differences(one, make(values=lambda m, i, j: 0.4, draws=200))
    assert [(each.layer_a, each.layer_b, each.reason) for each in found][:2] == [
        ("0", "0", "too_few_matches"),
        ("0", "1", "different_bootstrap"),
    ]
    assert found[0].difference is None and found[1].difference == pytest.approx(0.3)
    assert all(each.ci_low is None for each in found)
