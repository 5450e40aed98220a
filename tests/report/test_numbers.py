"""Numbers as people read them."""

import pytest

from saeuniv.report.numbers import listed, number, p_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8, ".80"),
        (-0.05, "-.05"),
        (-0.001, ".00"),
        (0.0, ".00"),
        (1.0, "1.00"),
        (-1.25, "-1.25"),
        (10.0, "10.00"),
    ],
)
def test_numbers_have_no_leading_zero_and_no_negative_zero(value, text):
    assert number(value) == text


def test_decimals_are_as_asked():
    assert number(1 / 486, 4) == ".0021"
    assert number(-0.00049, 3) == ".000"


def test_no_p_value_is_written_as_zero():
    assert [p_value(1 / n) for n in (1, 20, 486, 41250)] == ["1.0000", ".0500", ".0021", "2.4e-05"]


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["1"], "1"), (["1", "2"], "1 and 2"), (["1", "2", "3"], "1, 2 and 3")]
)
def test_lists_are_written_as_in_a_sentence(names, text):
    assert listed(names) == text
