"""The published tables, and results beside them: known answers are the published numbers themselves."""

import csv
import dataclasses
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from saeuniv.report.page import page, report_data
from saeuniv.report.published import (
    MEASURES,
    Pairing,
    first_line,
    published_csv,
    published_markdown,
    published_parts,
    published_table,
    published_tables,
    reproductions,
)
from saeuniv.results import NullRow, Results, Row
from tests.report.pages import page_data

DRAWS = 100
PYTHIA = "pythia_one_to_one"
QUANTITY = {
    "published_svcca": "pc1_abs_corr",
    "published_rsa": "rsa_dimensions",
    "published_kept_correlation": "mean_correlation",
    "published_mean_correlation": "mean_correlation_all",
}

Make = Callable[..., Results]


@pytest.fixture
def make(make_row: Callable[..., Row]) -> Make:
    """Results that are the published numbers of a comparison, with what is changed at some layer pair."""

    def built(
        comparison: str = PYTHIA,
        *,
        change: Callable[[str, int, int], dict[str, object]] = lambda metric, a, b: {},
        names: dict[str, str] | None = None,
        skip: tuple[tuple[int, int], ...] = (),
        **of_all: object,
    ) -> Results:
        tables = published_tables()
        (own,) = [each for each in tables.comparisons if each.name == comparison]
        grids = {name: tables.grid(comparison, name) for name in tables.quantities(comparison)}
        sides = {"model_a": own.model_a, "model_b": own.model_b, "sae_a": own.sae_a, "sae_b": own.sae_b}
        rows: list[Row] = []
        for metric, quantity in QUANTITY.items():
            if names is not None and metric not in names:
                continue
            for at, record in grids.get(quantity, {}).items():
                if at in skip:
                    continue
                k = round(grids["pc1_p"][at].value * DRAWS) if "pc1_p" in grids else 0
                null = grids["pc1_null_mean"][at].value if "pc1_null_mean" in grids else 0.0
                given = {
                    **{"metric": (names or {}).get(metric, metric), "value": record.value, **sides},
                    **{"layer_a": str(at[0]), "layer_b": str(at[1])},
                    **{"n_matches": int(grids["n_pairs"][at].value), "null": "permutation"},
                    **{"null_mean": null, "null_draws": DRAWS, "p_value": (1 + k) / (DRAWS + 1)},
                }
                rows.append(make_row(**{**given, **of_all, **change(metric, *at)}))
        layers = [sorted({int(getattr(row, f"layer_{side}")) for row in rows}) for side in "ab"]
        a, b = (tuple(map(str, each)) for each in layers)
        return Results(tuple(rows), (), a, b, {}, "a: pythia-70m\n")

    return built


def test_every_table_of_the_source_is_there_with_all_its_numbers() -> None:
    """21 tables, of which the last has three numbers in each entry."""
    tables = published_tables()
    of_words = {each.name for each in tables.comparisons if each.category}
    whole = [each for each in tables.records if each.comparison not in of_words]
    found = Counter((each.comparison, each.authors_name) for each in whole)
    assert len(found) == 20 + 3
    by_comparison = Counter(each.comparison for each in whole)
    # Five numbers of each of 303 categories and layer pairs; only Pythia lacks Biology.
    assert len(tables.records) - len(whole) == 5 * 303 and len(of_words) == 7 + 8
    assert by_comparison == {
        PYTHIA: 6 * 60,
        "pythia_many_to_one": 4 * 60,
        "pythia_one_to_many": 3 * 55,
        "gemma_one_to_one": 6 * 32,
        "gemma_many_to_one": 4 * 32,
    }
    assert {each.quantity for each in tables.records} >= {measure.quantity for measure in MEASURES}


@pytest.mark.parametrize(
    ("comparison", "quantity", "at", "value"),
    [
        (PYTHIA, "pc1_abs_corr", (2, 5), 0.678),
        (PYTHIA, "pc1_abs_corr", (3, 7), 0.649),
        (PYTHIA, "pc1_abs_corr", (5, 1), 0.011),
        (PYTHIA, "n_pairs", (2, 5), 4055),
        (PYTHIA, "pc1_null_mean", (4, 0), 0.446),
        ("pythia_one_to_many", "n_pairs", (1, 1), 20355),
        ("gemma_one_to_one", "pc1_abs_corr", (12, 18), 0.584),
        ("gemma_one_to_one", "pc1_p", (10, 0), 0.9),
        ("gemma_many_to_one", "pc1_abs_corr", (12, 18), 0.569),
    ],
)
def test_known_numbers_are_at_their_layer_pairs(
    comparison: str, quantity: str, at: tuple[int, int], value: float
) -> None:
    assert published_tables().grid(comparison, quantity)[at].value == value


