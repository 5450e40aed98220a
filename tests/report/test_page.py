"""The pages as files: their size, their bytes, what is in them, and that they reach nothing."""

import base64
import hashlib
import math
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from saeuniv.report.page import Compared, page, report_data, sweep_page
from saeuniv.report.page.packing import Caps, _shades, packed, visible
from saeuniv.results import Results
from tests.report.pages import HOSTILE, METRICS, details_of, entry, page_data


@pytest.fixture
def results(make_results: Callable[..., Results]) -> Results:
    return make_results(entry, 6, 12, METRICS)


@pytest.fixture
def details(results: Results) -> dict:
    return details_of(results)


def test_a_page_of_6_by_12_layers_stays_below_200_kb_and_says_what_was_left_out(results, details) -> None:
    text = page(report_data(results, None, details))
    assert len(text.encode()) < 200_000
    data = page_data(text)
    kept = [pair["matches"] for pair in data["matches"]["pairs"]]
    assert all(len(matches) == len(kept[0]) > 0 for matches in kept)
    assert "of 864 matches" in data["left_out"] and "of 5184 contexts" in data["left_out"]


@pytest.mark.browser
def test_a_page_of_42_by_32_layers_stays_below_5_mb(make_results) -> None:
    large = make_results(entry, 42, 32, METRICS[:2])
    data = report_data(large, None, details_of(large))
    began = time.perf_counter()
    text = page(data)
    print(f"42 x 32: {len(text) / 1e6:.2f} MB in {time.perf_counter() - began:.1f} s")
    assert len(text.encode()) < 5_000_000
    assert page_data(text)["matches"]["pairs"][-1]["at"] == ["41", "31"]


def test_few_matches_are_all_kept_and_nothing_is_said(make_results) -> None:
    few = make_results(entry, 2, 2)
    data = page_data(page(report_data(few, None, details_of(few, matches=3))))
    assert data["left_out"] == ""
    assert [len(pair["matches"]) for pair in data["matches"]["pairs"]] == [3, 3, 3, 3]


def test_equal_results_give_equal_bytes(make_results) -> None:
    results = make_results(entry, 3, 4, METRICS)
    details = details_of(results)
    assert page(report_data(results, None, details)) == page(report_data(results, None, details))


def test_the_page_holds_no_address_but_the_name_of_svg(results) -> None:
    for text in (page(report_data(results, None, None)), sweep_page([compared(results)], "s")):
        assert set(re.findall(r"\w+://[\w./]*", text)) == {"http://www.w3.org/2000/svg"}
        assert not re.search(
            r"\b(src|srcset|action)=|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML", text
        )


def test_the_policy_lets_only_the_program_and_style_of_the_page_run(results) -> None:
    text = page(report_data(results, None, None))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; ") and "unsafe" not in policy[1]
    for kind, inside in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        body = re.search(inside, text, re.DOTALL)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]


def test_numbers_come_back_to_four_digits_and_undefined_ones_as_null_with_a_reason(results) -> None:
    data = page_data(page(report_data(results, None, None)))
    cka = next(metric for metric in data["metrics"] if metric["name"] == "cka")
    expected = results.matrix("cka")
    assert cka["views"]["value"][0] == [None] * 12
    assert {data["reasons"][code] for code in cka["reasons"][0]} == {"too few matches"}
    assert cka["views"]["value"][2] == pytest.approx(list(expected[2]), rel=1e-3)
    assert "diff_control" not in cka["views"] and "diff_control" in data["metrics"][0]["views"]
    assert (data["layers_a"], data["primary"]) == ([*map(str, range(6))], "partial_correlation")


def test_what_is_no_number_is_null(make_results) -> None:
    one = make_results(entry, 1, 1)
    odd = details_of(one, matches=2)
    pair = odd["0", "0"]
    pair["matches"][0] |= {"r": math.nan, "r_held_out": math.inf}
    pair["matches"][0]["contexts"][0]["a"][10] = math.nan
    pair["histogram"]["null"].append(math.nan)
    matches = page_data(page(report_data(one, None, odd)))["matches"]["pairs"][0]["matches"]
    assert [match[2:4] for match in matches] == [[0.94, 0.89], [None, None]]


