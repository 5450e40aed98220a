"""Heatmaps: what is drawn, where, in which colours, and that equal results give equal bytes."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from saeuniv.report import figures
from saeuniv.report.figures import heatmaps, panels, text_colour
from saeuniv.results import write_results


def _some_undefined(metric: str, i: int, j: int) -> dict:
    if (i + j) % 5 == 4:
        return {"value": None, "reason": "too_few_matches" if i % 2 else "no_eligible_latents"}
    value = 0.5 - 0.05 * abs(i - j)
    return {"value": value, "control": 0.1, "excess": value - 0.2, "q_value": 0.01 if i == j else 0.5}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that `heatmaps` saves."""
    kept, save = [], figures.save

    def keep(figure, *args):
        kept.append(figure)
        save(figure, *args)

    monkeypatch.setattr(figures, "save", keep)
    return kept


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 4), (6, 12), (42, 32)])
def test_every_metric_is_drawn_at_every_size(tmp_path, make_results, n_a, n_b):
    heatmaps(make_results(_some_undefined, n_a, n_b, ("partial_correlation", "cka")), tmp_path)
    names = ["heatmap_cka.png", "heatmap_partial_correlation.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / names[0]) as image:
        width, height = image.size
    assert 600 <= width <= 2600
    assert 400 <= height <= 2600


def test_other_numbers_give_other_bytes(tmp_path, make_results):
    for folder, value in (("one", 0.2), ("two", 0.3)):
        (tmp_path / folder).mkdir()
        heatmaps(make_results(lambda metric, i, j, v=value: v * (i + 1), 2, 2), tmp_path / folder)
    name = "heatmap_partial_correlation.png"
    assert (tmp_path / "one" / name).read_bytes() != (tmp_path / "two" / name).read_bytes()


def test_value_and_control_share_one_scale_and_the_excess_is_centred_on_zero(make_results):
    value, control, excess, _ = panels(make_results(_some_undefined, 4, 4), "partial_correlation")
    assert (value.low, value.high) == (control.low, control.high) == (0.1, 0.5)
    assert (value.colours, control.colours, excess.colours) == ("cividis", "cividis", "RdBu_r")
    assert excess.low == -excess.high == -np.nanmax(excess.matrix)


def test_significance_is_shown_on_a_scale_that_does_not_stretch_noise(make_results):
    def shown(q: float) -> float:
        made = make_results(lambda metric, i, j: {"value": 0.2, "q_value": q}, 1, 1)
        panel = panels(made, "partial_correlation")[-1]
        assert (panel.title, panel.low) == ("significance: -log10 q", 0.0)
        np.testing.assert_allclose(panel.matrix, -np.log10(q))
        return panel.high

    assert (shown(0.8), shown(0.001)) == (2.0, pytest.approx(3.0))


def test_panels_without_numbers_are_left_out(make_results):
    shown = panels(
        make_results(lambda metric, i, j: {"value": 0.2, "excess": None, "q_value": None}, 2, 2),
        "partial_correlation",
    )
    assert [panel.title for panel in shown] == ["value"]


def test_a_metric_that_is_undefined_everywhere_is_drawn_with_its_reason(tmp_path, make_results, drawn):
    heatmaps(make_results(lambda metric, i, j: None, 2, 2), tmp_path)
    assert _legend(drawn[0]) == ["undefined: too few matches"]
    assert _texts(drawn[0]) == []


def test_numbers_stand_in_small_grids_only(tmp_path, make_results, drawn):
    for n_a, n_b in ((2, 2), (42, 32)):
        heatmaps(make_results(lambda metric, i, j: 0.8 if i == j else -0.001, n_a, n_b), tmp_path)
    assert _texts(drawn[0])[:4] == [".80", ".00", ".00", ".80"]
    assert _texts(drawn[1]) == []
    assert [t.get_text() for t in drawn[1].axes[0].get_yticklabels()] == [str(n) for n in range(0, 42, 5)]


def test_layer_zero_is_at_the_top_left_with_a_in_the_rows(tmp_path, make_results, drawn):
    heatmaps(make_results(lambda metric, i, j: 0.1 * i + 0.01 * j, 2, 3), tmp_path)
    axes = drawn[0].axes[0]
    assert axes.yaxis_inverted()
    assert not axes.xaxis_inverted()
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("layer of A", "layer of B")
    np.testing.assert_allclose(axes.images[0].get_array(), [[0, 0.01, 0.02], [0.1, 0.11, 0.12]])


def test_the_title_names_models_null_and_draws(tmp_path, make_results, drawn):
    heatmaps(make_results(lambda metric, i, j: 0.1, 2, 2, ("cka",), alignment="hungarian"), tmp_path)
    title = " ".join(drawn[0].get_suptitle().split())
    assert "tiny_s0 (A, rows) and tiny_s1 (B, columns)" in title
    assert "matches: hungarian, null: document shift (485 draws)" in title


def test_undefined_entries_are_hatched_by_reason_and_significant_ones_dotted(tmp_path, make_results, drawn):
    heatmaps(make_results(_some_undefined, 4, 4), tmp_path)
    expected = [
        "q ≤ .05 over the layer pairs",
        "undefined: no eligible latents",
        "undefined: too few matches",
    ]
    assert _legend(drawn[0]) == expected
    value = drawn[0].axes[0]
    hatched = [collection for collection in value.collections if collection.get_hatch()]
    assert [len(collection.get_paths()) for collection in hatched] == [1, 2]
    dots = [collection for collection in value.collections if not collection.get_hatch()]
    assert [len(collection.get_offsets()) for collection in dots] == [3]


def test_what_was_not_computed_is_hatched_and_not_called_undefined(tmp_path, make_results, drawn):
    def entry(metric: str, i: int, j: int) -> dict:
        if j == 1:
            missing = {
                "value": None,
                "reason": "not_computed",
                "null_draws": None,
                "control": 0.1 if i else None,
            }
            return {**missing, "null_mean": None, "flags": "" if i else "control_not_computed"}
        return (
            {"value": None, "reason": "few_shifts"} if i else {"value": 0.2, "control": 0.1, "q_value": None}
        )

    heatmaps(make_results(entry, 2, 2), tmp_path)
    assert _legend(drawn[0]) == ["undefined: few shifts", "not computed"]
    value = drawn[0].axes[0]
    hatched = [len(collection.get_paths()) for collection in value.collections if collection.get_hatch()]
    assert hatched == [1, 2]
    # The control of one of them is there.
    assert _texts(drawn[0]) == [".20", ".10", ".10", ".30"]


def test_a_control_that_was_not_computed_is_hatched_as_such(tmp_path, make_results, drawn):
    def entry(metric: str, i: int, j: int) -> dict:
        missing = {"control": None, "flags": "rank_limited;control_not_computed"}
        return {"value": 0.2, "q_value": None, **({"control": 0.1} if i else missing)}

    heatmaps(make_results(entry, 2, 2), tmp_path)
    assert _legend(drawn[0]) == ["not computed"]
    hatched = [
        sum(len(each.get_paths()) for each in axes.collections if each.get_hatch())
        for axes in drawn[0].axes[:2]
    ]
    assert hatched == [0, 2]


def test_the_draws_in_the_title_are_those_of_a_layer_pair_that_was_computed(tmp_path, make_results, drawn):
    missing = {"value": None, "reason": "not_computed", "null_draws": None}
    heatmaps(make_results(lambda metric, i, j: 0.1 if i else missing, 2, 2), tmp_path)
    assert "null: document shift (485 draws)" in drawn[0].get_suptitle()


def test_text_is_the_colour_of_larger_contrast():
    assert text_colour((1.0, 1.0, 0.8)) == "black"
    assert text_colour((0.0, 0.1, 0.3)) == "white"
    assert text_colour((0.5, 0.5, 0.5)) == "black"


def test_drawing_leaves_the_settings_of_the_process_alone(tmp_path, make_results):
    import matplotlib

    before = dict(matplotlib.rcParams)
    heatmaps(make_results(lambda metric, i, j: 0.1, 2, 2), tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_equal_results_give_equal_bytes_in_another_process_without_pyplot(tmp_path, make_results):
    made = make_results(_some_undefined, 3, 3)
    fields = {"rows": made.rows, "null_rows": (), "layers_a": made.layers_a, "layers_b": made.layers_b}
    status = {"state": "done"}
    folder = write_results(tmp_path, **fields, summary={}, config="", status=status, figures=heatmaps)
    code = f"""
import sys
from pathlib import Path
from saeuniv.report import figures
from saeuniv.report.figures import heatmaps
from saeuniv.results import load
heatmaps(load({str(tmp_path)!r}), Path({str(tmp_path)!r}))
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    name = "heatmap_partial_correlation.png"
    assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()
    assert b"Software" not in (tmp_path / name).read_bytes()


def test_what_is_undefined_beside_a_defined_value_says_what_is_missing(tmp_path, make_results, drawn):
    def entry(metric: str, i: int, j: int) -> dict:
        return {"value": 0.2, "excess": 0.1 if i else None, "control": 0.1 if j else None, "q_value": None}

    heatmaps(make_results(entry, 2, 2), tmp_path)
    assert _legend(drawn[0]) == ["undefined: untrained control", "undefined: no null"]


def test_titles_longer_than_the_picture_are_shown_to_their_ends(make_results, tmp_path):
    name = "some-organisation/a-model-with-a-name-as-long-as-names-on-the-hub-are-and-no-place-to-break"
    results = make_results(lambda metric, i, j: 0.3, n_a=2, n_b=2, model_a=name, model_b=name)
    heatmaps(results, tmp_path)
    with Image.open(tmp_path / "heatmap_partial_correlation.png") as image:
        picture = np.asarray(image.convert("L"))
    for edge in (picture[:, :4], picture[:, -4:], picture[:4], picture[-4:]):
        assert (edge == 255).all()
    assert picture.min() < 100