def test_what_was_not_computed_has_no_record() -> None:
    grid = published_tables().grid("gemma_many_to_one", "pc1_abs_corr")
    assert (0, 0) in grid and (6, 0) not in grid
    assert published_tables().grid(PYTHIA, "pc1_p") == {}


def test_categories_of_words_are_read_by_models() -> None:
    tables = published_tables()
    assert Counter(each.models for each in tables.semantic) == {"pythia": 175, "gemma": 128}
    emotions = tables.category("pythia", "Emotions")
    assert len(emotions) == 25 and emotions[3, 5].pc1_abs_corr == 0.83
    assert len(tables.category("gemma", "Biology")) == 16
    with pytest.raises(ValueError, match=r"got pythia Biology\. Choose one of: pythia Time"):
        tables.category("pythia", "Biology")


def test_a_category_stands_beside_its_own_table(make_results: Callable[..., Results]) -> None:
    """Ours at .04 from the published value is within, at .06 it is not; sizes are shown, not judged."""
    theirs = published_tables().category("pythia", "Emotions")

    def value(metric: str, i: int, j: int) -> dict[str, object] | None:
        record = theirs.get((i, j))
        off = {"semantic_svcca_emotions": 0.04, "semantic_rsa_emotions": -0.06}[metric]
        published = record and (
            record.pc1_abs_corr if metric == "semantic_svcca_emotions" else record.rsa_dimensions
        )
        return None if published is None else {"value": published + off, "n_matches": 7}

    models = {"model_a": "EleutherAI/pythia-70m", "model_b": "EleutherAI/pythia-160m"}
    names = ("semantic_svcca_emotions", "semantic_rsa_emotions")
    (found,) = reproductions(make_results(value, 6, 12, names, **models, alignment="-"))
    assert found.comparison.name == "pythia_emotions" and found.comparison.title.endswith("of emotions")
    assert "pc1_abs_corr 25 of 25, rsa_dimensions 0 of 25" in first_line([found])
    assert found.notes[0].startswith("Words: the categories are of our own making")
    (part,) = published_parts([found])
    assert part.header[:4] == (
        *("A-B", "pc1_abs_corr (0.05)", "rsa_dimensions (0.05)", "n_pairs (not judged)"),
    )
    assert len(part.rows) == 25 and part.rows[0][3].startswith("7, ")


def test_reading_the_tables_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from saeuniv.report.published import published_tables as t; assert t().records; "
        "assert not {'torch', 'pandas', 'matplotlib', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_published_numbers_are_within_their_own_tolerances(make: Make) -> None:
    found = reproductions(make())
    assert [each.comparison.name for each in found] == [PYTHIA]
    assert first_line(found) == (
        "300 of 300 published values are within tolerance here: pc1_abs_corr 60 of 60, rsa_dimensions "
        "60 of 60, mean_correlation 60 of 60, mean_correlation_all 60 of 60, n_pairs 60 of 60."
    )
    assert found[0].notes == (
        "Read: pc1_abs_corr from published_svcca, rsa_dimensions from published_rsa, mean_correlation from "
        "published_kept_correlation, mean_correlation_all from published_mean_correlation, n_pairs "
        "from published_svcca, pc1_null_mean from published_svcca.",
    )


def test_p_is_judged_by_the_rule_of_the_paper_and_shown_by_both(make: Make) -> None:
    (gemma,) = reproductions(make("gemma_one_to_one"))
    assert "pc1_p 32 of 32 on the same side of 0.05 (enough: 90%)" in first_line([gemma])
    of_p = {(e.layer_a, e.layer_b): e for e in gemma.entries if e.measure.quantity == "pc1_p"}
    assert (of_p[10, 0].ours, of_p[10, 0].theirs, of_p[10, 0].own_p) == (0.9, 0.9, 91 / 101)
    assert (of_p[12, 18].ours, of_p[12, 18].own_p) == (0.0, 1 / 101)


def test_with_ten_shuffles_the_smallest_p_of_ours_is_no_disagreement(make: Make) -> None:
    """(1 + 0) / 11 is above .05, 0 / 10 is not: the published p of 10 shuffles is the latter."""
    few = make("gemma_one_to_one", null_draws=10, p_value=1 / 11)
    (gemma,) = reproductions(few)
    assert "pc1_p 28 of 32 on the same side of 0.05 (too few: 90%)" in first_line([gemma])


