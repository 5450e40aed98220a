"""Known answers of the held-out correlations, and that their p-values are honest."""

import numpy as np
import pytest
import scipy.stats

from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility
from saeuniv.metrics import PartialCorrelation, RawCorrelation
from saeuniv.metrics.held_out import cross_fitted, score
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.numerics.assignment import Matching
from saeuniv.numerics.correlation import Evidence
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import FLOORS, compared, dense_partial, streams

FEW = Eligibility(min_firings=5)
QUICK = Bootstrap(draws=200)


def results(data, *metrics, eligibility=FEW):
    settings = CompareSettings(metrics=metrics, eligibility=eligibility, bootstrap=QUICK)
    return compared(data, settings)


def layer_pair(data, *, draws=100, floors=FLOORS):
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=floors) for side in (data.a, data.b))
    settings = DrawSettings(0, 19, 2, 0, draws, min_documents=20, min_effective_documents=15)
    return LayerPair(a, b, make_draws(halves, settings), min_df_share=0.5)


def test_a_model_compared_with_itself_scores_one_given_anything():
    data = streams(seed=0)
    pair = layer_pair(data._replace(b=data.a))
    for condition in ("none", "token", "token_bigram"):
        values = {each.direction: each.value for each in cross_fitted(pair, condition, null=True)}
        assert values == pytest.approx(dict.fromkeys(("a_to_b", "b_to_a", "both"), 1.0))


def test_the_value_is_the_mean_over_folds_and_directions_by_the_dense_definition():
    data = streams(seed=3, shared=10)
    pair = layer_pair(data)
    r = [
        dense_partial(x.matrix.toarray(), y.matrix.toarray(), x.half.groups["token"].ids)
        for x, y in zip(pair.a.halves, pair.b.halves, strict=True)
    ]
    expected = {"a_to_b": [], "b_to_a": []}
    for match, evaluate in ((0, 1), (1, 0)):
        for direction, chosen, scored in (
            ("a_to_b", r[match], r[evaluate]),
            ("b_to_a", r[match].T, r[evaluate].T),
        ):
            scores = [scored[i, row.argmax()] if row.max() > 0 else 0.0 for i, row in enumerate(chosen)]
            expected[direction].append(np.mean(scores))
    got = {each.direction: each.value for each in cross_fitted(pair, "token", null=False)}
    assert got["a_to_b"] == pytest.approx(np.mean(expected["a_to_b"]), abs=1e-9)
    assert got["b_to_a"] == pytest.approx(np.mean(expected["b_to_a"]), abs=1e-9)
    assert got["both"] == pytest.approx((got["a_to_b"] + got["b_to_a"]) / 2, abs=1e-12)


def test_the_headline_is_symmetric_in_the_models():
    data = streams(seed=4, shared=10)
    forward = results(data, PartialCorrelation())
    backward = results(data._replace(a=data.b, b=data.a), PartialCorrelation())
    name = "partial_correlation"
    assert forward[name, "both"].value == pytest.approx(backward[name, "both"].value)
    assert forward[name, "a_to_b"].value == pytest.approx(backward[name, "b_to_a"].value)
    assert forward[name, "a_to_b"].value != forward[name, "b_to_a"].value


def test_half_the_latents_shared_score_between_none_and_all():
    values = [
        results(streams(seed=5, shared=shared, n_documents=120), PartialCorrelation())[
            "partial_correlation", "both"
        ].value
        for shared in (0, 15, 30)
    ]
    assert abs(values[0]) < 0.02 and 0.35 < values[1] < 0.55 and values[2] > 0.8


def test_agreement_by_token_identity_counts_raw_but_not_given_the_token():
    data = streams(seed=6, token_latents=20, n_documents=150)
    found = results(data, PartialCorrelation(), RawCorrelation(), eligibility=Eligibility(5, 0.5, 1e-6))
    assert found["raw_correlation", "both"].value > 0.4
    assert found["partial_correlation", "both"].value < 0.05


