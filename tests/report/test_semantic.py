"""The table of categories of words: means, and how many layer pairs are above each of the two nulls."""

import dataclasses
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from saeuniv.report.semantic import categories_of, semantic_table
from saeuniv.results import Results

NAMES = ("semantic_rsa_time", "semantic_rsa_nature", "partial_correlation")


@pytest.fixture
def results(make_results: Callable[..., Results]) -> Results:
    """Time is defined everywhere, nature nowhere; random words reach it in all but one layer pair."""

    def value(metric: str, i: int, j: int) -> dict[str, object] | None:
        if metric == "semantic_rsa_nature":
            return None
        q = 0.01 if i == 0 else 0.2
        return {"value": 0.1 * (1 + i + j), "q_value": q, "null": "random_subspace", "null_mean": 0.05}

    made = make_results(value, 2, 2, NAMES)
    words = tuple(
        dataclasses.replace(each, null="random_words", is_primary=False, mean=0.3, p_value=p)
        for each, p in zip(made.null_rows[:4], (0.01, 0.5, 0.5, 0.5), strict=True)
    )
    return dataclasses.replace(made, null_rows=(*made.null_rows, *words))


def test_a_category_has_its_means_and_counts(results: Results) -> None:
    (found,) = categories_of(results)
    assert (found.metric, found.layer_pairs, found.asked) == ("semantic_rsa_time", 4, 4)
    assert (found.value, found.latents, found.words) == pytest.approx((0.2, 0.05, 0.3))
    assert (found.above_latents, found.above_words) == (2, 1)


def test_the_table_says_what_its_columns_are(results: Results) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(semantic_table(results))
    text = console.export_text()
    assert "rsa time" in text and "4 of 4" in text and "nature" not in text
    assert "over all categories and layer pairs" in " ".join(text.split())
