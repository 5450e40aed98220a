"""The table at the end of a run."""

import dataclasses
import io

import pytest
from rich.console import Console

from saeuniv.report.console import console, primary_metric, summary_rows, summary_table

_METRICS = (
    "raw_correlation",
    "partial_correlation",
    "partial_correlation_bigram",
    "partial_correlation_trigram",
)


def _text(results, control, width: int = 120) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(summary_table(results, control))
    return file.getvalue()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


@pytest.fixture
def pair(make_results):
    def trained(metric: str, i: int, j: int) -> dict:
        value = 0.1 * _METRICS.index(metric) + 0.01 * i
        return {"value": value, "ci_low": value - 0.005, "ci_high": value + 0.005, "p_value": 1 / 486}

    def untrained(metric: str, i: int, j: int) -> dict:
        return {"value": 0.05, "ci_low": 0.04, "ci_high": 0.06}

    counts = {"n_eligible_a": 70, "n_alive_a": 90, "fvu_a": 0.05}
    return make_results(trained, 3, 3, _METRICS), make_results(untrained, 3, 3, _METRICS, **counts)


def test_each_layer_has_both_values_with_intervals_null_and_p(pair):
    text = _text(*pair)
    first = _line(text, "given token")
    assert first.split() == [
        "given",
        "token",
        "0",
        ".100",
        "[.095,",
        ".105]",
        ".050",
        "[.040,",
        ".060]",
        ".001",
        ".0021",
    ]
    assert ".210 [.205, .215]" in text
    assert "[interval]" in text.splitlines()[2]


def test_the_primary_metric_comes_first_and_stricter_ones_follow(pair):
    text = _text(*pair)
    starts = [
        "given token",
        "given bigram",
        "given trigram",
        "raw correlation",
        "FVU",
        "context share",
        "eligible mass",
        "eligible/alive/all",
    ]
    places = [text.index(_line(text, start)) for start in starts]
    assert places == sorted(places)


def test_quality_of_both_sides_stands_in_the_same_table(pair):
    text = _text(*pair)
    assert " ".join(_line(text, "FVU").split()).endswith("0 .110, .120 .050, .120")
    assert " ".join(_line(text, "context share").split()).endswith("0 .300, .310 .300, .310")
    assert " ".join(_line(text, "eligible mass").split()).endswith("0 .900, .910 .900, .910")
    counts = _line(text, "eligible/alive/all")
    assert "150/200/256, 160/210/256" in counts and "70/90/256, 160/210/256" in counts


def test_what_eligible_means_in_this_run_is_printed(pair):
    floors = {"min_firings": 10, "max_rate": 0.5, "min_within_share": 0.01}
    text = " ".join(_text(dataclasses.replace(pair[0], summary={"eligibility": floors}), pair[1]).split())
    assert "in each half 10 firings or more on tokens seen twice, on at most 0.5 of the rows" in text
    assert "Not adjusted for width" in text


def test_the_caption_says_what_is_what(pair):
    text = " ".join(_text(*pair).split())
    assert "Layer pairs of equal number from a grid of 3 x 3; primary metric: partial_correlation." in text
    assert "null: document shift of B (485 draws, smallest possible p .0021)" in text


def test_the_table_is_readable_without_a_terminal_and_without_a_control(pair, capsys):
    console.cache_clear()
    console().print(summary_table(pair[0], None))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 120
    assert "\x1b" not in out
    assert "No untrained control." in out
    console.cache_clear()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("rerandomized_all", "untrained: the trained weights drawn anew by module type, embeddings too."),
        ("untrained", ""),
    ],
)
def test_what_the_control_is_made_of_is_said_where_it_is_not_initial_weights(pair, kind, said):
    results = dataclasses.replace(pair[0], summary={**pair[0].summary, "control": kind})
    text = " ".join(_text(results, pair[1]).split())
    assert (said or "drawn anew") in text if said else "drawn anew" not in text and "untrained:" not in text


