"""The table of corrections, from results made by hand."""

import dataclasses

import pytest
from rich.console import Console

from saeuniv.report.corrections import PUBLISHED, are_corrections, corrections_line, corrections_table

SWITCHES = ("pc1", "padding")


@pytest.fixture
def make_comparison(make_results):
    def make(value: float | None, control: float | None = 0.1, model: str = "s", **on: bool) -> object:
        def entry(metric: str, i: int, j: int) -> dict:
            return {"value": value, "control": control if value is not None else None}

        results = make_results(
            entry, 2, 2, (*PUBLISHED, "raw_correlation"), model_a=model, model_b=f"{model}1"
        )
        switches = {**dict.fromkeys(SWITCHES, True), **on}
        return dataclasses.replace(results, summary={"compat": switches, "job_type": "comparison"})

    return make


@pytest.fixture
def all_of_them(make_comparison) -> list:
    return [
        make_comparison(0.2, padding=False, pc1=False),
        make_comparison(0.6),
        make_comparison(0.5, padding=False),
        make_comparison(0.9, pc1=False),
    ]


def lines(comparisons) -> list[str]:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(corrections_table(comparisons))
    return [line.strip() for line in captured.get().splitlines()]


def test_rows_stand_from_all_faults_to_none_with_the_control_beside(all_of_them):
    table = "\n".join(lines(all_of_them))
    order = ["as published", "padding left out", "99 % of the variance", "everything", "whatever the token"]
    places = [table.index(each) for each in order]
    assert places == sorted(places)
    (published,) = (line for line in lines(all_of_them) if "as published" in line)
    assert published.split()[3:] == [*(".60", "(.10)") * 3, "150"]


def test_the_line_names_the_largest_change_and_the_distance_to_untrained(all_of_them):
    assert corrections_line(all_of_them) == (
        "Of single corrections of published_svcca (.60) the largest change is +0.30: all components with "
        "99 % of the variance. As published, trained and untrained networks are .50 apart. With everything "
        "corrected they are .10 apart."
    )


def test_what_is_undefined_is_said_and_not_averaged(make_comparison):
    comparisons = [make_comparison(None), make_comparison(0.5, padding=False)]
    assert "not defined as published" in corrections_line(comparisons)
    (published,) = (line for line in lines(comparisons) if "as published" in line)
    assert published.split()[3:] == ["-"] * 4


def test_other_comparisons_are_none(make_comparison, make_results):
    assert not are_corrections([make_results(lambda metric, i, j: 0.1)])
    assert not are_corrections([make_comparison(0.1)])
    assert not are_corrections([make_comparison(0.1), make_comparison(0.2, model="t", pc1=False)])
    assert are_corrections([make_comparison(0.1), make_comparison(0.2, pc1=False)])