def test_the_value_is_unchanged_by_rescaling_and_reordering_latents_but_not_by_moving_tokens():
    data = streams(seed=7, shared=12)
    rng = np.random.default_rng(0)
    order = rng.permutation(data.b.shape[1])
    scaled = data.b.toarray()[:, order] * rng.lognormal(size=len(order))
    name = ("partial_correlation", "both")
    before = results(data, PartialCorrelation())[name].value
    same = results(data._replace(b=type(data.b)(scaled)), PartialCorrelation())[name].value
    assert same == pytest.approx(before, abs=1e-10)
    moved = type(data.b)(np.roll(data.b.toarray(), 5, axis=0))
    assert abs(results(data._replace(b=moved), PartialCorrelation())[name].value) < before / 4


def test_held_out_scores_of_unrelated_latents_average_zero_where_in_sample_ones_do_not():
    held_out, in_sample = [], []
    for seed in range(40):
        pair = layer_pair(streams(seed=seed))
        held_out.append(cross_fitted(pair, "token", null=False)[-1].value)
        best = pair.candidates(0, Evidence("pearson", "token"), top_m=1).similarity_a[:, 0]
        in_sample.append(np.maximum(best, 0.0).mean())
    error = np.std(held_out, ddof=1) / np.sqrt(len(held_out))
    assert abs(np.mean(held_out)) < 3 * error
    assert np.mean(in_sample) > 20 * error


def p_values(statistic, replicates):
    """p of `statistic(data)` over independent replicates of unrelated latents, the whole pipeline each."""
    return np.array([statistic(streams(seed=seed, n_documents=84)) for seed in range(replicates)])


def shift_p(data):
    return cross_fitted_p(layer_pair(data), lambda pair: pair.draws.shifts)


def cross_fitted_p(pair, shifts):
    draws = pair.draws._replace(shifts=shifts(pair))
    measured = cross_fitted(LayerPair(pair.a, pair.b, draws, 0.5), "token", null=True)[-1]
    null = measured.nulls["document_shift"]
    return (1 + (null >= measured.value).sum()) / (1 + len(null))


def is_calibrated(p):
    return scipy.stats.kstest(p, "uniform").pvalue > 0.01 and 0.02 <= (p < 0.05).mean() <= 0.09


@pytest.mark.calibration
def test_p_values_of_unrelated_latents_are_uniform_through_the_whole_pipeline():
    assert is_calibrated(p_values(shift_p, 200))


@pytest.mark.calibration
def test_shifts_within_documents_are_no_null_and_the_calibration_test_sees_it():
    """The negative control: residual dependence within documents makes small shifts score high."""

    def broken(data):
        # Four sequences a document, a level that each document has of its own: B follows A's document.
        level = np.repeat(np.random.default_rng(1).random((84, 30)) < 0.3, 40, axis=0)
        shared = [side.multiply(level + 0.05).tocsr() for side in (data.a, data.b[:, data.permutation])]
        pair = layer_pair(data._replace(a=shared[0], b=shared[1]))
        return cross_fitted_p(pair, lambda pair: np.array([1, pair.draws.n_sequences - 1] * 50))

    assert not is_calibrated(p_values(broken, 40))


def test_the_null_has_as_many_draws_as_there_are_admissible_shifts_and_says_when_they_are_few():
    many = results(streams(seed=0, n_documents=120), PartialCorrelation())["partial_correlation", "both"]
    assert many.null_draws == 120 - 2 * 2 + 1
    assert many.p_value is not None and many.p_value >= 1 / (1 + many.null_draws)
    few = results(streams(seed=0, n_documents=40), PartialCorrelation())["partial_correlation", "both"]
    assert few.value is not None
    assert (few.p_value, few.calibrated) == (None, None) and "few_shifts" in few.reason


def test_intervals_are_refused_with_few_documents_and_narrow_with_more():
    widths = []
    for n_documents in (30, 120, 480):
        found = results(streams(seed=1, shared=20, n_documents=n_documents), PartialCorrelation())
        row = found["partial_correlation", "both"]
        if n_documents == 30:
            assert row.ci_low is None and "few_documents" in row.reason
        else:
            assert row.ci_low < row.value < row.ci_high
            widths.append(row.ci_high - row.ci_low)
    assert widths[1] < 0.7 * widths[0]