def test_there_is_one_console():
    assert console() is console()


def test_an_undefined_value_is_shown_with_its_reason(pair, make_row):
    results = pair[0]
    rows = [r for r in results.rows if (r.layer_a, r.layer_b, r.metric) != ("1", "1", "partial_correlation")]
    undefined = make_row(layer_a="1", layer_b="1", value=None, reason="few_documents", p_value=None)
    text = _text(dataclasses.replace(results, rows=(*rows, undefined)), pair[1])
    assert "- (few documents)" in text


def _without(results, layers, metric="partial_correlation"):
    """The results with the scores of these layers of A not computed."""
    blank = {"value": None, "reason": "not_computed", "null_draws": None, "null_mean": None, "p_value": None}
    blank |= {"ci_low": None, "ci_high": None}
    rows = (
        dataclasses.replace(row, **blank) if row.layer_a in layers and row.metric == metric else row
        for row in results.rows
    )
    return dataclasses.replace(results, rows=tuple(rows))


def test_how_much_was_computed_is_said_where_not_all_was(pair):
    complete = " ".join(_text(*pair).split())
    assert "ncomplete" not in complete
    text = " ".join(_text(_without(pair[0], "0"), pair[1]).split())
    assert "Incomplete: 33 of 36 scores computed, missing: partial_correlation 3. The same" in text
    assert "- (not computed)" in text
    # The line about the null is that of a layer pair which was computed.
    assert "485 draws, smallest possible p .0021" in text
    control = _without(_without(pair[1], "012"), "12", "raw_correlation")
    text = " ".join(_text(pair[0], control).split())
    assert (
        "Incomplete control: 21 of 36 scores computed, missing: raw_correlation 6, partial_correlation 9."
        in text
    )


def test_a_side_of_which_nothing_is_known_is_shown_as_such(make_results):
    unknown = {"d_sae_a": None, "n_alive_a": None, "n_eligible_a": None, "fvu_a": None}
    missing = {"value": None, "reason": "not_computed", **unknown}
    results = make_results(lambda metric, i, j: 0.1 if i else missing, 2, 2)
    text = _text(results, None)
    assert " ".join(_line(text, "FVU").split()) == "FVU 0 -, .120 -"
    assert " ".join(_line(text, "eligible/alive/all").split()) == "eligible/alive/all 0 -, 160/210/256 -"


def test_without_equal_layers_the_best_partner_of_each_layer_is_shown(make_results):
    made = make_results(lambda metric, i, j: 0.1 * i + 0.05 * (j == 1), 2, 3)
    rename = {"0": "10", "1": "11", "2": "12"}
    rows = tuple(dataclasses.replace(row, layer_b=rename[row.layer_b]) for row in made.rows)
    text = _text(dataclasses.replace(made, rows=rows, layers_b=("10", "11", "12")), None)
    assert "0, 11" in text
    assert "1, 11" in text
    assert "best for each layer of A" in text


def test_the_primary_metric_is_the_one_the_summary_names(pair):
    assert (
        primary_metric(dataclasses.replace(pair[0], summary={"primary_metric": _METRICS[2]})) == _METRICS[2]
    )


def test_unlike_controls_are_pointed_out(pair):
    rows = tuple(dataclasses.replace(row, flags="rank_limited;unlike_controls") for row in pair[0].rows)
    assert "less than half the eligible latents" in _text(dataclasses.replace(pair[0], rows=rows), pair[1])


def test_an_undefined_value_is_said_with_its_reason_and_one_without_interval_alone(make_results):
    undefined = {"value": None, "reason": "few_documents"}
    alone = {"value": 0.3, "ci_low": None, "ci_high": None, "reason": "needs_rematching"}
    results = make_results(lambda metric, i, j: undefined if i == 0 else alone, 2, 2)
    first, second = summary_rows(results, None)[0]
    assert first[2:4] == ("- (few documents)", "-")
    assert second[:4] == ("", "1", ".300", "-")
