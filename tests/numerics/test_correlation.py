import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.correlation import document_sums, products, within_group_correlation
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import dense_partial, streams

LOOSE = Floors(min_firings=1, max_rate=1.0, min_within_share=1e-9)


def prepared(data, floors=LOOSE):
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    return prepare_layer(data.a, halves, floors=floors), prepare_layer(data.b, halves, floors=floors)


@pytest.mark.parametrize("condition", ["none", "token", "token_bigram", "token_trigram"])
def test_correlation_within_groups_equals_the_dense_definition(condition):
    data = streams(seed=1, shared=5, token_latents=5)
    a, b = prepared(data)
    for x, y in zip(a.halves, b.halves, strict=True):
        labels = {"none": np.zeros(len(data.documents), int), **data.groups}[condition][x.half.rows]
        expected = dense_partial(x.matrix.toarray(), y.matrix.toarray(), labels)
        got = within_group_correlation(x, y, condition, products(x, y))
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_without_a_condition_it_is_pearsons_r():
    data = streams(seed=2)
    a, b = (side.halves[0] for side in prepared(data))
    r = within_group_correlation(a, b, "none", products(a, b))
    both = np.corrcoef(a.matrix.toarray().T, b.matrix.toarray().T)[: a.n_latents, a.n_latents :]
    np.testing.assert_allclose(r, both, atol=1e-10)


def test_a_latent_is_perfectly_correlated_with_itself_and_with_a_multiple():
    data = streams(seed=3)
    a, _ = prepared(data._replace(b=data.a))
    half = a.halves[0]
    for condition in ("none", "token", "token_bigram"):
        r = within_group_correlation(half, half, condition, products(half, half))
        np.testing.assert_allclose(np.diag(r), 1.0, atol=1e-12)
    scaled = prepare_layer(sp.csr_array(data.a * 3.0), tuple(each.half for each in a.halves), floors=LOOSE)
    r = within_group_correlation(half, scaled.halves[0], "token", products(half, scaled.halves[0]))
    np.testing.assert_allclose(np.diag(r), 1.0, atol=1e-12)


def test_a_token_seen_once_changes_nothing_given_the_token():
    rng = np.random.default_rng(0)
    token = np.repeat(np.arange(10), 10)
    a, b = (rng.random((100, 3)) * (rng.random((100, 3)) < 0.5) for _ in range(2))
    once = np.array([9.0, 7.0, 5.0])
    with_single = dense_partial(np.vstack([a, once]), np.vstack([b, once]), np.append(token, 99))
    np.testing.assert_allclose(with_single, dense_partial(a, b, token), atol=1e-12)
    # The same through the sparse path: one more sequence of tokens all seen once.
    documents = np.repeat([0, 1], 50)
    halves = make_halves(documents, {"token": np.tile(np.repeat(np.arange(5), 10), 2)}, positions=10)
    more = make_halves(
        np.append(documents, np.full(10, 1)),
        {"token": np.append(np.tile(np.repeat(np.arange(5), 10), 2), np.arange(100, 110))},
        positions=10,
    )
    rare = rng.random((10, 3)) + 1
    for side in (0, 1):
        x, y = (prepare_layer(sp.csr_array(z), halves, floors=LOOSE).halves[side] for z in (a, b))
        before = within_group_correlation(x, y, "token", products(x, y))
        x, y = (
            prepare_layer(sp.csr_array(np.vstack([z, rare])), more, floors=LOOSE).halves[side] for z in (a, b)
        )
        np.testing.assert_allclose(
            within_group_correlation(x, y, "token", products(x, y)), before, atol=1e-10
        )


def test_agreement_through_the_token_alone_vanishes_given_the_token_but_not_without():
    data = streams(seed=4, n_documents=200, token_latents=8, shared=0)
    a, b = (side.halves[0] for side in prepared(data))
    cross = products(a, b)
    partners = data.permutation[:8]
    raw = within_group_correlation(a, b, "none", cross)[np.arange(8), partners]
    partial = within_group_correlation(a, b, "token", cross)[np.arange(8), partners]
    assert raw.min() > 0.7
    assert np.abs(partial).max() < 0.25


def test_a_latent_without_variance_left_correlates_zero():
    token = np.tile(np.repeat(np.arange(2), 5), 4)
    fires = (token == 1).astype(float)[:, None]
    halves = make_halves(np.repeat([0, 1], 20), {"token": token}, positions=10)
    layer = prepare_layer(sp.csr_array(fires), halves, floors=Floors(1, 1.0, 0.0))
    half = layer.halves[0]
    assert within_group_correlation(half, half, "token", products(half, half)).tolist() == [[0.0]]
    assert within_group_correlation(half, half, "none", products(half, half)) == pytest.approx(
        np.ones((1, 1))
    )


def test_unrelated_latents_correlate_zero_on_average():
    data = streams(seed=5, n_documents=300)
    a, b = (side.halves[0] for side in prepared(data))
    r = within_group_correlation(a, b, "token", products(a, b))
    assert abs(r.mean()) < 3 * r.std() / np.sqrt(r.size)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), condition=st.sampled_from(["none", "token", "token_bigram"]))
def test_document_sums_add_up_to_the_covariance_and_match_residual_products(seed, condition):
    data = streams(seed=seed, n_documents=8, n_latents=6, shared=2)
    a, b = (side.halves[0] for side in prepared(data))
    index_a, index_b = np.array([0, 1, 3, 3]), np.array([2, 2, 0, 5]) % b.n_latents
    index_a = index_a % a.n_latents
    sums = document_sums(a, b, index_a, index_b, condition)
    labels = {"none": np.zeros(len(data.documents), int), **data.groups}[condition][a.half.rows]
    x, y = (_residual(side.matrix.toarray(), labels) for side in (a, b))
    for document in range(len(sums)):
        chosen = a.half.documents == document
        expected = (x[chosen][:, index_a] * y[chosen][:, index_b]).sum(axis=0)
        np.testing.assert_allclose(sums[document], expected, atol=1e-9)
    squares = a.document_squares(condition)
    np.testing.assert_allclose(squares.sum(axis=0), a.norms(condition) ** 2, atol=1e-9)


def _residual(z, labels):
    z = z.copy()
    for label in np.unique(labels):
        z[labels == label] -= z[labels == label].mean(axis=0)
    return z
