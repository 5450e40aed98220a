"""Matches, contexts and histograms of a whole run, against what the run itself stored and reported."""

import json
import subprocess
import sys

import numpy as np
import pytest

import saeuniv
from tests.pipeline.conftest import Trained


def test_matches_are_those_the_run_stored_with_the_r_it_saw(trained: Trained) -> None:
    folder = trained.folders[0]
    loaded = saeuniv.load(folder, store=trained.desk.store)
    matches = loaded.matches(1, 0)
    assert matches.attrs == {"alignment": "hungarian", "condition": "token"}
    row = loaded.results.row("matched_correlation", "1", "0")
    assert row and len(matches) == row.n_matches
    listed = matches[matches.similarity > 0]
    np.testing.assert_allclose(listed.r, listed.similarity, atol=1e-6)


def test_details_of_a_run_are_json_and_need_no_torch(trained: Trained) -> None:
    folder = trained.folders[0]
    code = (
        "import json, sys; from saeuniv.stages.pair_details import pair_details;"
        f"print(json.dumps(pair_details({str(folder)!r}, 1, '1', "
        "n_matches=3, n_contexts=2, before=8, after=8)));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=trained.desk.environment
    )
    details = json.loads(done.stdout)
    assert len(details["matches"]) == 3
    assert np.mean(details["histogram"]["matched"]) > 3 * abs(np.mean(details["histogram"]["null"]))
    for match in details["matches"]:
        for context in match["contexts"]:
            own = context[context["of"]]
            assert own[context["peak"]] > 0 and len(context["tokens"]) == len(own)


@pytest.mark.parametrize("side", [0, 1])
def test_the_control_has_matches_of_its_own(trained: Trained, side: int) -> None:
    assert len(saeuniv.load(trained.folders[side]).matches(0, 0))
