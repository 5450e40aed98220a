"""Similarities of all latents on tokens: values, nulls and reasons."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from saeuniv.alignments import Hungarian
from saeuniv.compare import summarise
from saeuniv.config import Condition
from saeuniv.metrics import token_grams as metric_token_grams
from saeuniv.metrics.base import DOCUMENT_SHIFT, Found
from saeuniv.metrics.ridge import RidgePredictivity
from saeuniv.metrics.token_grams import CkaTokens, ProcrustesTokens, SvccaTokens
from saeuniv.numerics.nulls import draw_shifts
from saeuniv.numerics.token_grams import TokenSides
from tests.synthetic import matched_pair, streams

METRICS = [CkaTokens, SvccaTokens, ProcrustesTokens]


def cka_oracle(fit, evaluation):
    (u, v), (w, z) = fit, evaluation
    norms = np.vdot(u.T @ u, w.T @ w) * np.vdot(v.T @ v, z.T @ z)
    return np.vdot(u.T @ v, w.T @ z) / np.sqrt(norms)


def svcca_oracle(fit, evaluation):
    bases, weights = [], []
    for side in fit:
        left, singular, right = np.linalg.svd(side, full_matrices=False)
        k = np.flatnonzero(np.cumsum(singular**2) >= 0.99 * (singular**2).sum())[0] + 1
        bases.append(left[:, :k])
        weights.append(right[:k].T / singular[:k])
    left, _, right = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    u, v = evaluation[0] @ weights[0] @ left, evaluation[1] @ weights[1] @ right.T
    return np.mean((u * v).sum(axis=0) / np.linalg.norm(u, axis=0) / np.linalg.norm(v, axis=0))


def procrustes_oracle(fit, evaluation):
    left, _, right = np.linalg.svd(fit[0].T @ fit[1], full_matrices=False)
    u, v = evaluation
    return np.vdot(u @ left @ right, v) / np.linalg.norm(u) / np.linalg.norm(v)


ORACLES = {"cka_tokens": cka_oracle, "svcca_tokens": svcca_oracle, "procrustes_tokens": procrustes_oracle}


@pytest.fixture(scope="module")
def data():
    """Halves of unequal length, sides of unequal width."""
    found = streams(seed=1, shared=12, n_latents=24, n_documents=61)
    return found._replace(b=found.b[:, :17])


def measured(data, metric, **changes):
    pair = matched_pair(data, Hungarian(), metric, **changes)
    (found,) = metric.measure(pair)
    return pair, found


def residual(z, ids):
    return z - np.stack([z[ids == group].mean(axis=0) for group in range(ids.max() + 1)])[ids]


def by_oracle(metric, pair, *, n_sequences=None, shift=0):
    halves = []
    for a, b in zip(pair.a.halves, pair.b.halves, strict=True):
        positions = a.half.positions
        rows = slice(None if n_sequences is None else n_sequences * positions)
        ids = np.unique(a.half.groups[metric.condition.value].ids[rows], return_inverse=True)[1]
        moved = np.roll(residual(b.matrix.toarray()[rows], ids), -shift * positions, axis=0)
        halves.append((residual(a.matrix.toarray()[rows], ids), residual(moved, ids)))
    return np.mean([ORACLES[metric.name](*halves), ORACLES[metric.name](*halves[::-1])])


@pytest.mark.parametrize("condition", [Condition.none, Condition.token])
@pytest.mark.parametrize("kind", METRICS)
def test_values_and_draws_are_those_of_dense_residuals(data, kind, condition):
    metric = kind(condition=condition)
    pair, found = measured(data, metric)
    assert found.value == pytest.approx(by_oracle(metric, pair), abs=1e-9)
    n_sequences = pair.draws.n_sequences
    assert n_sequences < max(half.half.n_sequences for half in pair.a.halves)
    shifts = draw_shifts(pair.draws.shifts, draws=19, seed=0)
    null = found.nulls[DOCUMENT_SHIFT]
    assert len(null) == 19 and null.max() < found.value
    for draw in (0, 11):
        expected = by_oracle(metric, pair, n_sequences=n_sequences, shift=shifts[draw])
        assert null[draw] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", METRICS)
def test_a_model_compared_with_itself_scores_one_however_its_latents_are_ordered(data, kind):
    order = np.random.default_rng(0).permutation(24)
    same = data._replace(b=sp.csr_array(3.0 * data.a.toarray()[:, order]))
    assert measured(same, kind())[1].value == pytest.approx(1.0, abs=1e-9)
    if kind is not SvccaTokens:
        stretched = data._replace(b=sp.csr_array(data.a.toarray() * np.geomspace(1, 100, 24)))
        assert measured(stretched, kind())[1].value < 0.95


@pytest.mark.parametrize("kind", METRICS)
def test_the_sides_may_be_exchanged(data, kind):
    swapped = data._replace(a=data.b, b=data.a)
    assert measured(swapped, kind())[1].value == pytest.approx(measured(data, kind())[1].value, abs=1e-9)


def test_agreement_by_token_identity_counts_without_the_condition_only():
    some = streams(seed=6, token_latents=10, n_latents=20, n_documents=80)
    none, token = (
        measured(some, CkaTokens(condition=condition))[1].value
        for condition in (Condition.none, Condition.token)
    )
    assert none > 0.1 and abs(token) < 0.02


@pytest.mark.parametrize("kind", [*METRICS, RidgePredictivity])
def test_too_many_latents_too_few_shifts_and_labels_without_freedom_are_told(data, kind):
    def found(metric, data=data, **changes):
        return metric.measure(matched_pair(data, Hungarian(), metric, **changes))

    assert {(each.value, each.reason) for each in found(kind(max_latents=23))} == {(None, "too_many_latents")}
    assert all(each.value is not None for each in found(kind(max_latents=24)))
    for each in found(kind(), null_draws=99):
        row = summarise(kind(), each, Hungarian(), confidence=0.95)
        assert row.value is not None and (row.p_value, row.calibrated, row.ci_low) == (None, None, None)
        assert set(row.reason.split(";")) == {"few_shifts", "no_interval"}
        assert row.alignment == "-"
    labels = np.arange(len(data.documents)) // 2
    fine = data._replace(
        groups={**data.groups, "token_trigram": np.random.default_rng(0).permutation(labels)}
    )
    assert {each.reason for each in found(kind(condition=Condition.token_trigram), fine)} == {
        "few_degrees_of_freedom"
    }


def test_the_p_value_comes_from_the_shifts(data):
    metric = CkaTokens()
    row = summarise(metric, measured(data, metric)[1], Hungarian(), confidence=0.95)
    assert (row.p_value, row.null_draws, row.reason) == (0.05, 19, "no_interval")


def test_svcca_says_how_many_components_each_half_kept(data):
    assert measured(data, SvccaTokens(variance_kept=1.0))[1].flags == ("k=24/17,24/17",)
    with pytest.raises(ValueError, match=r"metrics.svcca_tokens.variance_kept=0.0: expected a fraction"):
        SvccaTokens(variance_kept=0.0)


@dataclass
class InSample(CkaTokens):
    """Squares within halves instead of products across them: the size of chance covariances."""

    def statistic(self, halves):
        return {"both": Found(float(sum(np.vdot(half.ab, half.ab) for half in halves)))}


@pytest.mark.calibration
def test_p_values_are_uniform_though_tokens_drive_latents_and_those_of_in_sample_sizes_are_not():
    """Documents of both sides begin and end together, which a shift undoes: chance is larger before it."""
    p = {kind: [] for kind in (*METRICS, InSample)}
    rng = np.random.default_rng(1)
    for seed in range(60):
        some = streams(seed=seed, n_documents=60, n_latents=9, token_latents=2, persistence=1.0)
        pair = matched_pair(some, Hungarian(), CkaTokens(), null_draws=19)
        for kind, found in p.items():
            (each,) = kind().measure(pair)
            found.append(((each.nulls[DOCUMENT_SHIFT] > each.value).sum() + rng.random()) / 20)
    for kind in METRICS:
        assert scipy.stats.kstest(p[kind], "uniform").pvalue > 0.01
        assert np.mean(np.array(p[kind]) < 0.05) <= 0.12
    assert scipy.stats.kstest(p[InSample], "uniform").pvalue < 1e-3
    assert np.mean(p[InSample]) < 0.4


def test_metrics_of_one_condition_share_the_grams_of_a_layer_pair(data, monkeypatch):
    pair = matched_pair(data, Hungarian(), CkaTokens())
    made, grams = [], TokenSides.grams
    monkeypatch.setattr(TokenSides, "grams", lambda self, shift: made.append(shift) or grams(self, shift))
    shared = [kind().measure(pair)[-1] for kind in (*METRICS, RidgePredictivity)]
    assert len(made) == 2 * (1 + 19) and list(pair.token_grams) == ["token"]
    CkaTokens(condition=Condition.none).measure(pair)
    assert len(made) == 4 * (1 + 19) and set(pair.token_grams) == {"token", "none"}
    # 17 x (24 + 17) numbers of 8 bytes a half, observed and 19 times shifted: one byte less is too little.
    for most, kept in ((16 * 20 * 17 * 41 - 1, 0), (16 * 20 * 17 * 41, 1)):
        monkeypatch.setattr(metric_token_grams, "_MOST_KEPT_BYTES", most)
        again = matched_pair(data, Hungarian(), CkaTokens())
        for kind, before in zip((*METRICS, RidgePredictivity), shared, strict=True):
            after = kind().measure(again)[-1]
            assert after.value == before.value
            np.testing.assert_array_equal(after.nulls[DOCUMENT_SHIFT], before.nulls[DOCUMENT_SHIFT])
        assert len(again.token_grams) == kept
