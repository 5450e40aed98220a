import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.correlation import Evidence, candidates, document_sums, pair_correlations
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rows import make_halves
from tests.synthetic import dense_partial, streams

LOOSE = Floors(min_firings=1, max_rate=1.0, min_within_share=1e-9)


def prepared(data, floors=LOOSE):
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    return prepare_layer(data.a, halves, floors=floors), prepare_layer(data.b, halves, floors=floors)


def all_pairs(a, b, condition):
    """r_w of every latent of A with every latent of B, pair by pair."""
    index_a, index_b = np.divmod(np.arange(a.n_latents * b.n_latents), b.n_latents)
    return pair_correlations(a, b, index_a, index_b, condition).reshape(a.n_latents, b.n_latents)


def listed(found):
    """The matrix that candidates list row by row; NaN where they list nothing."""
    matrix = np.full((found.n_a, found.n_b), np.nan)
    for row, (index, similarity) in enumerate(zip(found.index_a, found.similarity_a, strict=True)):
        matrix[row, index[index >= 0]] = similarity[index >= 0]
    return matrix


@pytest.mark.parametrize("condition", ["none", "token", "token_bigram", "token_trigram"])
def test_correlation_within_groups_equals_the_dense_definition(condition):
    data = streams(seed=1, shared=5, token_latents=5)
    a, b = prepared(data)
    for x, y in zip(a.halves, b.halves, strict=True):
        labels = {"none": np.zeros(len(data.documents), int), **data.groups}[condition][x.half.rows]
        expected = dense_partial(x.matrix.toarray(), y.matrix.toarray(), labels)
        np.testing.assert_allclose(all_pairs(x, y, condition), expected, atol=1e-9)
        found = listed(candidates(x, y, Evidence("pearson", condition), top_m=y.n_latents))
        if condition != "none":
            # Zeros and negative ones are not looked for within groups.
            expected = np.where(expected > 1e-9, expected, np.nan)
            found = np.where(found > 1e-9, found, np.nan)
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("shift", [0, 7])
def test_phi_is_the_correlation_of_firing_and_jaccard_the_share_of_common_firings(shift):
    data = streams(seed=6, shared=5)
    a, b = (side.halves[0] for side in prepared(data))
    x = (a.matrix.toarray() > 0).astype(float)
    y = np.roll((b.matrix.toarray() > 0).astype(float), -shift * data.positions, axis=0)
    phi = listed(candidates(a, b, Evidence("phi", "none"), top_m=b.n_latents, shift=shift))
    np.testing.assert_allclose(phi, np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :], atol=1e-10)
    given = listed(candidates(a, b, Evidence("phi", "token"), top_m=b.n_latents, shift=shift))
    expected = dense_partial(x, y, a.half.groups["token"].ids)
    np.testing.assert_allclose(np.nan_to_num(given), np.maximum(expected, 0), atol=1e-9)
    both, either = x.T @ y, x.sum(axis=0)[:, None] + y.sum(axis=0) - x.T @ y
    jaccard = listed(candidates(a, b, Evidence("jaccard", "none"), top_m=b.n_latents, shift=shift))
    np.testing.assert_allclose(np.nan_to_num(jaccard), both / either, atol=1e-12)


def test_evidence_that_is_not_known_is_refused():
    a, b = (side.halves[0] for side in prepared(streams(seed=6)))
    with pytest.raises(ValueError, match="expected pearson, phi or jaccard, got spearman"):
        candidates(a, b, Evidence("spearman", "none"), top_m=1)
    with pytest.raises(ValueError, match="jaccard is not taken within groups, got token; use none"):
        candidates(a, b, Evidence("jaccard", "token"), top_m=1)


@pytest.mark.parametrize("condition", ["none", "token"])
def test_a_shift_pairs_rows_of_a_with_later_rows_of_b_under_the_labels_of_a(condition):
    data = streams(seed=7, shared=4, n_documents=40, n_latents=12)
    a, b = (side.halves[0] for side in prepared(data))
    labels = a.half.groups[condition].ids
    for shift in (1, 5, 20):
        moved = np.roll(b.matrix.toarray(), -shift * data.positions, axis=0)
        expected = dense_partial(a.matrix.toarray(), moved, labels)
        found = listed(candidates(a, b, Evidence("pearson", condition), top_m=b.n_latents, shift=shift))
        np.testing.assert_allclose(np.nan_to_num(found).clip(0), expected.clip(0), atol=1e-9)


