"""The line under the table follows the numbers."""

import dataclasses

import pytest

from saeuniv.report.meaning import acceptance, meaning

# Trained and untrained values by depth: the pattern measured on the embedded experiment.
_TRAINED = {
    "partial_correlation": (0.172, 0.306, 0.323, 0.362),
    "partial_correlation_bigram": (0.12, 0.15, 0.155, 0.185),
    "partial_correlation_trigram": (0.11, 0.105, 0.11, 0.137),
    "raw_correlation": (0.77, 0.67, 0.69, 0.65),
}
_UNTRAINED = {
    "partial_correlation": (0.114, 0.094, 0.114, 0.098),
    "partial_correlation_bigram": (0.105, 0.095, 0.1, 0.1),
    "partial_correlation_trigram": (0.105, 0.1, 0.105, 0.1),
    "raw_correlation": (0.76, 0.8, 0.77, 0.73),
}


@pytest.fixture
def grid(make_results):
    """Results with these values on the diagonal and intervals of +-0.007."""

    def make(values: dict[str, tuple[float, ...]]):
        def entry(metric: str, i: int, j: int) -> dict:
            value = values[metric][i] if i == j else 0.0
            return {"value": value, "ci_low": value - 0.007, "ci_high": value + 0.007}

        made = make_results(entry, 4, 4, tuple(values))
        return dataclasses.replace(made, summary={"token_unit": "byte"})

    return make


@pytest.fixture
def pair(grid):
    return grid(_TRAINED), grid(_UNTRAINED)


def _without_intervals(results, layers=("0", "1", "2", "3")):
    blank = {"ci_low": None, "ci_high": None, "reason": "few_documents"}
    rows = (dataclasses.replace(row, **blank) if row.layer_a in layers else row for row in results.rows)
    return dataclasses.replace(results, rows=tuple(rows))


def test_the_measured_pattern_is_told_as_it_was_measured(pair):
    text = meaning(*pair)
    assert "Given the current byte, the latents of the trained pair correlate 3.2 times as much" in text
    assert "(mean .33 against .10)" in text
    assert "given the current byte above at every layer;" in text
    assert "given the last two bytes above at every layer;" in text
    assert "given the last three bytes above at layer 3." in text
    assert "Raw correlation ranks the untrained pair higher at layers 1, 2 and 3: it is no evidence" in text
    assert text.endswith("are a demonstration, not a claim about other seeds.")


def test_how_much_of_the_gap_is_left_given_more_of_the_past_is_computed(pair, grid):
    # Layers 1-3: gap .228 given one byte, .065 given two (28 %), .016 given three (7 %).
    text = meaning(*pair)
    assert "Of this gap (.23) 28% is left given the last two bytes and 7% given the last three bytes" in text
    assert "most of it is carried by these." in text
    kept = {**_TRAINED, "partial_correlation_bigram": (0.1, 0.3, 0.3, 0.3)}
    kept["partial_correlation_trigram"] = (0.1, 0.3, 0.3, 0.3)
    assert "most of it goes beyond these." in meaning(grid(kept), pair[1])
    assert "Of this gap" not in meaning(grid({"partial_correlation": (0.1, 0.3, 0.3, 0.3)}), pair[1])


def test_exchanged_inputs_tell_the_opposite(pair):
    text = meaning(pair[1], pair[0])
    assert "0.3 times" in text
    assert "given the current byte above at no layer and below at every layer" in text
    assert "Raw correlation ranks the untrained pair higher at layer 0: it is no evidence" in text


def test_permuted_layers_tell_of_other_layers(grid):
    permuted = {metric: (values[3], values[2], values[1], values[0]) for metric, values in _TRAINED.items()}
    text = meaning(grid(permuted), grid(_UNTRAINED))
    assert "given the last three bytes above at layer 0." in text
    assert "2.6 times" in text


def test_equal_pairs_are_not_told_apart(pair):
    text = meaning(pair[1], pair[1])
    assert "1.0 times" in text
    assert "above at no layer;" in text
    assert "ranks the untrained pair higher at no layer." in text


def test_layer_zero_does_not_enter_the_ratio(grid, pair):
    first = {metric: (9.0, *values[1:]) for metric, values in _TRAINED.items()}
    assert "3.2 times" in meaning(grid(first), pair[1])


def test_an_untrained_mean_of_zero_gives_no_ratio(grid, pair):
    zero = {metric: (0.0, 0.0, 0.0, 0.0) for metric in _UNTRAINED}
    assert "a ratio of trained to untrained has no meaning" in meaning(pair[0], grid(zero))


def test_without_a_control_it_says_nothing_about_learning(pair):
    text = meaning(pair[0], None)
    assert text.startswith("partial_correlation is above its null (q <= .05) at 16 of 16 layer pairs.")
    assert "Without an untrained control (control=untrained) this says nothing about learning." in text


def test_missing_intervals_are_said_to_be_missing(pair):
    text = meaning(_without_intervals(pair[0]), pair[1])
    assert "There are no two document intervals to compare." in text
    text = meaning(_without_intervals(pair[0], ("2",)), pair[1])
    assert "given the current byte above at layers 0, 1 and 3 (undefined at layer 2)" in text


def test_layers_that_were_not_computed_are_said_to_be_so(pair):
    blank = {"value": None, "ci_low": None, "ci_high": None, "reason": "not_computed"}
    rows = (dataclasses.replace(row, **blank) if row.layer_a == "2" else row for row in pair[0].rows)
    text = meaning(dataclasses.replace(pair[0], rows=tuple(rows)), pair[1])
    assert "given the current byte above at layers 0, 1 and 3 (not computed at layer 2)" in text
    assert "(mean .33 against .10 (not computed at layer 2))" in text
    assert "undefined" not in text


def test_missing_metrics_are_said_to_be_missing(grid):
    only_cka = {"cka": (0.1, 0.1, 0.1, 0.1)}
    text = meaning(grid(only_cka), grid(only_cka))
    assert "No partial_correlation of a trained and an untrained pair" in text
    assert "Raw correlation was not computed for both." in text


def test_the_unit_of_tokens_is_that_of_the_run(pair):
    words = dataclasses.replace(pair[0], summary={})
    assert "given the last two tokens" in meaning(words, pair[1])


def test_the_acceptance_holds_for_the_measured_pattern_only(pair):
    assert [check.holds for check in acceptance(*pair)] == [True, True, True]
    assert [check.holds for check in acceptance(pair[1], pair[0])] == [False, False, False]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.1, 0.11, 0.4, 0.4), [False, True, True]),
        ((0.1, 0.1, 0.4, 0.4), [False, True, False]),
        ((0.1, 0.15, 0.15, 0.15), [True, False, True]),
        ((0.0, 0.306, 0.323, 0.362), [True, True, True]),
    ],
    ids=["one low layer", "one layer not above", "low ratio", "layer 0 does not count"],
)
def test_each_condition_can_fail_by_itself(grid, pair, values, expected):
    trained = grid({**_TRAINED, "partial_correlation": values})
    assert [check.holds for check in acceptance(trained, pair[1])] == expected


def test_the_acceptance_fails_where_something_is_undefined(pair):
    assert [check.holds for check in acceptance(_without_intervals(pair[0]), pair[1])] == [True, True, False]
    only = acceptance(pair[0], None)
    assert [check.holds for check in only] == [False]
    assert "undefined or not computed" in only[0].sentence
