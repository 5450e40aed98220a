import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import streams

FLOORS = Floors(min_firings=10, max_rate=0.5, min_within_share=0.01)


def columns(*latents, n=400):
    """Two documents of n / 2 rows each, tokens 0..3 in turn, the given latents as columns."""
    token = np.tile(np.arange(4), n // 4)
    halves = make_halves(np.repeat([0, 1], n // 2), {"token": token}, positions=10)
    return sp.csr_array(np.stack([latent(token, np.arange(n)) for latent in latents], axis=1)), halves


def test_a_latent_must_fire_often_enough_in_each_half():
    rng = np.random.default_rng(0)
    values = rng.random(400) + 0.5
    often = lambda token, t: values * (t % 7 == 0)  # noqa: E731
    first_half_only = lambda token, t: values * ((t % 7 == 0) & (t < 200))  # noqa: E731
    never = lambda token, t: 0.0 * values  # noqa: E731
    layer = prepare_layer(*columns(often, first_half_only, never), floors=FLOORS)
    assert layer.eligibility.eligible.tolist() == [True, False, False]
    assert layer.eligibility.alive.tolist() == [True, True, False]
    assert layer.n_eligible == 1


def test_without_floors_every_latent_is_eligible_and_those_that_never_vary_have_no_share():
    never, always = (lambda token, t, value=value: value + 0.0 * t for value in (0.0, 2.0))
    rare = lambda token, t: 1.0 * (t == 7)  # noqa: E731
    floors = Floors(min_firings=0, max_rate=1.0, min_within_share=0.0)
    layer = prepare_layer(*columns(never, always, rare), floors=floors)
    assert layer.eligibility.eligible.all() and layer.eligibility.mass_share == 1.0
    alone = prepare_layer(*columns(rare), floors=floors).eligibility.context_share
    assert layer.eligibility.context_share == alone
    assert prepare_layer(*columns(never, always), floors=floors).eligibility.context_share is None
    assert layer.whole.norms("none").tolist() == [0.0, 0.0, pytest.approx(np.sqrt(1 - 1 / 400))]


def test_both_halves_as_one_hold_the_latents_in_the_order_of_their_rows():
    data = streams(seed=1)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    layer = prepare_layer(data.a, halves, floors=FLOORS)
    before = layer.nbytes
    assert (layer.whole.matrix.toarray() == data.a.toarray()[:, layer.eligibility.eligible]).all()
    assert layer.whole is layer.whole and layer.nbytes > before


def test_firings_on_tokens_seen_once_do_not_count():
    n = 400
    token = np.where(np.arange(n) % 4 == 0, 1000 + np.arange(n), np.arange(n) % 4)
    halves = make_halves(np.repeat([0, 1], n // 2), {"token": token}, positions=10)
    rng = np.random.default_rng(1)
    singles = np.where(token >= 1000, rng.random(n) + 0.5, 0.0)
    common = np.where(np.arange(n) % 5 == 1, rng.random(n) + 0.5, 0.0)
    layer = prepare_layer(sp.csr_array(np.stack([singles, common], axis=1)), halves, floors=FLOORS)
    assert layer.eligibility.eligible.tolist() == [False, True]


def firing_at(rows, n=400):
    latent = np.zeros(n)
    latent[rows] = 1.0 + np.random.default_rng(len(rows)).random(len(rows))
    return latent


def test_the_floors_are_met_at_equality_in_each_half():
    """Rate at most one half, at least ten firings; one more or less in either half decides."""
    halves = columns(lambda token, t: 1.0 * t)[1]
    first, second = np.arange(200), np.arange(200, 400)
    latents = {
        "ten": [*first[::20], *second[::20]],
        "nine on D1": [*first[::20][:9], *second[::10]],
        "nine on D2": [*first[::10], *second[::20][:9]],
        "half": [*first[::2], *second[1::2]],
        "above half on D1": [*first[:101], *second[::2]],
        "above half on D2": [*first[::2], *second[:101]],
    }
    layer = prepare_layer(
        sp.csr_array(np.stack([firing_at(rows) for rows in latents.values()], axis=1)), halves, floors=FLOORS
    )
    passed = dict(zip(latents, layer.eligibility.eligible.tolist(), strict=True))
    assert passed == {name: name in ("ten", "half") for name in latents}


def test_nine_firings_on_repeated_tokens_and_many_on_single_ones_are_too_few():
    n = 400
    token = np.where(np.arange(n) % 4 == 0, 1000 + np.arange(n), np.arange(n) % 4)
    halves = make_halves(np.repeat([0, 1], n // 2), {"token": token}, positions=10)
    single, repeated = (np.flatnonzero((token >= 1000) == kind) for kind in (True, False))
    nine, ten = (
        firing_at([*single, *repeated[repeated < 200][:k], *repeated[repeated >= 200][:k]]) for k in (9, 10)
    )
    layer = prepare_layer(sp.csr_array(np.stack([nine, ten], axis=1)), halves, floors=FLOORS)
    assert layer.eligibility.eligible.tolist() == [False, True]


@pytest.mark.parametrize(("floor", "passes"), [(0.99, True), (1.01, False)])
def test_the_floor_on_variance_within_the_token_is_a_share_of_the_variance_of_each_half(floor, passes):
    data = streams(seed=0, n_latents=1, token_latents=1)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    shares = []
    for half in halves:
        z, token = data.a.toarray()[half.rows, 0], data.groups["token"][half.rows]
        within = sum(((z[token == t] - z[token == t].mean()) ** 2).sum() for t in np.unique(token))
        shares.append(within / ((z - z.mean()) ** 2).sum())
    layer = prepare_layer(data.a, halves, floors=Floors(5, 0.5, floor * min(shares)))
    assert layer.eligibility.eligible.tolist() == [passes]
    if passes:
        assert min(shares) < layer.eligibility.context_share < max(shares)


def test_dense_latents_and_latents_that_the_token_determines_are_left_out():
    rng = np.random.default_rng(2)
    dense = lambda token, t: rng.random(len(t)) + 0.1  # noqa: E731
    of_token = lambda token, t: (token == 1) * 1.0  # noqa: E731
    nearly = lambda token, t: (token == 1) * (1 + 0.05 * rng.random(len(t)))  # noqa: E731
    contextual = lambda token, t: (t % 5 == 0) * (rng.random(len(t)) + 0.5)  # noqa: E731
    layer = prepare_layer(*columns(dense, of_token, nearly, contextual), floors=FLOORS)
    assert layer.eligibility.eligible.tolist() == [False, False, False, True]
    assert layer.eligibility.context_share == pytest.approx(1.0, abs=0.05)


def test_mass_share_is_the_share_of_activation_on_eligible_latents():
    data = streams(seed=0, n_latents=10)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    layer = prepare_layer(data.a, halves, floors=FLOORS)
    mass = np.asarray(data.a.sum(axis=0)).ravel()
    expected = mass[layer.eligibility.eligible].sum() / mass.sum()
    assert layer.eligibility.mass_share == pytest.approx(expected)


def test_decoder_rows_of_eligible_latents_are_of_unit_norm():
    data = streams(seed=0, n_latents=10)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    decoder = np.random.default_rng(0).standard_normal((10, 7)).astype(np.float32) * 3
    layer = prepare_layer(data.a, halves, floors=FLOORS, decoder=decoder)
    assert layer.decoder is not None and layer.decoder.shape == (layer.n_eligible, 7)
    np.testing.assert_allclose(np.linalg.norm(layer.decoder, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_signed_or_infinite_latents_are_refused(bad):
    data = streams(seed=0, n_latents=4)
    latents = data.a.copy()
    latents.data[3] = bad
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    with pytest.raises(ValueError, match="latents: expected finite non-negative latents, got"):
        prepare_layer(latents, halves, floors=FLOORS)


def test_a_decoder_of_another_width_is_refused():
    data = streams(seed=0, n_latents=4)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    with pytest.raises(ValueError, match="expected 4 rows, one a latent, got 5"):
        prepare_layer(data.a, halves, floors=FLOORS, decoder=np.ones((5, 3)))


def test_without_an_eligible_latent_shares_are_undefined():
    data = streams(seed=0, n_latents=4)
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    layer = prepare_layer(data.a, halves, floors=Floors(10**6, 0.5, 0.01))
    assert (layer.n_eligible, layer.eligibility.context_share, layer.eligibility.mass_share) == (0, None, 0.0)
