"""`saeuniv figure`: every figure in every format, and which comparisons are points of one curve."""

from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.commands import figure
from saeuniv.report.curves import Point
from saeuniv.results import Results, load, write_results
from tests.commands.conftest import Call

CONFIG = "# Replay: saeuniv\na:\n  seed: 0\nsae:\n  n_tokens: {}\ndata:\n  n_tokens: {}\n"

Write = Callable[..., Path]


@pytest.fixture
def write(here: Path, make_results: Callable[..., Results]) -> Write:
    """Results in multirun/s on so many rows."""

    def make(
        name: str, n_tokens: int = 1000, trained_on: int = 5, values=lambda m, i, j: 0.1 * (i + j)
    ) -> Path:
        results = make_results(values, n_a=3, n_b=3, control=0.05, n_tokens=n_tokens, null_mean=0.01)
        folder = here / "multirun" / "s" / name
        write_results(
            folder,
            rows=results.rows,
            null_rows=(),
            layers_a=results.layers_a,
            layers_b=results.layers_b,
            summary={},
            config=CONFIG.format(trained_on, n_tokens),
            status={"state": "done"},
            figures=None,
        )
        return folder

    return make


def test_a_comparison_has_three_figures_a_metric_in_three_formats(call: Call, write: Write) -> None:
    one = write("one")
    ended = call(figure.main, str(one))
    assert (ended.code, ended.err) == (0, "")
    made = {path.name: path.read_bytes() for path in (one / "figures").iterdir()}
    names = ("heatmap", "depth", "path")
    assert set(made) == {f"{n}_partial_correlation.{kind}" for n in names for kind in ("pdf", "svg", "png")}
    begins = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
    assert all(content.startswith(begins[name[-3:]]) for name, content in made.items())
    assert b">layer of B<" in made["path_partial_correlation.svg"], "text stays text"
    call(figure.main, str(one))
    assert {path.name: path.read_bytes() for path in (one / "figures").iterdir()} == made


def test_of_a_sweep_comparisons_that_differ_in_tokens_alone_are_one_curve(call: Call, write: Write) -> None:
    small, large, other = write("small", 1000), write("large", 9000), write("other", 9000, trained_on=6)
    ended = call(figure.main, "s", "--format", "png", "--metric", "partial_correlation")
    assert (ended.code, ended.err) == (0, "")
    sweep = small.parent
    assert [path.name for path in (sweep / "figures").iterdir()] == ["tokens_partial_correlation.png"]
    assert (other / "figures" / "depth_partial_correlation.png").is_file()
    found = figure.budgets([load(each) for each in (other, large, small)], "partial_correlation")
    (points,) = found.values()
    assert sorted(points) == [Point(1000, pytest.approx(0.2), 0.01), Point(9000, pytest.approx(0.2), 0.01)]


def test_means_are_over_layer_pairs_that_are_defined_at_every_number_of_tokens(write: Write) -> None:
    few = write("few", 10, values=lambda m, i, j: None if i == 0 else 0.3)
    many = write("many", 20, values=lambda m, i, j: 0.9 if i == 0 else 0.5)
    (points,) = figure.budgets([load(few), load(many)], "partial_correlation").values()
    assert [point.value for point in sorted(points)] == [pytest.approx(0.3), pytest.approx(0.5)]


def test_what_cannot_be_drawn_is_said(call: Call, write: Write) -> None:
    one = write("one")
    assert "No curve against tokens" in call(figure.main, "s", "--format", "png").out
    ended = call(figure.main, str(one), "--metric", "partial_corelation")
    assert (ended.code, "did you mean partial_correlation?" in ended.err) == (2, True)
    assert call(figure.main, "nowhere").code == 2
    assert call(figure.main, str(one), "--format", "gif").code == 2


def test_nothing_defined_is_drawn_as_nothing(call: Call, write: Write) -> None:
    none = write("none", values=lambda m, i, j: None)
    assert call(figure.main, str(none), "--format", "svg").code == 0