def test_matches_of_the_largest_held_out_correlation_are_kept(make_results) -> None:
    one = make_results(entry, 1, 1)
    pairs = packed(details_of(one, matches=30), Caps(3, 1, 4))["pairs"]
    assert [match[3] for match in pairs[0]["matches"]] == [None, 0.9, 0.89]  # None: r is .92


def test_texts_are_cut_around_the_peak_and_any_activity_shows(make_results) -> None:
    one = make_results(entry, 1, 1)
    given = details_of(one, matches=1)
    text = {
        "document": "d",
        "domain": "law",
        "peak": 7,
        "tokens": list("abcdefghij"),
        "a": [*[0.001] * 7, 1.0, 0.0, 0.5],
    }
    given["0", "0"]["matches"][0]["contexts"] = [text | {"b": [0.0] * 10, "of": "b"}]
    tree = packed(given, Caps(3, 1, 2))
    assert tree["tokens"] == list("fghij") and tree["documents"] == ["d (law)"]
    assert tree["pairs"][0]["matches"][0][6] == [[0, 2, [0, 1, 2, 3, 4], "11905", 1.0, "00000", 0.0, "b"]]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb\t\x1b\x7f", "a␊b␉␛␡"),
        ("\u202eevil\u2066", "⟨202E⟩evil⟨2066⟩"),
        ("\ud800", "⟨D800⟩"),
        ("\x85", "⟨0085⟩"),
        ("👩\u200d🔬 שלום", "👩\u200d🔬 שלום"),
        ("x" * 50, "x" * 40 + "…"),
    ],
)
def test_nothing_in_a_token_is_hidden_or_reorders_what_is_around_it(text: str, seen: str) -> None:
    assert visible(text, 40) == seen


def test_hostile_text_is_only_in_the_data(make_results) -> None:
    row = {"model_a": "<img onerror=alert(1)>", "model_b": "{{script}}", "comparison": "</title>"}
    one = make_results(entry, 1, 1, **row)
    text = page(report_data(one, None, details_of(one, matches=2, words=HOSTILE)))
    assert text.count("<script") == text.count("</script>") == 2
    assert "<title>&lt;img onerror=alert(1)&gt; and {{script}}</title>" in text
    assert "alert(1)" not in text.replace("&lt;img onerror=alert(1)&gt;", "")


def test_the_sentence_is_made_from_the_controls_values_where_its_results_are_not_there(results) -> None:
    data = page_data(page(report_data(results, None, None)))
    assert "times as much as" in data["meaning"]


def compared(results: Results | None) -> Compared:
    return Compared("one", "done", results, "one/results/report.html" if results else "")


def test_the_page_of_a_sweep_has_every_comparison_also_those_without_results(results) -> None:
    data = page_data(sweep_page([compared(results), compared(None)], "s"))
    first, second = data["comparisons"]
    assert (first["link"], first["width"], first["models"]) == (
        "one/results/report.html",
        "256 and 256",
        "tiny_s0 and tiny_s1",
    )
    assert len(first["metrics"]["cka"]["value"]) == 6
    assert second == {"name": "one", "state": "done", "link": ""}


def test_a_sweep_without_any_results_has_a_page() -> None:
    assert page_data(sweep_page([compared(None)], "s"))["metrics"] == []


def test_the_wheel_has_the_parts_of_the_pages(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    wheel = next(WheelBuilder(str(Path(__file__).parents[2])).build(directory=str(tmp_path)))
    here = Path("saeuniv/report/page/assets")
    parts = {f"{here.as_posix()}/{path.name}" for path in (Path(__file__).parents[2] / here).iterdir()}
    assert parts and parts <= set(zipfile.ZipFile(wheel).namelist())


def test_every_token_has_one_digit_also_where_rounding_leaves_the_largest_above_the_last() -> None:
    # Nine times these, divided by themselves, is more than nine.
    largest = [k / 1000 for k in range(1, 1000) if math.ceil(9 * (k / 1000) / (k / 1000)) > 9]
    assert largest
    for each in largest:
        digits, most = _shades([each, 0.0, each / 9])
        assert (digits[:2], len(digits), most) == ("90", 3, pytest.approx(each, rel=0.01))
