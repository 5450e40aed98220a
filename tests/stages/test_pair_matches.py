"""Matches planted by hand: their correlations against numpy, best partners, broken pairings."""

import shutil
from typing import NamedTuple

import numpy as np
import pytest

from saeuniv.numerics.assignment import Matching
from saeuniv.stages.contexts import Window
from saeuniv.stages.pair_details import PairDetails
from saeuniv.stages.pair_matches import BEST_PARTNERS, PairMatches
from saeuniv.stages.stored import stored_comparison
from saeuniv.store import ArtifactError
from tests.stored_runs import StoredRun, TokenSet, make_stored_run

_SHOWN = {"n_matches": 2, "n_contexts": 2, "window": Window(1, 1)}
N_DOCUMENTS, N_LATENTS, CONTEXT = 24, 5, 34


class Planted(NamedTuple):
    run: StoredRun
    a: np.ndarray
    b: np.ndarray
    tokens: TokenSet

    @property
    def matches(self) -> PairMatches:
        return PairDetails(stored_comparison(self.run.folder)).matches(0, 0)

    @property
    def half_of_row(self) -> np.ndarray:
        # Documents of one length go to the halves in turn.
        return np.repeat(np.arange(N_DOCUMENTS) % 2, CONTEXT - 2)


def _plant(place, make_row, matching=None, **options) -> Planted:
    """Latent i of B is latent 4 - i of A, some of its firings replaced; tokens are drawn of six."""
    rng = np.random.default_rng(3)
    ids = rng.integers(60, 66, (N_DOCUMENTS, CONTEXT)).astype(np.int32)
    tokens = TokenSet(ids, np.arange(N_DOCUMENTS, dtype=np.int32), tuple(f"d{i}" for i in range(N_DOCUMENTS)))
    shape = (tokens.n_rows, N_LATENTS)
    a, other = (np.where(rng.random(shape) < 0.3, rng.random(shape), 0).astype(np.float32) for _ in range(2))
    shared = np.linspace(0.3, 0.9, N_LATENTS)
    b = np.where(rng.random(shape) < shared, a, other)[:, ::-1]
    known = {} if matching is None else {"matches": {(0, 0): matching}}
    run = make_stored_run(place, make_row, tokens, {0: a, 1: a}, {0: b, 1: b}, **known, **options)
    return Planted(run, a, b, tokens)


def _matching(a, b, similarity=None) -> Matching:
    given = np.full(len(a), 0.25) if similarity is None else np.array(similarity)
    return Matching(np.array(a), np.array(b), given)


def test_stored_matches_have_pearsons_r_of_both_halves_and_rates(tmp_path, make_row):
    planted = _plant(tmp_path, make_row, {"both": _matching([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])})
    found = planted.matches
    assert (found.alignment, found.condition) == ("max_corr", "none")
    assert set(found.direction) == {"both"} and (np.diff(found.r) <= 0).all()
    assert found.latent_a.tolist() == [4, 3, 2, 1, 0] and found.latent_b.tolist() == [0, 1, 2, 3, 4]
    assert (found.similarity == 0.25).all()
    for half, r in ((0, found.r), (1, found.r_held_out)):
        rows = planted.half_of_row == half
        expected = [
            np.corrcoef(planted.a[rows, i], planted.b[rows, j])[0, 1]
            for i, j in zip(found.latent_a, found.latent_b, strict=True)
        ]
        np.testing.assert_allclose(r, expected, atol=1e-9)
    np.testing.assert_allclose(found.rate_a, (planted.a[:, found.latent_a] > 0).mean(0))
    np.testing.assert_allclose(found.rate_b, (planted.b[:, found.latent_b] > 0).mean(0))


def test_numbers_are_those_of_the_dictionary_where_latents_were_left_out(tmp_path, make_row):
    # Latents that fire on more than 40 % of rows are not compared.
    planted = _plant(
        tmp_path,
        make_row,
        {"both": _matching([0, 1], [1, 0])},
        method={
            "eligibility": {"min_firings": 1, "max_rate": 0.4, "min_within_share": 0.0, "min_df_share": 0.0}
        },
    )
    shutil.rmtree(tmp_path / "store")
    dense = planted.a.copy()
    dense[:, [0, 2]] = 1.0
    run = make_stored_run(
        tmp_path,
        make_row,
        planted.tokens,
        {0: dense},
        {0: planted.b},
        matches={(0, 0): {"both": _matching([0, 1], [1, 0])}},
        method={
            "eligibility": {"min_firings": 1, "max_rate": 0.4, "min_within_share": 0.0, "min_df_share": 0.0}
        },
    )
    found = PairDetails(stored_comparison(run.folder)).matches(0, 0)
    assert sorted(zip(found.latent_a.tolist(), found.latent_b.tolist(), strict=True)) == [(1, 1), (3, 0)]


def test_a_match_that_both_sides_made_is_listed_once(tmp_path, make_row):
    matching = {"a_to_b": _matching([0, 4], [4, 0]), "b_to_a": _matching([1, 4], [3, 0])}
    found = _plant(tmp_path, make_row, matching).matches
    assert dict(zip(found.latent_a.tolist(), found.direction, strict=True)) == {
        **{4: "both", 1: "b_to_a", 0: "a_to_b"}
    }