@pytest.mark.parametrize(
    ("metric", "column", "shift", "quantity", "n_within"),
    [
        ("published_svcca", "value", 0.029, "pc1_abs_corr", 60),
        ("published_svcca", "value", -0.031, "pc1_abs_corr", 0),
        ("published_rsa", "value", 0.021, "rsa_dimensions", 0),
        ("published_rsa", "value", 0.02, "rsa_dimensions", 60),
        ("published_kept_correlation", "value", 0.03, "mean_correlation", 0),
        ("published_mean_correlation", "value", 0.03, "mean_correlation_all", 0),
    ],
)
def test_a_shift_beyond_the_tolerance_is_told(
    make: Make, metric: str, column: str, shift: float, quantity: str, n_within: int
) -> None:
    def change(of: str, a: int, b: int) -> dict[str, object]:
        value = published_tables().grid(PYTHIA, QUANTITY[of])[a, b].value
        return {column: value + shift} if of == metric else {}

    line = first_line(reproductions(make(change=change)))
    assert f"{quantity} {n_within} of 60" in line
    assert line.startswith(f"{240 + n_within} of 300 ")


def test_counts_may_differ_by_one_in_twenty(make: Make) -> None:
    """4055 pairs: 3853 are within 5 %, 3852 are not."""
    for n_pairs, n_within in ((3853, 60), (3852, 59)):
        changed = make(change=lambda m, a, b, n=n_pairs: {"n_matches": n} if (a, b) == (2, 5) else {})
        assert f"n_pairs {n_within} of 60" in first_line(reproductions(changed))


def test_layer_pairs_that_were_not_asked_for_are_said_and_counted_apart(make: Make) -> None:
    (one,) = found = reproductions(make(skip=((1, 0), (2, 5))))
    assert first_line(found).startswith("290 of 290 ")
    assert first_line(found).endswith(" 10 more are of layer pairs that were not asked for.")
    assert "Not asked for: layer pairs (A-B) 1-0, 2-5." in one.notes
    assert "| 2-5 |" not in published_markdown(found)
    rows = [row for row in csv.DictReader(io.StringIO(published_csv(found))) if row["ours"] == ""]
    assert {(row["reason"], row["within"], row["difference"]) for row in rows} == {("not_requested", "", "")}


def test_a_value_that_is_undefined_here_says_why_and_is_not_within(make: Make) -> None:
    def undefined(metric: str, a: int, b: int) -> dict[str, object]:
        blank = dict.fromkeys(("value", "excess", "z", "calibrated", "p_value", "ci_low", "ci_high"))
        is_it = (metric, a, b) == ("published_svcca", 5, 0)
        return {**blank, "n_matches": 3, "null_mean": None, "reason": "too_few_matches"} if is_it else {}

    (one,) = found = reproductions(make(change=undefined))
    assert first_line(found).startswith("298 of 300 ")
    assert first_line(found).endswith(" 1 of them are undefined here.")
    assert "pc1_abs_corr is undefined here (too few matches): layer pairs (A-B) 5-0." in one.notes
    text = published_markdown(found)
    assert "- (too few matches), .146 !" in text
    assert "nan" not in (text + published_csv(found)).lower()


def test_a_result_that_is_no_number_is_refused_before_it_gets_here(make_row: Callable[..., Row]) -> None:
    with pytest.raises(ValueError, match="expected a finite value"):
        make_row(value=float("nan"))


@pytest.mark.parametrize(
    ("a", "b", "is_found"),
    [
        ("pythia-70m", "pythia-160m", True),
        ("pythia-70m-deduped", "pythia-160m-deduped", True),
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-160m", True),
        ("pythia-160m", "pythia-70m", False),
        ("pythia-70m@step3000", "pythia-160m", False),
        ("pythia-70m_untrained", "pythia-160m", False),
        ("tiny_s0", "tiny_s1", False),
    ],
)
def test_tables_are_found_by_the_models(make: Make, a: str, b: str, is_found: bool) -> None:
    found = reproductions(make(model_a=a, model_b=b))
    assert bool(found) == is_found
    if is_found and "deduped" in a:
        assert "Model of A: pythia-70m-deduped; published: pythia-70m." in found[0].notes


def test_a_control_stands_beside_nothing(make: Make) -> None:
    control = dataclasses.replace(make(), summary={"job_type": "control"})
    assert reproductions(control) == ()


def test_other_dictionaries_and_switches_are_said(make: Make) -> None:
    other = dataclasses.replace(make(sae_b="trained"), summary={"compat": {"pc1": True, "padding": False}})
    notes = reproductions(other)[0].notes
    assert "Dictionaries of B: trained; published: EleutherAI/sae-pythia-160m-32k." in notes
    assert "Switches of compat: pc1 on, padding off." in notes


NEAREST = {
    "published_svcca": "pc1_abs_corr",
    "published_rsa": "rsa_dimensions",
    "published_kept_correlation": "matched_correlation",
}


def test_where_only_the_nearest_metrics_were_computed_these_are_read_and_named(make: Make) -> None:
    (one,) = found = reproductions(make(names=NEAREST, alignment="hungarian"))
    assert one.comparison.pairing is Pairing.one_to_one
    assert first_line(found).startswith("240 of 240 ")
    assert one.notes[1] == (
        "matched_correlation, pc1_abs_corr, rsa_dimensions: of other rows and pairs than published; see "
        "docs/from_the_paper.md."
    )
    assert one.notes[0].startswith("Read: pc1_abs_corr from pc1_abs_corr, ")


