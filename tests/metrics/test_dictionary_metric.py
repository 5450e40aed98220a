"""PW-MCC and shared directions of two dictionaries of one model: known answers, their null, refusals."""

import dataclasses

import jaxtyping
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, ConfigError, Eligibility, to_cell
from saeuniv.metrics import Cka, PwMcc, SharedDirections
from saeuniv.metrics.base import ROTATION
from saeuniv.metrics.layer_pair import LayerPair
from saeuniv.numerics.dictionary_matching import random_rotation, rotated
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from tests.conf.test_options import compose
from tests.metrics.test_held_out import layer_pair
from tests.synthetic import compared, streams

N, D = 40, 24


@pytest.fixture(scope="module")
def latents():
    return layer_pair(streams(seed=0))


def dictionary(seed: int, *, n: int = N, d: int = D) -> DictionaryParameters:
    rng = np.random.default_rng([seed, 5])
    decoder = rng.standard_normal((n, d))
    encoder = decoder + 0.2 * rng.standard_normal((n, d))
    return DictionaryParameters(encoder, np.zeros(n), decoder, None, "model-x")


def permuted(whole: DictionaryParameters, seed: int = 1) -> DictionaryParameters:
    return whole.chosen(np.random.default_rng(seed).permutation(len(whole.decoder)))


def values(latents: LayerPair, a, b, metric):
    sides = (
        dataclasses.replace(side, dictionary=whole)
        for side, whole in zip((latents.a, latents.b), (a, b), strict=True)
    )
    pair = dataclasses.replace(latents, **dict(zip("ab", sides, strict=True)))
    return {each.direction: each for each in metric.measure(pair)}


