"""The page of two sweeps: everything is in it, and nothing in it is taken for HTML."""

import numpy as np

from saeuniv.report.differences import (
    DifferenceMap,
    difference_map,
    difference_page,
    difference_sentence,
    difference_tables,
)

MAP = DifferenceMap(
    *("cka", "<one>", "other"),
    *(("0", "1"), ("0", "1", "2")),
    np.array([[0.1, -0.2, np.nan], [0.0, 0.3, 0.1]]),
    np.array([[False, True, False], [False, True, False]]),
    4,
    (0.25, 0.5),
)


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    page = difference_page(("<a>", "b"), {"sae.k": (("8",), ("<16>",))}, ("lonely",), [MAP])
    assert "default-src 'none'" in page and "<script" not in page
    assert page.count("http") == 1, "the policy's own name alone"
    assert "<one>" not in page and "&lt;one&gt;" in page and "&lt;16&gt;" in page and "&lt;a&gt;" in page
    assert "2 of 4" in page and ".250" in page and "Without a partner: lonely." in page
    assert page == difference_page(("<a>", "b"), {"sae.k": (("8",), ("<16>",))}, ("lonely",), [MAP])


def test_the_scale_is_symmetric_and_dots_are_where_the_interval_excludes_zero() -> None:
    axes = difference_map(MAP).axes[0]
    assert axes.images[0].get_clim() == (-0.3, 0.3)
    dots = np.asarray(axes.collections[0].get_offsets())
    assert dots.tolist() == [[1, 0], [1, 1]]


def test_a_map_of_nothing_is_drawn() -> None:
    nothing = MAP._replace(difference=np.full((2, 3), np.nan), apart=np.zeros((2, 3), bool))
    assert difference_map(nothing).axes[0].images[0].get_clim() == (-1.0, 1.0)


def test_without_any_interval_none_is_counted() -> None:
    page = difference_page(("a", "b"), {}, (), [MAP._replace(n_intervals=0)])
    assert "no intervals" in page and " of 0" not in page


def test_the_sentence_names_the_first_settings_and_counts_the_others() -> None:
    differing = {f"sae.k{place}": (("1",), ("2",)) for place in range(7)}
    said = difference_sentence(("few", "many"), differing)
    assert said.startswith("Layer pairs of many less the same of few; the two differ in sae.k0, ")
    assert said.endswith("sae.k4 and 2 more.")
    assert difference_sentence(("few", "many"), {}).endswith("the two differ in no setting.")


def test_nothing_in_a_cell_ends_it_or_its_row() -> None:
    differing = {"data.chat_template": (("a|b\nc",), ("<d>",))}
    tables = difference_tables(("one", "other"), differing, ("lonely",), [MAP])
    lines = tables.splitlines()
    assert "| data.chat_template | a\\|b c | &lt;d&gt; |" in lines
    assert "Without a partner: lonely." in lines
    assert "| cka | &lt;one&gt; | other | .250 | .500 | .250 | 2 of 4 |" in lines
