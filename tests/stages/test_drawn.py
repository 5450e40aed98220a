"""What is drawn of results: with what the store has, and without."""

import shutil

import numpy as np
import pytest
from PIL import Image

from saeuniv.results import load, read_matches
from saeuniv.stages.drawn import draw
from tests.report.pages import page_data
from tests.stored_runs import StoredRun, byte_tokens, make_stored_run


@pytest.fixture
def run(tmp_path, make_row) -> StoredRun:
    """One layer of A and two of B, the first of which is A's."""
    tokens = byte_tokens({f"doc {i}": "the cat sat on the mat\n\t " * 9 for i in range(8)}, 31)
    rng = np.random.default_rng(0)
    a, other = (
        np.where(rng.random((tokens.n_rows, 3)) < 0.3, rng.random((tokens.n_rows, 3)), 0).astype(np.float32)
        for _ in range(2)
    )
    return make_stored_run(tmp_path, make_row, tokens, {0: a}, {0: a, 1: other})


def test_matches_are_on_disk_in_the_page_and_on_the_sheet(run):
    results, folder = load(run.folder), run.folder / "results"
    draw(results, folder, run.store)
    same, other = (read_matches(folder, "0", layer) for layer in "01")
    assert same.latent_a.tolist() == same.latent_b.tolist() and same.r_held_out.min() > 0.999
    assert other.r_held_out.max() < 0.5
    pairs = page_data((folder / "report.html").read_text())["matches"]["pairs"]
    assert [pair["at"] for pair in pairs] == [["0", "0"], ["0", "1"]]
    assert all(match[-1] for match in pairs[0]["matches"]), "texts"
    with Image.open(folder / "contact_sheet.png") as image:
        assert image.size == (132, 64)
        assert {image.getpixel((k, k))[0] > 90 > image.getpixel((k, k))[2] for k in range(3)} == {True}


def test_without_the_store_numbers_are_drawn_and_a_page_with_matches_stays(run, caplog):
    results, folder = load(run.folder), run.folder / "results"
    shutil.rmtree(run.store.root)
    draw(results, folder, run.store)
    assert "no matches" in caplog.text and not (folder / "matches.parquet").exists()
    assert page_data((folder / "report.html").read_text())["matches"]["pairs"] == []
    assert (folder / "heatmap_partial_correlation.png").is_file()
    (folder / "report.html").write_text("made elsewhere")
    draw(results, folder, run.store)
    assert (folder / "report.html").read_text() == "made elsewhere"
    assert "stays as it was" in caplog.text