def test_svcca_of_several_components_is_not_judged_by_the_table_of_one(make: Make) -> None:
    def several(metric: str, a: int, b: int) -> dict[str, object]:
        return {"flags": "rank_limited;k=57/61"} if metric == "published_svcca" else {}

    (one,) = reproductions(make(change=several))
    assert "pc1_abs_corr" not in first_line([one]) and "rsa_dimensions 60 of 60" in first_line([one])
    assert any("nothing here computes it: pc1_abs_corr, pc1_null_mean" in note for note in one.notes)


def test_a_matching_in_one_direction_stands_beside_the_table_of_that_direction(make: Make) -> None:
    """max_corr b_to_a: each latent of B has a partner, as in the published many-to-1 tables."""
    many = make("pythia_many_to_one", names=NEAREST, alignment="max_corr", direction="b_to_a")
    (one,) = reproductions(many)
    assert one.comparison.name == "pythia_many_to_one"
    assert first_line([one]).startswith("240 of 240 ")
    assert reproductions(make(names=NEAREST, alignment="decoder_cosine")) == ()


@pytest.mark.parametrize(("comparison", "ours"), [("gemma_one_to_one", 0.0), (PYTHIA, 0.013)])
def test_the_null_of_shuffled_pairs_is_read_where_it_is_not_the_primary_one(
    make: Make, comparison: str, ours: float
) -> None:
    quantity = {"gemma_one_to_one": "pc1_p", PYTHIA: "pc1_null_mean"}[comparison]
    shifted = make(comparison, null="document_shift", null_mean=0.5, p_value=0.5)
    (without,) = reproductions(shifted)
    assert quantity not in first_line([without])
    assert {e.reason for e in without.entries if e.measure.quantity == quantity} == {"no_null"}
    nulls = tuple(
        NullRow(
            *(row.comparison, row.layer_a, row.layer_b, row.metric, "both", "permutation", False),
            *(0.013, 0.01, 0.03, 19, 1 / 20, ""),
        )
        for row in shifted.rows
    )
    (one,) = reproductions(dataclasses.replace(shifted, null_rows=nulls))
    assert {e.ours for e in one.entries if e.measure.quantity == quantity} == {ours}


def test_the_first_line_of_the_markdown_says_how_many(make: Make) -> None:
    found = reproductions(make())
    text = published_markdown(found)
    assert text.splitlines()[0] == first_line(found)
    assert "## pythia-70m (A) and pythia-160m (B), one to one" in text
    assert "| 2-5 | .678, .678 |" in text
    header = "| A-B | pc1_abs_corr (0.03) | rsa_dimensions (0.02) | mean_correlation (0.02) | "
    header += "mean_correlation_all (0.02) | n_pairs (5%) |"
    assert header in text


def test_the_csv_has_every_published_value_with_what_it_may_differ_by(make: Make) -> None:
    text = published_csv(reproductions(make()))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6 * 60
    (one,) = [
        row for row in rows if (row["quantity"], row["layer_a"], row["layer_b"]) == ("pc1_abs_corr", "2", "5")
    ]
    assert one == {
        **{"comparison": PYTHIA, "quantity": "pc1_abs_corr", "metric": "published_svcca"},
        **{"layer_a": "2", "layer_b": "5", "ours": "0.678", "theirs": "0.678", "difference": "0"},
        **{"tolerance": "0.03", "rule": "absolute", "within": "yes", "own_p": "", "reason": ""},
    }
    assert text == published_csv(reproductions(make()))


def test_the_table_for_a_terminal_fits_a_line(make: Make) -> None:
    from rich.console import Console

    for comparison in (PYTHIA, "gemma_one_to_one"):
        file = io.StringIO()
        for part in published_parts(reproductions(make(comparison))):
            Console(file=file, width=120).print(published_table(part))
        lines = file.getvalue().splitlines()
        assert "…" not in file.getvalue() and max(map(len, lines)) <= 120
    assert any(line.split()[:3] == ["12-18", ".584,", ".584"] for line in lines)


def test_the_page_shows_them_only_where_something_was_published(make: Make, make_results: Make) -> None:
    results = make()
    text = page(report_data(results, None, None))
    shown = page_data(text)["published"]
    assert shown["line"] == first_line(reproductions(results))
    assert len(shown["parts"][0]["rows"]) == 60
    assert len(text.encode()) < 200_000
    tiny = page(report_data(make_results(lambda metric, i, j: 0.3), None, None))
    assert page_data(tiny)["published"] is None