def test_without_an_alignment_best_partners_are_searched_within_tokens(tmp_path, make_row):
    planted = _plant(tmp_path, make_row)
    found = planted.matches
    assert (found.alignment, found.condition) == (BEST_PARTNERS, "token")
    assert (found.latent_a[:3] + found.latent_b[:3] == N_LATENTS - 1).all()
    rows = planted.half_of_row == 1
    token = planted.tokens.held_out.groups()["token"][rows]
    x, y = planted.a[rows, found.latent_a[0]].astype(float), planted.b[rows, found.latent_b[0]].astype(float)
    for each in np.unique(token):
        x[token == each] -= x[token == each].mean()
        y[token == each] -= y[token == each].mean()
    expected = (x @ y) / np.sqrt((x @ x) * (y @ y))
    assert found.r_held_out[0] == pytest.approx(expected, abs=1e-9)


def test_r_within_tokens_needs_rows_that_share_them(tmp_path, make_row):
    floors = {"min_firings": 1, "max_rate": 1.0, "min_within_share": 0.0, "min_df_share": 0.999}
    planted = _plant(tmp_path, make_row, method={"eligibility": floors})
    assert planted.matches.condition == "none"


def test_a_shift_of_documents_leaves_nothing_of_the_correlation(tmp_path, make_row):
    planted = _plant(tmp_path, make_row, {"both": _matching([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])})
    details = PairDetails(stored_comparison(planted.run.folder))
    shifted = details.null_correlations(0, 0)
    assert planted.matches.r_held_out.min() > 0.2 and np.abs(shifted).max() < 0.2
    rows = np.flatnonzero(planted.half_of_row == 1)
    moved = np.roll(rows, -(CONTEXT - 2) * 6)
    i, j = details.matches(0, 0).latent_a[0], details.matches(0, 0).latent_b[0]
    assert shifted[0] == pytest.approx(np.corrcoef(planted.a[rows, i], planted.b[moved, j])[0, 1], abs=1e-3)


def test_groups_of_layers_are_numbered_on(tmp_path, make_row):
    planted = _plant(tmp_path, make_row, groups=[((0, 1), (1,))])
    details = PairDetails(stored_comparison(planted.run.folder))
    found = details.matches("0+1", 1)
    assert found.latent_a.max() >= N_LATENTS
    # Layers 0 and 1 of A are the same: their latents tie, and the first comes first.
    assert found.latent_a[0] == 4 and found.latent_b[0] == 0


def test_an_alignment_that_made_no_pairs_has_no_matches(tmp_path, make_row):
    planted = _plant(tmp_path, make_row, {})
    details = PairDetails(stored_comparison(planted.run.folder)).details(0, 0, **_SHOWN)
    assert details["matches"] == [] and details["histogram"] == {"matched": [], "null": []}


def test_layers_are_read_once_for_all_their_pairs_and_forgotten_when_memory_is_short(
    tmp_path, make_row, monkeypatch
):
    from saeuniv.stages import kept_layers

    planted = _plant(tmp_path, make_row)
    read, original = [], kept_layers.read_columns
    monkeypatch.setattr(
        kept_layers, "read_columns", lambda *given: read.append(given[1][0].key) or original(*given)
    )
    for kept_bytes, expected in ((1 << 30, 4), (0, 8)):
        read.clear()
        details = PairDetails(stored_comparison(planted.run.folder), kept_bytes=kept_bytes)
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            details.details(a, b, **_SHOWN)
        assert len(read) == expected


def test_layers_that_are_not_there_are_answered_with_those_that_are(tmp_path, make_row):
    details = PairDetails(stored_comparison(_plant(tmp_path, make_row).run.folder))
    with pytest.raises(
        ValueError, match=r"layer_b=7: expected a layer of these results.*Choose from: 0, 1\."
    ):
        details.matches(0, 7)
    planted = _plant(tmp_path / "grouped", make_row, groups=[((0, 1), (1,))])
    with pytest.raises(ValueError, match=r"layer pair \(0\+1, 0\): expected one that was compared"):
        PairDetails(stored_comparison(planted.run.folder)).matches("0+1", 0)


@pytest.mark.parametrize("kind", ["latents", "scores", "tokens"])
def test_what_the_store_lacks_is_named_with_the_command_that_makes_it(tmp_path, make_row, kind):
    planted = _plant(tmp_path, make_row)
    shutil.rmtree(tmp_path / "store" / kind)
    with pytest.raises(ArtifactError, match=rf"{kind}/.*Make it again: saeuniv nulls.draws=19\."):
        _ = planted.matches


def test_the_store_given_comes_before_the_one_recorded_and_the_environment_after(
    tmp_path, make_row, monkeypatch
):
    planted = _plant(tmp_path, make_row)
    (tmp_path / "store").rename(tmp_path / "moved")
    assert stored_comparison(planted.run.folder, tmp_path / "moved").pair(0, 0).matches is None
    monkeypatch.setenv("SAEUNIV_STORE", str(tmp_path / "moved"))
    assert stored_comparison(planted.run.folder).store.root == tmp_path / "moved"


@pytest.mark.parametrize("matching", [None, {"both": _matching([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])}])
def test_a_block_has_the_matches_on_its_diagonal_and_every_other_pair_beside_it(tmp_path, make_row, matching):
    planted = _plant(tmp_path, make_row, matching)
    details = PairDetails(stored_comparison(planted.run.folder))
    block, matches = details.block(0, 0), planted.matches
    order = np.argsort(-matches.r_held_out, kind="stable")
    np.testing.assert_allclose(np.diagonal(block), matches.r_held_out[order], atol=1e-9)
    if matches.condition == "none":
        rows = planted.half_of_row == 1
        a, b = planted.a[rows][:, matches.latent_a[order]], planted.b[rows][:, matches.latent_b[order]]
        np.testing.assert_allclose(block, np.corrcoef(a, b, rowvar=False)[:5, 5:], atol=1e-9)