def test_without_eligible_latents_the_value_is_undefined_with_a_reason():
    found = results(streams(seed=0), PartialCorrelation(), eligibility=Eligibility(min_firings=10**6))
    row = found["partial_correlation", "both"]
    assert (row.value, row.p_value, row.reason) == (None, None, "no_eligible_latents")


def test_labels_that_leave_few_degrees_of_freedom_are_refused_and_half_of_them_is_enough():
    data = streams(seed=0)
    # Two rows to a label within each half leave half of the rows as degrees of freedom.
    half = np.concatenate([each.rows for each in make_halves(data.documents, {}, positions=data.positions)])
    label = np.empty(len(half), np.int64)
    label[half] = np.arange(len(half)) // 2
    once = np.where(label < 2, np.arange(len(label)) + len(label), label)
    for labels, reason in ((label, ""), (once, "few_degrees_of_freedom")):
        pair = layer_pair(data._replace(groups={**data.groups, "token_bigram": labels}))
        (measured,) = {each.reason for each in cross_fitted(pair, "token_bigram", null=False)}
        assert measured == reason


def dense_folds(pair, condition="token"):
    """By fold: the matches of both directions, and unit residuals of A and B on the evaluation half."""

    def residual(side, labels):
        z = side.matrix.toarray()
        for label in np.unique(labels):
            z[labels == label] -= z[labels == label].mean(axis=0)
        return z / np.linalg.norm(z, axis=0)

    halves = []
    for x, y in zip(pair.a.halves, pair.b.halves, strict=True):
        labels = x.half.groups[condition].ids
        halves.append((residual(x, labels), residual(y, labels)))
    for match, evaluate in ((0, 1), (1, 0)):
        r = halves[match][0].T @ halves[match][1]
        forward = [(i, row.argmax()) for i, row in enumerate(r) if row.max() > 0]
        backward = [(row.argmax(), j) for j, row in enumerate(r.T) if row.max() > 0]
        yield evaluate, {"a_to_b": np.array(forward), "b_to_a": np.array(backward)}, *halves[evaluate]


@pytest.fixture(scope="module")
def unequal():
    """Widths that differ, so that the directions do, and halves of unequal length."""
    data = streams(seed=11, shared=10, n_latents=24, n_documents=61)
    pair = layer_pair(data._replace(b=data.b[:, :17]))
    return pair, {each.direction: each for each in cross_fitted(pair, "token", null=True)}


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_every_draw_of_the_null_shifts_b_in_both_folds_by_the_same_sequences(unequal, direction):
    pair, found = unequal
    n_latents = {"a_to_b": pair.a.n_eligible, "b_to_a": pair.b.n_eligible}[direction]
    rows = pair.draws.n_sequences * pair.a.halves[0].half.positions
    for draw in (0, 9, len(pair.draws.shifts) - 1):
        expected = []
        for half, matches, x, y in dense_folds(pair):
            index_a, index_b = matches[direction].T
            moved = np.roll(y[:rows], -pair.draws.shifts[draw] * pair.a.halves[0].half.positions, axis=0)
            left = pair.a.halves[half].half.groups["token"].df_share
            shifted = (x[:rows][:, index_a] * moved[:, index_b]).sum() / np.sqrt(left)
            expected.append(shifted / n_latents)
        assert found[direction].nulls["document_shift"][draw] == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_every_bootstrap_draw_resamples_the_documents_of_both_evaluation_halves(unequal, direction):
    pair, found = unequal
    n_latents = {"a_to_b": pair.a.n_eligible, "b_to_a": pair.b.n_eligible}[direction]
    for draw in (0, 42):
        expected = []
        for half, matches, x, y in dense_folds(pair):
            index_a, index_b = matches[direction].T
            weights = pair.draws.weights[half][draw][pair.a.halves[half].half.documents][:, None]
            u, v = x[:, index_a], y[:, index_b]
            scale = np.sqrt((weights * u * u).sum(axis=0) * (weights * v * v).sum(axis=0))
            expected.append(((weights * u * v).sum(axis=0) / scale).sum() / n_latents)
        assert found[direction].bootstrap[draw] == pytest.approx(np.mean(expected), abs=1e-10)