def test_without_a_condition_it_is_pearsons_r():
    data = streams(seed=2)
    a, b = (side.halves[0] for side in prepared(data))
    r = all_pairs(a, b, "none")
    both = np.corrcoef(a.matrix.toarray().T, b.matrix.toarray().T)[: a.n_latents, a.n_latents :]
    np.testing.assert_allclose(r, both, atol=1e-10)


def test_a_latent_is_perfectly_correlated_with_itself_and_with_a_multiple():
    data = streams(seed=3)
    a, _ = prepared(data._replace(b=data.a))
    half = a.halves[0]
    for condition in ("none", "token", "token_bigram"):
        r = all_pairs(half, half, condition)
        np.testing.assert_allclose(np.diag(r), 1.0, atol=1e-12)
    scaled = prepare_layer(sp.csr_array(data.a * 3.0), tuple(each.half for each in a.halves), floors=LOOSE)
    r = all_pairs(half, scaled.halves[0], "token")
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
        before = all_pairs(x, y, "token")
        x, y = (
            prepare_layer(sp.csr_array(np.vstack([z, rare])), more, floors=LOOSE).halves[side] for z in (a, b)
        )
        np.testing.assert_allclose(all_pairs(x, y, "token"), before, atol=1e-10)


def test_agreement_through_the_token_alone_vanishes_given_the_token_but_not_without():
    data = streams(seed=4, n_documents=200, token_latents=8, shared=0)
    a, b = (side.halves[0] for side in prepared(data))
    partners = data.permutation[:8]
    raw = all_pairs(a, b, "none")[np.arange(8), partners]
    partial = all_pairs(a, b, "token")[np.arange(8), partners]
    assert raw.min() > 0.7
    assert np.abs(partial).max() < 0.25


def test_a_latent_without_variance_left_correlates_zero():
    token = np.tile(np.repeat(np.arange(2), 5), 4)
    fires = (token == 1).astype(float)[:, None]
    halves = make_halves(np.repeat([0, 1], 20), {"token": token}, positions=10)
    layer = prepare_layer(sp.csr_array(fires), halves, floors=Floors(1, 1.0, 0.0))
    half = layer.halves[0]
    assert all_pairs(half, half, "token").tolist() == [[0.0]]
    assert all_pairs(half, half, "none") == pytest.approx(np.ones((1, 1)))


def test_unrelated_latents_correlate_zero_on_average():
    data = streams(seed=5, n_documents=300)
    a, b = (side.halves[0] for side in prepared(data))
    r = all_pairs(a, b, "token")
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
    assert sums.shape == (4, len(a.half.rows_per_document))
    for document in range(sums.shape[1]):
        chosen = a.half.documents == document
        expected = (x[chosen][:, index_a] * y[chosen][:, index_b]).sum(axis=0)
        np.testing.assert_allclose(sums[:, document], expected, atol=1e-9)
    squares = document_sums(a, a, index_a, index_a, condition)
    np.testing.assert_allclose(squares.sum(axis=1), a.norms(condition)[index_a] ** 2, atol=1e-9)


def _residual(z, labels):
    z = z.copy()
    for label in np.unique(labels):
        z[labels == label] -= z[labels == label].mean(axis=0)
    return z


def test_float32_latents_are_multiplied_in_float64():
    data = streams(seed=9, shared=10)
    narrow = data._replace(a=data.a.astype(np.float32), b=data.b.astype(np.float32))
    wide = narrow._replace(a=narrow.a.astype(np.float64), b=narrow.b.astype(np.float64))
    for condition in ("none", "token"):
        r = [all_pairs(*(side.halves[0] for side in prepared(each)), condition) for each in (narrow, wide)]
        np.testing.assert_allclose(*r, rtol=0, atol=1e-14)
        kept = [
            listed(
                candidates(
                    *(side.halves[0] for side in prepared(each)), Evidence("pearson", condition), top_m=30
                )
            )
            for each in (narrow, wide)
        ]
        np.testing.assert_allclose(*kept, rtol=0, atol=1e-12)


def test_the_matrix_of_a_search_that_leaves_none_out_is_every_r_and_0_for_constant_latents():
    data = streams(seed=3)
    a, b = (each.halves[0] for each in prepared(data))
    found = candidates(a, b, Evidence("pearson", "none"), top_m=a.n_latents)
    np.testing.assert_allclose(found.matrix(), all_pairs(a, b, "none"), atol=1e-9)
    index_b = found.index_b.copy()
    index_b[1] = -1
    left_out = found._replace(index_b=index_b).matrix()
    assert not left_out[:, 1].any() and left_out[:, 0].any()
