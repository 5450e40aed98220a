import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.streaming import TokenChunk, streamed_top_correlations
from saeuniv.numerics.top_correlations import top_correlations

ROW = 48 * 8
"""totals of one latent with at most 48"""


def sides(seed, rows=120, n_a=25, n_b=37):
    rng = np.random.default_rng(seed)
    density = rng.random() * 0.4
    return [
        sp.csr_array(rng.lognormal(size=(rows, n)) * (rng.random((rows, n)) < density)) for n in (n_a, n_b)
    ]


def cut(a, b, places):
    bounds = [0, *sorted(places), a.shape[0]]
    return [TokenChunk(a[i:j], b[i:j]) for i, j in itertools.pairwise(bounds)]


def streamed(chunks, *, n_a=25, n_b=37, top_m=4, max_bytes=7 * ROW, double=True) -> Candidates:
    return streamed_top_correlations(
        lambda: iter(chunks), n_a=n_a, n_b=n_b, top_m=top_m, max_bytes=max_bytes, double=double
    )


def assert_equal(got: Candidates, expected: Candidates, atol=1e-10) -> None:
    np.testing.assert_allclose(got.similarity_a, expected.similarity_a, atol=atol)
    np.testing.assert_allclose(got.similarity_b, expected.similarity_b, atol=atol)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    places=st.lists(st.integers(0, 120), max_size=8),
    rows_in_memory=st.integers(1, 30),
    top_m=st.integers(1, 40),
)
def test_how_tokens_are_cut_changes_nothing(seed, places, rows_in_memory, top_m):
    a, b = sides(seed)
    expected = top_correlations(a.tocsc(), b, top_m=top_m)
    got = streamed(cut(a, b, places), top_m=top_m, max_bytes=rows_in_memory * ROW)
    assert_equal(got, expected)
    # Each listed partner has the similarity it is listed with.
    both = np.full((26, 38), -np.inf)
    everything = top_correlations(a.tocsc(), b, top_m=37)
    np.put_along_axis(both[:25], everything.index_a, everything.similarity_a, axis=1)
    listed = np.isfinite(got.similarity_a)
    found = np.take_along_axis(both[:25], got.index_a, axis=1)
    np.testing.assert_allclose(got.similarity_a[listed], found[listed], atol=1e-10)


def test_one_token_a_chunk_and_empty_chunks_change_nothing():
    a, b = sides(1)
    chunks = cut(a, b, [0, 0, *range(120), 120, 120])
    assert_equal(streamed(chunks), top_correlations(a.tocsc(), b, top_m=4))


def test_a_large_mean_does_not_cancel():
    rng = np.random.default_rng(2)
    a, b = (sp.csr_array(1000 + rng.random((200, n))) for n in (5, 6))
    got = streamed(cut(a, b, [13, 150]), n_a=5, n_b=6)
    assert_equal(got, top_correlations(a.tocsc(), b, top_m=4), atol=1e-7)


def test_a_latent_that_is_constant_over_all_chunks_is_nobodys_partner():
    a, b = sides(3)
    dense = a.toarray()
    dense[:, 2] = 0.3
    got = streamed(cut(sp.csr_array(dense), b, [7, 50, 90]))
    assert (got.index_a[2] == -1).all()
    assert not (got.index_b == 2).any()
    # Negative control: constant in each chunk but not over them.
    dense[:50, 2] = 0.4
    assert (streamed(cut(sp.csr_array(dense), b, [50])).index_a[2] >= 0).all()


def test_ties_go_to_the_lower_index_across_blocks():
    a, _ = sides(4)
    same = sp.csr_array(np.tile(a.toarray()[:, :1], (1, 25)))
    got = streamed(cut(same, same, [30]), n_b=25, max_bytes=ROW)
    assert (got.index_a == [0, 1, 2, 3]).all()
    assert (got.index_b == [0, 1, 2, 3]).all()


def test_float32_totals_need_half_of_the_memory():
    a, b = sides(5)
    got = streamed(cut(a, b, [40]), double=False, max_bytes=ROW // 2)
    assert_equal(got, top_correlations(a.tocsc(), b, top_m=4), atol=1e-6)


def test_no_tokens_and_no_latents_give_no_partners():
    empty = TokenChunk(sp.csr_array((0, 25)), sp.csr_array((0, 37)))
    for chunks in ([], [empty], [empty, empty]):
        assert (streamed(chunks).index_a == -1).all()
    nobody = TokenChunk(sp.csr_array((4, 0)), sp.csr_array((4, 0)))
    assert streamed([nobody], n_a=0, n_b=0).index_a.shape == (0, 4)


def test_memory_stays_within_its_bound():
    rng = np.random.default_rng(6)
    n, rows = 2000, 400
    whole = [sp.csr_array(sp.random(rows, n, 0.01, random_state=rng)) for _ in range(2)]
    for side in whole:
        side.sort_indices()
    chunks = cut(*whole, range(20, rows, 20))
    streamed(chunks[:2], n_a=n, n_b=n, max_bytes=10**6)
    limit, top_m = 2_000_000, 5
    tracemalloc.start()
    try:
        streamed(chunks, n_a=n, n_b=n, top_m=top_m, max_bytes=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    candidates, latents = 2 * n * top_m * 12, 2 * n * 100
    chunk = 2 * 20 * n * 0.02 * 28
    assert peak < limit + candidates + latents + chunk + 50_000
    # All totals at once would be 32 MB.
    assert peak > limit


def test_less_than_one_row_of_totals_is_refused():
    with pytest.raises(ValueError, match=r"max_bytes=383: expected at least 384, .* got 383"):
        streamed([], max_bytes=383)
    with pytest.raises(ValueError, match="top_m=0: expected at least 1"):
        streamed([], top_m=0)


def test_a_bad_chunk_is_named():
    a, b = sides(7)
    good = TokenChunk(a, b)
    broken = a.copy()
    broken.data[0] = np.nan
    place = f"row 0, latent {broken.indices[0]}"
    with pytest.raises(ValueError, match=f"chunk 1, a: .* got nan at {place}"):
        streamed([good, TokenChunk(broken, b)])
    with pytest.raises(ValueError, match="chunks: expected n_b=37 latents, got 25 in chunk 1"):
        streamed([good, TokenChunk(a, a)])
    with pytest.raises(ValueError, match="b: expected 120 rows, those of a, got 3"):
        streamed([TokenChunk(a, b[:3])])


def test_chunks_that_change_between_calls_are_refused():
    a, b = sides(8)
    calls = iter([[TokenChunk(a, b)], [TokenChunk(a[:50], b[:50])]])
    with pytest.raises(ValueError, match="chunks: expected the 120 rows of the first call, got 50"):
        streamed_top_correlations(lambda: next(calls), n_a=25, n_b=37, top_m=1, max_bytes=100_000)