def test_both_directions_are_averaged_draw_by_draw(unequal):
    _, found = unequal
    forward, backward, both = (found[direction] for direction in ("a_to_b", "b_to_a", "both"))
    assert both.value == pytest.approx((forward.value + backward.value) / 2)
    np.testing.assert_allclose(both.bootstrap, (forward.bootstrap + backward.bootstrap) / 2)
    nulls = [each.nulls["document_shift"] for each in (forward, backward, both)]
    np.testing.assert_allclose(nulls[2], (nulls[0] + nulls[1]) / 2, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_intervals_do_not_depend_on_the_scale_of_activations(scale):
    data = streams(seed=12, shared=10, n_latents=20)
    scaled = data._replace(a=data.a * scale, b=data.b * scale)
    before, after = (cross_fitted(layer_pair(each), "token", null=False)[-1] for each in (data, scaled))
    np.testing.assert_allclose(after.bootstrap, before.bootstrap, atol=1e-9)


def test_a_latent_that_its_label_determines_on_the_evaluation_half_is_zero_in_every_bootstrap_draw():
    """Its residuals are rounding there: of two, the correlation could be anything."""
    data = streams(seed=13, shared=20, n_latents=20, persistence=0.0)
    levels = 1000 * np.random.default_rng(0).random((2, 12))
    first, _ = make_halves(data.documents, {}, positions=data.positions)
    a, b = data.a.toarray(), data.b.toarray()[:, data.permutation]
    determined = np.ones(len(a), bool)
    determined[first.rows] = False
    # No multiples of a binary fraction: their sums round.
    fires = data.groups["token"][determined] % 3 == 0
    a[determined, 0], b[determined, 0] = levels[:, data.groups["token"][determined]] * fires
    pair = layer_pair(data._replace(a=type(data.a)(a), b=type(data.b)(b)), floors=Floors(5, 0.9, 0.0))
    folds = [[score_of(pair, half, chosen) for chosen in (0, 1)] for half in (0, 1)]
    assert folds[0][0].value > 0.5 and abs(folds[0][0].bootstrap).min() > 0.2
    assert folds[1][0].value == 0 and not folds[1][0].bootstrap.any()
    assert folds[1][1].value > 0.5 and abs(folds[1][1].bootstrap).min() > 0.2


def score_of(pair, half, latent):
    """The planted partners of one latent, scored on a half."""
    matching = Matching(np.array([latent]), np.array([latent]), np.array([1.0]), None)
    return score(pair, matching, half, "token", np.ones(1), null=False)


def test_raw_correlation_stands_beside_what_the_token_alone_could_give():
    """Latents that fire by the token alone reach 1, latents that know nothing of it reach 0."""
    settings = CompareSettings(
        metrics=(RawCorrelation(),), eligibility=Eligibility(5, 0.5, 1e-6), bootstrap=Bootstrap(draws=1)
    )
    for token_latents, low, high in ((30, 0.85, 1.0), (0, 0.0, 0.05)):
        pair = layer_pair(
            streams(seed=14, token_latents=token_latents, n_documents=150), floors=Floors(5, 0.5, 1e-6)
        )
        found = {each.direction: each for each in settings.metrics[0].measure(pair)}
        for each in found.values():
            assert low <= each.moments["token_identity_ceiling"].mean <= high
        shares = []
        for half in pair.a.halves:
            z, token = half.matrix.toarray(), half.half.groups["token"].ids
            means = np.array([z[token == t].mean(axis=0) for t in range(token.max() + 1)])[token]
            explained = ((means - z.mean(axis=0)) ** 2).sum(axis=0) / ((z - z.mean(axis=0)) ** 2).sum(axis=0)
            rows, groups = len(z), token.max() + 1
            shares.append(np.sqrt(np.maximum(1 - (1 - explained) * (rows - 1) / (rows - groups), 0)))
        expected = np.mean(shares, axis=0).mean()
        assert found["a_to_b"].moments["token_identity_ceiling"].mean == pytest.approx(expected, abs=1e-9)