def cosines(x, y):
    return (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T


@pytest.mark.parametrize("metric", [PwMcc(), SharedDirections()])
def test_the_same_dictionary_in_another_order_scores_one(metric, latents):
    whole = dictionary(0)
    found = values(latents, whole, permuted(whole), metric)
    assert [each.value for each in found.values()] == pytest.approx([1.0] * len(found))
    assert found["both"].nulls[ROTATION].max() < 0.9 and found["both"].n_matches == N


def test_directions_of_unrelated_dictionaries_are_shared_by_none_and_alike_as_chance_has_it(latents):
    a, b = dictionary(0), dictionary(1)
    assert [each.value for each in values(latents, a, b, SharedDirections()).values()] == [0.0] * 3
    both = values(latents, a, b, PwMcc(rotations=50))["both"]
    assert both.value > 0.3, "far from 0: the best assignment of 40 random directions in 24 dimensions"
    null = both.nulls[ROTATION]
    assert abs(both.value - null.mean()) < 4 * null.std()


def test_pw_mcc_is_the_mean_cosine_of_the_best_assignment(latents):
    a, b = dictionary(0), dictionary(1, n=30)
    dense = cosines(a.decoder, b.decoder)
    rows, columns = scipy.optimize.linear_sum_assignment(dense, maximize=True)
    found = values(latents, a, b, PwMcc())["both"]
    assert found.value == pytest.approx(dense[rows, columns].mean(), abs=2e-3)
    assert found.n_matches == 30


def test_a_latent_is_shared_only_where_both_assignments_agree_above_the_bound(latents):
    """Of ten latents: six the same, two that write the same and read otherwise, two of another direction."""
    a, q = dictionary(0, n=10), random_rotation(D, np.random.default_rng(3))
    encoder, decoder = a.encoder.copy(), a.decoder.copy()
    encoder[[6, 7]] = a.encoder[[7, 6]]
    encoder[[8, 9]], decoder[[8, 9]] = a.encoder[[8, 9]] @ q, a.decoder[[8, 9]] @ q
    b = a._replace(encoder=encoder, decoder=decoder)
    order = np.random.default_rng(2).permutation(10)
    found = values(latents, a, b.chosen(order), SharedDirections())
    assert [each.value for each in found.values()] == pytest.approx([0.6] * 3)
    assert values(latents, a, b.chosen(order), PwMcc())["both"].value > 0.75, "the decoders alone"
    found = values(latents, a, b.chosen(np.arange(5)), SharedDirections())
    assert [found[each].value for each in ("a_to_b", "b_to_a", "both")] == pytest.approx([0.5, 1.0, 0.75])


def test_the_bound_is_on_the_cosine(latents):
    """Directions turned by 40 degrees each have cosine .77, by 50 degrees .64."""
    a = dictionary(0, n=8, d=64)
    aside = np.linalg.qr(np.vstack([a.decoder, np.random.default_rng(0).standard_normal((8, 64))]).T)[0].T[8:]
    unit = a.decoder / np.linalg.norm(a.decoder, axis=1)[:, None]
    for degrees, expected in ((40, 1.0), (50, 0.0)):
        turned = np.cos(np.deg2rad(degrees)) * unit + np.sin(np.deg2rad(degrees)) * aside
        one, other = (a._replace(encoder=each, decoder=each) for each in (unit, turned))
        assert values(latents, one, other, SharedDirections())["both"].value == expected
        assert values(latents, one, other, SharedDirections(above=0.5))["both"].value == 1.0
        assert values(latents, one, other, PwMcc())["both"].value == pytest.approx(
            np.cos(np.deg2rad(degrees)), abs=0.02
        )


def test_lengths_and_a_common_rotation_play_no_role_and_a_rotation_of_one_side_does(latents):
    rng = np.random.default_rng(4)
    a = dictionary(0)
    b = permuted(a._replace(decoder=a.decoder + 0.3 * rng.standard_normal((N, D))))
    q = random_rotation(D, rng)
    np.testing.assert_allclose(q @ q.T, np.eye(D), atol=1e-12)
    long = b._replace(decoder=b.decoder * rng.lognormal(size=(N, 1)))
    for metric in (PwMcc(), SharedDirections()):
        before = values(latents, a, b, metric)["both"].value
        for x, y in ((a, long), (rotated(a, q), rotated(b, q))):
            assert values(latents, x, y, metric)["both"].value == pytest.approx(before)
        assert values(latents, a, rotated(b, q), metric)["both"].value < 0.6 < before


@pytest.fixture
def unchecked():
    """Shapes are checked by all other tests; here there are many calls."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("metric", [PwMcc(rotations=4), SharedDirections(rotations=4, above=0.3)])
def test_p_is_uniform_where_bases_are_unrelated(metric, latents):
    """Each pair of one geometry, in bases that have nothing to do with one another; ties broken at random."""
    ranks = []
    for replicate in range(100):
        rng = np.random.default_rng([replicate, 8])
        a = dictionary(0, n=8, d=4)
        b = rotated(permuted(a), random_rotation(4, rng))
        drawn = dataclasses.replace(metric, seed=replicate)
        both = values(latents, a, b, drawn)["both"]
        null = both.nulls[ROTATION]
        above, equal = (null > both.value + 1e-9).sum(), (abs(null - both.value) <= 1e-9).sum()
        ranks.append((above + rng.random() * (1 + equal)) / (1 + len(null)))
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 0.01
    assert 0.1 <= (np.array(ranks) < 0.2).mean() <= 0.3


def test_bases_that_differ_are_refused_with_a_reason_unless_they_are_said_to_be_one(latents):
    a = dictionary(0)
    for b in (permuted(a)._replace(basis="model-y"), dictionary(0, d=D + 1)):
        for metric in (PwMcc(), SharedDirections()):
            found = values(latents, a, b, metric)
            assert {(each.value, each.reason) for each in found.values()} == {(None, "other_basis")}
    b = permuted(a)._replace(basis="model-y")
    assert values(latents, a, b, PwMcc(assume_same_basis=True))["both"].value == pytest.approx(1.0)


def test_arrays_of_ones_own_are_compared_by_all_latents_and_metrics_left_out_without_parameters():
    data = streams(seed=0)
    settings = CompareSettings(
        metrics=(PwMcc(), Cka()), eligibility=Eligibility(min_firings=5), bootstrap=Bootstrap(draws=50)
    )
    whole = dictionary(0, n=30)
    row = compared(data, settings, parameters=(whole, permuted(whole)))["pw_mcc", "both"]
    assert (row.value, row.p_value, row.null, row.space, row.alignment) == (
        pytest.approx(1.0),
        0.05,
        "rotation",
        "decoder",
        "-",
    )
    assert row.n_matches == 30 and row.reason == "no_interval"
    assert compared(data, settings) == {}


def test_two_models_and_activations_without_dictionaries_are_refused_before_anything_runs():
    chosen = "metrics=[pw_mcc,shared_directions]"
    with pytest.raises(ConfigError) as refused:
        to_cell(compose(chosen, "sae=none"))
    for name in ("pw_mcc", "shared_directions"):
        said = f"metrics={name}: expected dictionaries"
        assert f"{said} of one model, whose residual basis they share, got two models" in str(refused.value)
        assert f"{said} with directions to compare, got none (sae=none)" in str(refused.value)
    assert to_cell(compose(chosen, "b=tiny_s0", "sae_b=tiny", "sae_b.seed=1"))
    same = (f"metrics.{name}.assume_same_basis=true" for name in ("pw_mcc", "shared_directions"))
    assert to_cell(compose(chosen, *same))


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"metrics.pw_mcc.rotations=0: expected at least 1"):
        PwMcc(rotations=0)
    with pytest.raises(
        ValueError, match=r"metrics.shared_directions.above=1.0: expected a cosine in \[0, 1\)"
    ):
        SharedDirections(above=1.0)
