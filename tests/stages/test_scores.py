"""What is stored of matches and scores reads back equal, every float to its last bit."""

from pathlib import Path

import numpy as np
import pytest

from saeuniv.metrics import Measurement
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.kernels import Moments
from saeuniv.stages.scores import LayerQuality, Scores, load_matches, load_scores, save_matches, save_scores


def matching(rng: np.random.Generator, n: int) -> Matching:
    bound = None if n % 2 else float(n)
    return Matching(rng.permutation(20)[:n], rng.permutation(20)[:n], rng.random(n), bound, n != 3)


@pytest.mark.parametrize("sizes", [[], [(3, 3)], [(3, 5), (0, 2), (7, 0)], [(0, 0)]])
def test_matches_of_any_size_read_back_equal(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draws = tuple({"a_to_b": matching(rng, n), "b_to_a": matching(rng, m)} for n, m in sizes)
    save_matches(tmp_path, draws)
    read = load_matches(tmp_path)
    assert len(read) == len(draws)
    for one, two in zip(read, draws, strict=True):
        assert one.keys() == two.keys()
        for direction in two:
            for ours, theirs in zip(one[direction], two[direction], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_scores_read_back_equal(tmp_path: Path) -> None:
    defined = Measurement(
        direction="both",
        value=1 / 3,
        reason="",
        empty={"ci": "few_documents"},
        n_matches=7,
        flags=("rank_limited",),
        bootstrap=np.array([0.1, 1 / 7]),
        nulls={"document_shift": np.array([1e-300, 2 / 3]), "permutation": np.zeros(0)},
        moments={"token_identity_ceiling": Moments(1 / 3, 0.1)},
    )
    undefined = Measurement(
        direction="a_to_b",
        value=None,
        reason="too_few_matches",
        empty={},
        n_matches=0,
        flags=(),
        bootstrap=np.zeros(0),
        nulls={},
    )
    quality = LayerQuality(64, 8.0, 0.1 + 0.2, 60, 30, 0.9, None, 0.4, 0.25, None)
    scores = Scores((defined, undefined), quality, quality._replace(context_share=1 / 9), 1000, 12)
    save_scores(tmp_path, scores)
    read = load_scores(tmp_path)
    assert read._replace(measurements=()) == scores._replace(measurements=())
    for one, two in zip(read.measurements, scores.measurements, strict=True):
        for name in ("direction", "value", "reason", "empty", "n_matches", "flags"):
            assert getattr(one, name) == getattr(two, name)
        np.testing.assert_array_equal(one.bootstrap, two.bootstrap)
        assert one.nulls.keys() == two.nulls.keys()
        for name in two.nulls:
            np.testing.assert_array_equal(one.nulls[name], two.nulls[name])
    before = (tmp_path / "scores.json").read_bytes(), (tmp_path / "arrays.safetensors").read_bytes()
    save_scores(tmp_path, read)
    assert before == ((tmp_path / "scores.json").read_bytes(), (tmp_path / "arrays.safetensors").read_bytes())
