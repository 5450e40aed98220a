"""The pages in a real browser, from disk: every control, by mouse and by keyboard, and nothing asked for."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saeuniv.report.page import Compared, page, report_data, sweep_page
from saeuniv.results import Results
from tests.report.pages import HOSTILE, METRICS, details_of, entry

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = os.environ.get("SAEUNIV_SCREENSHOTS")
"""Where screenshots go, to be looked at; nowhere where it is not set."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "no chromium: make test-browser installs it"
    with sync_playwright() as running:
        # The sandbox of Chromium refuses root, whom containers often are.
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


class Desk:
    """A page in the browser, and everything it asked for or complained of."""

    def __init__(self, browser: Any, text: str, folder: Path, **options: Any) -> None:
        self.file = folder / "report.html"
        self.file.write_text(text, encoding="utf-8")
        self.context = browser.new_context(**{"viewport": {"width": 1500, "height": 1000}, **options})
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append("dialog") or dialog.dismiss())
        self.page.goto(self.file.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def saved(self, button: str) -> Path:
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path())


@pytest.fixture
def desk(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Opens a page; afterwards nothing may have been asked for but the page and what it made itself."""
    desks: list[Desk] = []

    def make(text: str, **options: Any) -> Desk:
        desks.append(Desk(browser, text, tmp_path, **options))
        return desks[-1]

    yield make
    for each in desks:
        own = {each.file.as_uri()}
        assert [url for url in each.asked if url not in own and not url.startswith("blob:")] == []
        assert each.said == []
        each.context.close()


@pytest.fixture
def results(make_results: Callable[..., Results]) -> Results:
    return make_results(entry, 6, 12, METRICS)


@pytest.fixture
def report(results: Results) -> str:
    return page(report_data(results, None, details_of(results)))


FAULTS = (Path(__file__).parent / "faults.js").read_text(encoding="utf-8")


def faults(desk: Desk) -> list[str]:
    found = list(desk.page.evaluate(FAULTS))
    if AXE.is_file():
        desk.page.evaluate(AXE.read_text(encoding="utf-8"))
        for each in desk.page.evaluate("() => axe.run().then((found) => found.violations)"):
            nodes = [node["html"][:100] for node in each["nodes"][:3]]
            found.append(f"axe {each['id']}: {each['help']}: {json.dumps(nodes)}")
    return found


def open_pair(desk: Desk, i: int = 2, j: int = 4) -> None:
    desk.page.click(f'[data-at="{i},{j}"]')


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_accessible_with_everything_open(desk, report: str, scheme: str) -> None:
    opened = desk(report, color_scheme=scheme)
    assert faults(opened) == []
    opened.page.click("#about summary")
    open_pair(opened)
    opened.page.click("#matches td button >> nth=0")
    assert faults(opened) == []
    opened.shot(scheme)


def test_the_switch_overrides_the_theme_of_the_system(desk, report: str) -> None:
    opened = desk(report, color_scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert opened.page.evaluate(ground) == "rgb(17, 20, 24)"
    opened.page.select_option("#theme", "light")
    assert opened.page.evaluate(ground) == "rgb(255, 255, 255)"
    assert opened.page.get_attribute("#map svg > rect", "fill") == "#ffffff"
    opened.page.select_option("#theme", "")
    assert opened.page.evaluate(ground) == "rgb(17, 20, 24)"


def test_metrics_and_views_are_chosen_and_what_is_undefined_says_why(desk, report: str) -> None:
    opened = desk(report)
    assert "given token: value" in opened.page.text_content("#map svg")
    for view in ("excess", "calibrated", "diff_control", "q_value"):
        opened.page.select_option("#view", view)
        assert faults(opened) == [], view
        opened.shot(view)
    opened.page.click('[data-metric="cka"]')
    assert opened.page.input_value("#metric") == str(METRICS.index("cka"))
    assert opened.page.evaluate("() => document.activeElement.dataset.metric") == "cka"
    hatched = opened.page.locator('[data-at="0,3"]')
    assert hatched.get_attribute("fill") == "url(#hatch0)"
    assert "undefined: too few matches" in hatched.text_content()
    assert "undefined: too few matches" in opened.page.text_content("#map svg")
    # Nobody computed a control of cka.
    assert opened.page.locator('#view option[value="diff_control"]').is_disabled()


def test_a_shared_scale_spans_the_metrics_of_one_unit_and_no_others(desk, make_results) -> None:
    def scaled(metric: str, i: int, j: int) -> float:
        return {"partial_correlation": 0.2, "raw_correlation": 0.8, "cka": 5.0}[metric] + 0.1 * i

    metrics = ("partial_correlation", "raw_correlation", "cka")
    opened = desk(page(report_data(make_results(scaled, 2, 2, metrics), None, None)))
    bounds = [each.strip() for each in opened.page.locator("#small .muted").all_inner_texts()]
    assert bounds == [".20 to .30", ".80 to .90", "5.00 to 5.10"]
    opened.page.check("#shared")
    bounds = [each.strip() for each in opened.page.locator("#small .muted").all_inner_texts()]
    assert bounds == [".20 to .90", ".20 to .90", "5.00 to 5.10"]


def test_what_rounds_to_zero_has_no_sign(desk, make_results) -> None:
    opened = desk(page(report_data(make_results(lambda m, i, j: -0.001 - 0.1 * i, 2, 1), None, None)))
    texts = opened.page.locator("#map svg text").all_text_contents()
    assert ".00" in texts and "-.00" not in texts and "-.10" in texts
    opened.page.uncheck("#numbers")
    assert opened.page.locator("#map svg text").all_text_contents().count(".00") < texts.count(".00")


def test_the_keyboard_alone_reaches_everything(desk, report: str) -> None:
    opened = desk(report)
    keys = opened.page.keyboard
    focused = "() => document.activeElement.closest('svg') ? 'map' : document.activeElement.id"
    seen = []
    while (where := opened.page.evaluate(focused)) != "map":
        seen.append(where)
        keys.press("Tab")
        assert len(seen) < 20
    assert {"theme", "metric", "view", "shared", "numbers"} <= set(seen)
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        keys.press(key)
    assert opened.text("#reading").startswith("A layer 0, B layer 2")
    keys.press("End")
    keys.press("PageDown")
    assert opened.text("#reading").startswith("A layer 5, B layer 11")
    ring = opened.page.evaluate(
        "() => { const last = document.querySelector('#map svg').lastElementChild; "
        "return [last, ...last.children].map((e) => e.getAttribute('class') ?? e.getAttribute('stroke')); }"
    )
    assert ring == ["ring", "#fff", "#000"]
    keys.press("Enter")
    assert opened.text("#pair-title") == "Layer 5 of A and layer 11 of B"
    assert opened.page.evaluate(focused) == "pair"
    keys.press("Tab")
    assert opened.page.evaluate(focused) == "close"
    keys.press("Escape")
    assert opened.text("#pair-title") == "" and opened.page.evaluate(focused) == "map"


def test_a_layer_pair_shows_its_numbers_dictionaries_and_histogram(desk, report: str) -> None:
    opened = desk(report)
    open_pair(opened)
    numbers, quality = opened.page.locator("#pair table").all_inner_texts()[:2]
    first = next(line for line in numbers.splitlines() if line.startswith("given token"))
    for part in (".496", "[.290, .310]", ".001 ± .001", ".002", ".100", ".396 [.376, .416]"):
        assert part in first
    assert "150 / 200 / 256" in quality and ".980" in quality
    assert "12 matches" in opened.page.get_attribute('#pair svg[role="img"]', "aria-label")
    open_pair(opened, 0, 0)
    cka = next(line for line in opened.text("#pair table >> nth=0").splitlines() if line.startswith("cka"))
    assert "undefined: too few matches" in cka
    opened.page.click("#close")
    assert opened.text("#pair-body") == ""


def test_matches_are_sorted_searched_and_followed(desk, results: Results) -> None:
    details = details_of(results)
    for at, detail in details.items():
        text = {"document": "d", "domain": "", "peak": 1, "tokens": ["needle ", str(at)]}
        text |= {"a": [0.0, 1.0], "b": [0.5, 1.0]}
        detail["matches"][4]["contexts"] = [text | {"of": "a"}]
    details["2", "7"]["matches"] = [match for match in details["2", "7"]["matches"] if match["a"] != 0]
    del details["2", "8"]
    opened = desk(page(report_data(results, None, details)))
    open_pair(opened)

    def first() -> str:
        return opened.text("#matches tbody tr >> nth=0 >> td >> nth=0")

    assert first() == ".950"
    for key, state in (("held", "ascending"), ("r", "descending"), ("r", "ascending")):
        opened.page.click(f'#matches [data-key="{key}"]')
        head = opened.page.locator(f'#matches th:has([data-key="{key}"])')
        assert head.get_attribute("aria-sort") == state
        assert opened.page.evaluate("() => document.activeElement.dataset.key") == key
    assert first() == ".840"
    opened.page.fill("#search", "NEEDLE")
    assert opened.text("#count") == "1 of 12 matches." and first() == ".910"
    opened.page.fill("#search", "0")
    opened.page.click("#matches td button >> nth=0")
    assert opened.text("#follow h3") == "Latent 0 of A, layer 2, in the layers of B"
    lines = opened.text("#follow tbody").splitlines()
    assert len(lines) == 12 and ".950" in lines[4]
    assert "not matched, or left out" in lines[7] and "no matches here" in lines[8]
    opened.page.fill("#search", "nothing has this")
    assert opened.text("#count") == "0 of 12 matches."


def test_texts_stand_under_one_another_at_their_peaks(desk, report: str) -> None:
    opened = desk(report)
    open_pair(opened)
    places = opened.page.evaluate(
        "() => [...document.querySelectorAll('.text .right')].map("
        "(e) => Math.round(e.firstChild.getBoundingClientRect().x))"
    )
    assert len(places) > 12 and len(set(places)) == 1


def test_the_page_says_where_there_are_no_matches(desk, results: Results) -> None:
    opened = desk(page(report_data(results, None, None)))
    open_pair(opened)
    assert "This page has no matches and texts of this layer pair." in opened.text("#pair-body")
    opened.page.click("#about summary")
    assert "Matches and texts are in this page for 0 of 72 layer pairs." in opened.text("#notes")


def test_what_is_shown_is_saved_as_png_svg_and_csv(desk, report: str, results: Results) -> None:
    opened = desk(report)
    opened.page.select_option("#metric", label="cka")
    picture = opened.saved("#save-png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    drawn = opened.saved("#save-svg").read_text()
    assert drawn.startswith("<svg") and 'class="ring"' not in drawn and "cka: value" in drawn
    with opened.saved("#save-csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 72
    assert (lines[0]["value"], lines[0]["reason"]) == ("", "undefined: too few matches")
    assert float(lines[40]["value"]) == pytest.approx(results.matrix("cka").flat[40], rel=1e-3)


def test_hostile_text_is_shown_and_does_nothing(desk, make_results) -> None:
    row = {"model_a": "<img src=x onerror=alert(1)>", "model_b": "\u202e</title><script>alert(2)</script>"}
    one = make_results(entry, 2, 2, **row)
    details = details_of(one, matches=3, words=HOSTILE)
    opened = desk(page(report_data(one, None, details)))
    open_pair(opened, 1, 1)
    assert opened.text("h1").startswith("<img src=x onerror=alert(1)> and ⟨202E⟩</title><script>")
    assert "</script><script>alert(1)</script>" in opened.page.text_content("#matches")
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("script").count() == 2
    width = opened.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 1500
    opened.shot("hostile")


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (6, 12), (42, 32)])
def test_it_fits_a_phone(desk, make_results, n_a: int, n_b: int) -> None:
    grid = make_results(entry, n_a, n_b, METRICS)
    some = {("0", "0"): details_of(make_results(entry, 1, 1))["0", "0"]}
    opened = desk(page(report_data(grid, None, some)), viewport={"width": 360, "height": 740}, has_touch=True)
    opened.page.locator('[data-at="0,0"]').tap()
    opened.page.click("#about summary")
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") == 360
    assert opened.page.evaluate("() => document.querySelector('#map svg').clientWidth") <= 344
    assert faults(opened) == []
    opened.shot(f"phone_{n_a}x{n_b}")


def test_a_large_grid_is_drawn_and_opened_quickly(desk, make_results) -> None:
    large = make_results(entry, 42, 32, METRICS)
    opened = desk(page(report_data(large, None, details_of(large))))
    paint = opened.page.evaluate("() => performance.getEntriesByType('paint')[0].startTime")
    drawn = opened.page.evaluate(
        "() => { const t = performance.now(); drawAll(); return performance.now() - t; }"
    )
    open_pair(opened, 30, 15)
    opened.shot("42x32")
    print(f"42 x 32: first paint {paint:.0f} ms, drawn again in {drawn:.0f} ms")
    # Ten times what is measured on two busy cores.
    assert paint < 3000 and drawn < 5000


def test_the_page_of_a_sweep_groups_sorts_and_links(desk, results: Results, make_results) -> None:
    wide = make_results(entry, 3, 3, METRICS, d_sae_a=1024, d_sae_b=1024)
    control = make_results(lambda m, i, j: 0.05, 3, 3, METRICS)
    control.summary["job_type"] = "control"
    compared = [
        Compared("narrow", "done", results, "narrow/results/report.html"),
        Compared("wide", "done", wide, "wide/results/report.html"),
        Compared("untrained", "done", control, "untrained/results/report.html"),
        Compared("waiting", "running", None, ""),
    ]
    opened = desk(sweep_page(compared, "s"))
    assert faults(opened) == []
    opened.page.select_option("#group", "width")
    assert opened.page.locator("#facets h3").all_inner_texts() == [
        "width: 256 and 256",
        "width: 1024 and 1024",
    ]
    assert opened.page.get_attribute("#table a", "href") == "narrow/results/report.html"
    opened.page.check("#controls")
    assert opened.page.locator("#facets canvas").count() == 3
    opened.page.select_option("#metric", "cka")
    opened.page.click('#table [data-key="name"]')
    names = opened.page.locator("#table tbody th").all_inner_texts()
    assert names == ["narrow", "untrained", "waiting", "wide"]
    opened.page.select_option("#theme", "dark")
    assert faults(opened) == []
    opened.shot("sweep")


def test_published_numbers_have_a_section_where_there_are_some(
    desk: Callable[..., Desk], make_results: Callable[..., Results]
) -> None:
    names = {"model_a": "pythia-70m", "model_b": "pythia-160m"}
    found = make_results(lambda metric, i, j: 0.22, 3, 3, ("published_svcca",), **names)
    opened = desk(page(report_data(found, None, None)))
    assert " of 12 published values are within tolerance here: " in opened.text("#published-line")
    assert opened.page.locator("#published tbody tr").count() == 6
    assert opened.page.locator("#published tbody tr").first.inner_text().split()[:3] == [
        "1-0",
        ".220,",
        ".202",
    ]
    assert opened.said == []
    opened.shot("published")
    other = desk(page(report_data(make_results(entry, 2, 2, METRICS), None, None)))
    assert not other.page.is_visible("#published")
