"""Tables and sentences over many comparisons."""

import dataclasses

import pytest
from rich.console import Console

from saeuniv.report.meaning import meaning
from saeuniv.report.pairs import are_pairs, pairs_line, pairs_table


@pytest.fixture
def make_comparison(make_results):
    def make(value: float, untrained: tuple[str, ...] = (), name: str = "s") -> object:
        results = make_results(lambda metric, i, j: value + i / 100, model_a=f"{name}0", model_b=f"{name}1")
        return dataclasses.replace(results, summary={"untrained": list(untrained)})

    return make


def text(table) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_lowest_trained_pair_is_held_against_the_highest_untrained_one(make_comparison):
    both = ("a", "b")
    above = [
        make_comparison(0.3, name="s"),
        make_comparison(0.4, name="t"),
        make_comparison(0.1, both, "u"),
        make_comparison(0.2, both, "v"),
    ]
    line = pairs_line(above)
    assert (
        "2 trained pairs lies above the highest of 2 untrained pairs at layers 0 (.300 against .200)" in line
    )
    assert "3 (.330 against .230)" in line
    # One trained pair below an untrained one, and the claim is gone.
    assert "at no layer" in pairs_line([*above, make_comparison(0.15, name="w")])


def test_one_pair_of_each_carries_no_claim(make_comparison):
    line = pairs_line([make_comparison(0.3), make_comparison(0.1, ("a", "b"))])
    assert line.startswith("1 trained and 1 untrained pairs: at least two of each are needed")


def test_one_pair_of_models_counts_once_however_it_was_aligned(make_comparison):
    same = [make_comparison(0.3), make_comparison(0.3), make_comparison(0.1, ("a", "b"), "u")]
    assert pairs_line(same).startswith("1 trained and 1 untrained pairs")
    assert not are_pairs(same)
    assert are_pairs([*same, make_comparison(0.2, name="t")])


def test_mixed_pairs_count_as_neither(make_comparison):
    mixed = [make_comparison(0.9, ("a",)), make_comparison(0.05, ("b",))]
    assert pairs_line(mixed).startswith("0 trained and 0 untrained pairs")


def test_the_table_lists_trained_untrained_and_mixed_pairs_in_this_order(make_comparison):
    rows = [
        make_comparison(0.05, ("b",), "m"),
        make_comparison(0.1, ("a", "b"), "u"),
        make_comparison(0.3, (), "t"),
    ]
    lines = [line for line in text(pairs_table(rows)).splitlines() if " and " in line]
    assert [line.split()[0] for line in lines] == ["trained", "untrained", "mixed"]
    assert lines[0].split()[1:] == ["t0", "and", "t1", ".300", ".310", ".320", ".330"]


def test_a_mixture_of_trained_and_untrained_says_nothing_about_learning(make_comparison):
    control = make_comparison(0.1, ("a", "b"))
    assert "One of the two models is untrained" in meaning(make_comparison(0.3, ("b",)), control)
    assert "Both models are untrained" in meaning(control, None)
    assert "trained pair" in meaning(make_comparison(0.3), control)
