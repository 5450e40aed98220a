"""Shares of latents above a bound, and the mean by mass: other summaries of held-out correlations."""

import numpy as np
import pytest

from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility
from saeuniv.metrics import SharedFraction, SharedFraction70, Wmppc
from saeuniv.metrics.held_out import Summary, cross_fitted
from tests.metrics.test_held_out import layer_pair
from tests.synthetic import compared, dense_partial, streams


def results(data, *metrics):
    settings = CompareSettings(
        metrics=metrics, eligibility=Eligibility(min_firings=5), bootstrap=Bootstrap(draws=100)
    )
    return compared(data, settings)


def held_out_r(pair, condition):
    """By fold and direction: r of each latent's best partner on the other half, by dense arrays; its mass."""
    halves = [
        (x.matrix.toarray(), y.matrix.toarray(), x.half.groups[condition].ids)
        for x, y in zip(pair.a.halves, pair.b.halves, strict=True)
    ]
    r = [dense_partial(*half) for half in halves]
    for match, evaluate in ((0, 1), (1, 0)):
        for direction, side, chosen, scored in (
            ("a_to_b", 0, r[match], r[evaluate]),
            ("b_to_a", 1, r[match].T, r[evaluate].T),
        ):
            best = [scored[i, row.argmax()] if row.max() > 0 else 0.0 for i, row in enumerate(chosen)]
            yield direction, np.array(best), halves[evaluate][side].sum(axis=0)


def test_the_share_counts_latents_whose_held_out_correlation_is_above_the_bound():
    pair = layer_pair(streams(seed=3, shared=12))
    for metric in (SharedFraction(), SharedFraction70(), SharedFraction(above=0.2)):
        found = {each.direction: each.value for each in metric.measure(pair)}
        by_direction = {"a_to_b": [], "b_to_a": []}
        for direction, best, _ in held_out_r(pair, "token"):
            by_direction[direction].append((best > metric.above).mean())
        expected = {direction: np.mean(shares) for direction, shares in by_direction.items()}
        expected["both"] = np.mean(list(expected.values()))
        assert found == pytest.approx(expected)


def test_wmppc_weighs_raw_correlations_by_activation_mass():
    pair = layer_pair(streams(seed=4, shared=12))
    found = {each.direction: each.value for each in Wmppc().measure(pair)}
    by_direction = {"a_to_b": [], "b_to_a": []}
    for direction, best, mass in held_out_r(pair, "none"):
        by_direction[direction].append((best * mass).sum() / mass.sum())
    assert found["a_to_b"] == pytest.approx(np.mean(by_direction["a_to_b"]), abs=1e-9)
    assert found["b_to_a"] == pytest.approx(np.mean(by_direction["b_to_a"]), abs=1e-9)


@pytest.mark.parametrize("metric", [SharedFraction(), SharedFraction70(), Wmppc()])
def test_a_model_compared_with_itself_shares_everything(metric):
    pair = layer_pair(streams(seed=0)._replace(b=streams(seed=0).a))
    assert [each.value for each in metric.measure(pair)] == pytest.approx([1.0] * 3)


def test_half_the_latents_shared_is_a_share_of_one_half_and_none_is_none():
    for shared, expected in ((0, 0.0), (15, 0.5), (30, 1.0)):
        found = results(streams(seed=5, shared=shared, n_documents=120), SharedFraction())
        assert found["shared_fraction", "both"].value == pytest.approx(expected, abs=0.06)


def test_sharing_by_token_identity_counts_for_wmppc_and_not_for_the_share():
    """The negative control of the raw number."""
    data = streams(seed=6, token_latents=20, n_documents=150)
    found = results(data, SharedFraction(), Wmppc())
    assert found["shared_fraction", "both"].value < 0.05
    assert found["wmppc", "both"].value > 0.3


def test_wmppc_is_unchanged_by_one_scale_for_all_latents_but_not_by_one_for_each():
    data = streams(seed=7, shared=12)
    before = results(data, Wmppc())["wmppc", "both"].value
    assert results(data._replace(a=data.a * 7.0), Wmppc())["wmppc", "both"].value == pytest.approx(before)
    scales = np.random.default_rng(0).lognormal(sigma=2, size=data.a.shape[1])
    rescaled = type(data.a)(data.a.toarray() * scales)
    after = results(data._replace(a=rescaled), Wmppc())["wmppc", "both"].value
    assert after != pytest.approx(before, abs=1e-3)


def test_every_shift_counts_pair_by_pair_and_p_is_small_for_shared_latents():
    pair = layer_pair(streams(seed=8, shared=20, n_documents=220))
    (forward, _, both) = cross_fitted(pair, "token", null=True, summary=Summary(above=0.05))
    null = forward.nulls["document_shift"]
    # A count of latents over their number, in both folds.
    counts = null * pair.a.n_eligible * 2
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    assert counts.max() > 0
    row = results(streams(seed=8, shared=20, n_documents=220), SharedFraction())["shared_fraction", "both"]
    assert row.p_value == pytest.approx(1 / (1 + row.null_draws)) and row.ci_low <= row.value <= row.ci_high
    assert both.value == pytest.approx(both.bootstrap.mean(), abs=0.1)


def test_a_bound_that_is_no_correlation_is_refused():
    for bad in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"metrics.shared_fraction.above=.*: expected a correlation"):
            SharedFraction(above=bad)
