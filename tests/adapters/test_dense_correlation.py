"""Candidates by dense products in torch, on the CPU: the same code as on a GPU, but for TF32."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from saeuniv.adapters import dense_correlation
from saeuniv.adapters.dense_correlation import SLACK, block_width, tf32, top_correlations_dense
from saeuniv.numerics.candidates import candidates_of
from saeuniv.numerics.top_correlations import top_correlations

ROWS = 103


def latents(seed, n_latents, *, rows=ROWS, rate=0.2):
    rng = np.random.default_rng(seed)
    return (rng.random((rows, n_latents)) < rate) * rng.lognormal(sigma=0.5, size=(rows, n_latents))


def top(a, b, *, top_m=4, rows_per_chunk=25, max_bytes=1 << 20, device="cpu"):
    return top_correlations_dense(
        sp.csr_array(a),
        sp.csr_array(b),
        top_m=top_m,
        device=device,
        rows_per_chunk=rows_per_chunk,
        max_bytes=max_bytes,
    )


def pearson(a, b):
    """The slow oracle."""
    return np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]


def bytes_for(a, b, *, width, top_m=4, rows_per_chunk=25):
    """The least memory at which `width` latents of A are correlated at once."""
    sizes = {"kept": top_m + SLACK, "rows_per_chunk": rows_per_chunk}
    with pytest.raises(ValueError, match="expected at least") as refused:
        block_width(a.shape[1], b.shape[1], **sizes, max_bytes=0)
    least = int(str(refused.value).split("at least ")[1].split(" ")[0])
    enough = least + (width - 1) * 4 * (b.shape[1] + rows_per_chunk)
    assert block_width(a.shape[1], b.shape[1], **sizes, max_bytes=enough) == width
    assert width == 1 or block_width(a.shape[1], b.shape[1], **sizes, max_bytes=enough - 1) == width - 1
    return enough


def assert_same(found, expected, tolerance=1e-12):
    for index in ("index_a", "index_b"):
        np.testing.assert_array_equal(getattr(found, index), getattr(expected, index))
        assert getattr(found, index).dtype == np.int32
    for similarity in ("similarity_a", "similarity_b"):
        np.testing.assert_allclose(getattr(found, similarity), getattr(expected, similarity), atol=tolerance)


@pytest.mark.parametrize("rows_per_chunk", [1, 25, ROWS, 1000])
@pytest.mark.parametrize("width", [1, 7, 30])
def test_candidates_are_those_of_the_dense_definition_whatever_the_blocks_and_chunks(width, rows_per_chunk):
    a, b = latents(0, 30), latents(1, 41)
    b[:, :20] += a[:, :20] * 0.7
    chunk = min(rows_per_chunk, ROWS)
    found = top(
        a,
        b,
        rows_per_chunk=rows_per_chunk,
        max_bytes=bytes_for(a, b, width=width, rows_per_chunk=chunk),
    )
    assert_same(found, candidates_of(pearson(a, b), top_m=4))


def test_candidates_are_those_of_the_sparse_kernel():
    a, b = (sp.csr_array(latents(seed, 50, rows=600, rate=0.05)) for seed in (14, 15))
    sparse = top_correlations(sp.csc_array(a), b, top_m=6)
    assert_same(top(a, b, top_m=6, rows_per_chunk=128), sparse)


def test_a_latent_and_its_copy_correlate_exactly_one():
    a = latents(2, 12)
    found = top(a, 3.0 * a[:, ::-1], top_m=1)
    np.testing.assert_array_equal(found.index_a[:, 0], np.arange(12)[::-1])
    np.testing.assert_allclose(found.similarity_a, 1.0, atol=1e-12)
    assert found.similarity_a.max() <= 1.0


def test_latents_that_never_fire_together_are_listed_with_their_negative_correlation():
    a, b = np.zeros((2, 40, 3))
    for latent in range(3):
        a[latent * 5 : latent * 5 + 5, latent] = 1.0
        b[20 + latent * 3 : 23 + latent * 3 + latent, latent] = 2.0
    found = top(a, b, top_m=3)
    assert (found.similarity_a < 0).all()
    assert_same(found, candidates_of(pearson(a, b), top_m=3))


def test_latents_without_variance_have_no_partner_and_are_nobodys():
    a, b = latents(3, 8), latents(4, 6)
    a[:, 2], a[:, 5] = 0.0, 1.7
    b[:, 0], b[:, 3] = 0.1, 0.0
    live_a, live_b = [0, 1, 3, 4, 6, 7], [1, 2, 4, 5]
    found = top(a, b, top_m=5)
    assert (found.index_a[[2, 5]] == -1).all() and (found.index_b[[0, 3]] == -1).all()
    assert (found.similarity_a[[2, 5]] == -np.inf).all()
    expected = candidates_of(pearson(a[:, live_a], b[:, live_b]), top_m=5)
    np.testing.assert_array_equal(found.index_a[live_a, :4], np.array(live_b)[expected.index_a[:, :4]])
    np.testing.assert_array_equal(found.index_b[live_b], np.array(live_a)[expected.index_b])
    assert (found.index_a[:, 4] == -1).all() and (found.similarity_a[:, 4] == -np.inf).all()


def test_dead_latents_do_not_crowd_out_partners_of_negative_correlation():
    a, b = np.zeros((60, 50)), np.zeros((60, 50))
    a[:5, 0], a[5:12, 49], b[20:25, 48], b[30:40, 49] = 1.0, 1.0, 1.0, 1.0
    found = top(a, b, top_m=1)
    expected = candidates_of(pearson(a[:, [0, 49]], b[:, [48, 49]]), top_m=1)
    assert found.index_a[[0, 49], 0].tolist() == [48, 48]
    np.testing.assert_allclose(found.similarity_a[[0, 49]], expected.similarity_a)
    np.testing.assert_allclose(found.similarity_b[[48, 49]], expected.similarity_b)


def test_equal_latents_come_in_ascending_order_on_both_sides():
    a = np.repeat(latents(5, 4), 3, axis=1)
    found = top(a, a, top_m=3, max_bytes=bytes_for(a, a, width=5, top_m=3))
    for latent in range(12):
        first = latent - latent % 3
        assert found.index_a[latent].tolist() == [first, first + 1, first + 2]
        assert found.index_b[latent].tolist() == [first, first + 1, first + 2]


def test_tf32_keeps_ten_bits_and_rounds_to_nearest():
    values = np.random.default_rng(8).lognormal(sigma=3, size=1000).astype(np.float32)
    rounded = tf32(values)
    relative = np.abs(rounded - values) / values
    assert 2.0**-12 < relative.max() <= 2.0**-11
    assert (rounded.view(np.uint32) & 0x1FFF == 0).all()
    assert abs((rounded / values - 1).mean()) < 2.0**-15
    np.testing.assert_array_equal(tf32(-values), -rounded)


def test_what_tf32_finds_is_evaluated_again_exactly(monkeypatch):
    """Inputs of 10 bits err by 1e-4 and reorder partners; the slack and float64 put them right."""
    original = dense_correlation._side
    monkeypatch.setattr(
        dense_correlation, "_side", lambda matrix, moments, rounded: original(matrix, moments, rounded=True)
    )
    a, b = latents(9, 40, rows=400), latents(10, 60, rows=400)
    b[:, :30] += a[:, :30]
    a[:, 39], b[:, 59] = 50 + a[:, 39], 50 + a[:, 39] + b[:, 59]
    exact = candidates_of(pearson(a, b), top_m=4)
    assert_same(top(a, b, rows_per_chunk=90), exact)
    monkeypatch.setattr(dense_correlation, "SLACK", 0)
    assert_same(top(a, b, rows_per_chunk=90, top_m=60), candidates_of(pearson(a, b), top_m=60))


def test_the_dense_pass_errs_less_than_stated():
    a, b = latents(11, 20, rows=3000), latents(12, 20, rows=3000)
    b += 0.5 * a
    a[:, 3] = 10 + np.random.default_rng(13).standard_normal(3000)
    a, b = sp.csr_array(a), sp.csr_array(b)
    truth = pearson(a.toarray(), b.toarray())
    for rounded, bound in ((False, 5e-6), (True, 1e-3)):
        sides = [
            dense_correlation._side(each, dense_correlation._moments(each, "x"), rounded=rounded)
            for each in (a, b)
        ]
        r = dense_correlation._block(*sides, slice(3, 17), chunk=700, device=torch.device("cpu")).numpy()
        assert np.abs(r - truth[3:17]).max() < bound


@pytest.fixture(params=[False, True])
def tf32_setting(request):
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = request.param
    yield request.param
    matmul.allow_tf32 = before


def test_the_setting_of_tf32_is_left_as_it_was(tf32_setting):
    matmul = torch.backends.cuda.matmul
    top(latents(0, 3), latents(1, 3))
    assert matmul.allow_tf32 == tf32_setting
    with pytest.raises(RuntimeError), dense_correlation._tf32_allowed():
        assert matmul.allow_tf32
        raise RuntimeError
    assert matmul.allow_tf32 == tf32_setting


def test_a_gpu_that_is_not_there_is_refused_with_what_to_choose(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device=cuda: this torch sees no GPU; choose device=cpu\."):
        top(latents(0, 3), latents(1, 3), device="cuda")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"top_m": 0}, r"top_m=0: expected at least 1"),
        ({"rows_per_chunk": 0}, r"rows_per_chunk=0: expected at least 1"),
        ({"device": "abacus"}, r"device=abacus: expected cuda, cuda:<number> or cpu, got 'abacus'"),
        ({"max_bytes": 100}, r"max_bytes=100: expected at least \d+ for one latent of A beside 25 rows of 6"),
    ],
)
def test_what_cannot_be_is_refused(fault, message):
    with pytest.raises(ValueError, match=message):
        top(latents(0, 5), latents(1, 6), **fault)


def test_rows_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"b: expected 103 rows, those of a, got 100"):
        top(latents(0, 5), latents(1, 5, rows=100))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_the_first_value_that_no_latent_has_is_named(value):
    b = latents(1, 5)
    b[17, 3] = value
    with pytest.raises(ValueError, match=rf"b: expected finite non-negative .* {value} at row 17, latent 3"):
        top(latents(0, 5), b)
