"""Matches, contexts and histograms of a whole run, against what the run itself stored and reported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import saeuniv
from tests.pipeline.conftest import Trained
from tests.report.pages import page_data


def test_matches_are_those_the_run_stored_with_the_r_it_saw(trained: Trained) -> None:
    loaded = saeuniv.load(trained.folders[0], store="nowhere")
    matches = loaded.matches(1, 0)
    assert matches.attrs == {"alignment": "hungarian", "condition": "token"}
    row = loaded.results.row("matched_correlation", "1", "0")
    assert row and len(matches) == row.n_matches
    listed = matches[matches.similarity > 0]
    np.testing.assert_allclose(listed.r, listed.similarity, atol=1e-6)
    assert matches.r_held_out.mean() > 3 * abs(matches.r_null.mean())


def test_results_can_be_drawn_again_without_torch_and_with_the_same_bytes(
    trained: Trained, tmp_path: Path
) -> None:
    folder = trained.folders[0] / "results"
    names = ("matches.parquet", "contact_sheet.png", "report.html")
    before = [(folder / name).read_bytes() for name in names]
    code = (
        "import sys; from pathlib import Path; from saeuniv.stages.drawn import draw;"
        "from saeuniv.results import load; from saeuniv.stages.stored import stored_comparison;"
        f"stored = stored_comparison({str(folder)!r});"
        f"control = load({str(trained.folders[1])!r});"
        f"draw(stored.results, Path({str(tmp_path)!r}), stored.store, control);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=trained.desk.environment)
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_the_page_has_matches_and_text_of_every_layer_pair(trained: Trained) -> None:
    tree = page_data((trained.folders[0] / "results" / "report.html").read_text())
    loaded = saeuniv.load(trained.folders[0])
    pairs = {tuple(pair["at"]): pair for pair in tree["matches"]["pairs"]}
    assert set(pairs) == {(a, b) for a in loaded.layers_a for b in loaded.layers_b}
    for (layer_a, layer_b), pair in pairs.items():
        matches = loaded.matches(layer_a, layer_b)
        assert pair["of"] == len(matches)
        known = set(zip(matches.latent_a, matches.latent_b, strict=True))
        assert {(match[0], match[1]) for match in pair["matches"]} <= known
        for match in pair["matches"]:
            for _, peak, tokens, a, _, b, _, of in match[-1]:
                assert len(tokens) == len(a) == len(b) and {"a": a, "b": b}[of][peak] != "0"


@pytest.mark.parametrize("side", [0, 1])
def test_the_control_has_matches_of_its_own(trained: Trained, side: int) -> None:
    assert len(saeuniv.load(trained.folders[side]).matches(0, 0))
