"""The split of a raw correlation into token identity and the rest is exact, and its ceiling is reached."""

import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.numerics.group_sums import GroupSums, group_sums
from saeuniv.numerics.identity import token_identity_ceiling, token_identity_split

ROWS, GROUPS, LATENTS = 600, 25, 8
ALL = np.arange(LATENTS)


def tokens(rng, rows=ROWS, groups=GROUPS):
    """Zipf tokens, every group seen; several once."""
    weights = 1 / np.arange(1, groups + 1) ** 1.5
    return np.concatenate([np.arange(groups), rng.choice(groups, rows - groups, p=weights / weights.sum())])


def latents(rng, ids, *, token_share=0.5, columns=LATENTS):
    """Sparse latents whose rate depends on the token to some degree."""
    by_token = rng.random((ids.max() + 1, columns)) ** 3
    rate = token_share * by_token[ids] + (1 - token_share) * 0.2
    return (rng.random((len(ids), columns)) < rate) * rng.lognormal(size=(len(ids), columns))


def summed(dense, ids) -> tuple[GroupSums, np.ndarray]:
    counts = np.bincount(ids).astype(float)
    return group_sums(sp.csc_array(dense), ids, counts), counts


def dense_within(a, b, ids):
    """r_w by its definition: columns less their mean within each token, correlated."""
    x, y = (z - np.array([z[ids == v].mean(axis=0) for v in range(ids.max() + 1)])[ids] for z in (a, b))
    return x.T @ y / np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))


@pytest.fixture(params=range(4))
def data(request):
    rng = np.random.default_rng(request.param)
    ids = tokens(rng)
    return latents(rng, ids), latents(rng, ids, token_share=0.9), ids


def test_raw_correlation_is_the_sum_of_both_parts(data):
    a, b, ids = data
    (sums_a, counts), (sums_b, _) = summed(a, ids), summed(b, ids)
    index_a, index_b = map(np.ravel, np.meshgrid(ALL, ALL, indexing="ij"))
    split = token_identity_split(sums_a, sums_b, counts, index_a=index_a, index_b=index_b)
    raw = np.corrcoef(a.T, b.T)[:LATENTS, LATENTS:].ravel()
    within = dense_within(a, b, ids).ravel()
    np.testing.assert_allclose(split.raw(within), raw, rtol=0, atol=1e-12)
    assert np.abs(split.between - raw).max() > 0.01


def test_the_between_part_is_the_covariance_of_group_means_and_contexts_are_variance_shares(data):
    a, b, ids = data
    (sums_a, counts), (sums_b, _) = summed(a, ids), summed(b, ids)
    split = token_identity_split(sums_a, sums_b, counts, index_a=ALL, index_b=ALL[::-1])
    means_a, means_b = (np.array([z[ids == v].mean(axis=0) for v in range(GROUPS)])[ids] for z in (a, b))
    for pair, (i, j) in enumerate(zip(ALL, ALL[::-1], strict=True)):
        covariance = np.cov(means_a[:, i], means_b[:, j], ddof=0)[0, 1]
        assert split.between[pair] == pytest.approx(covariance / (a[:, i].std() * b[:, j].std()), abs=1e-12)
        share = (a[:, i] - means_a[:, i]).var() / a[:, i].var()
        assert split.context_a[pair] == pytest.approx(share, abs=1e-12)


def test_latents_that_the_token_determines_have_no_context_and_a_latent_with_itself_is_one():
    rng = np.random.default_rng(5)
    ids = tokens(rng)
    a = rng.random((GROUPS, LATENTS))[ids] * (rng.random((GROUPS, LATENTS)) < 0.5)[ids]
    sums, counts = summed(a, ids)
    split = token_identity_split(sums, sums, counts, index_a=ALL, index_b=ALL)
    np.testing.assert_allclose(split.between, 1.0, atol=1e-12)
    assert not split.context_a.any() and not split.context_b.any()
    np.testing.assert_allclose(token_identity_ceiling(sums, counts, adjusted=False), 1.0)


def test_one_group_of_all_rows_leaves_nothing_between():
    rng = np.random.default_rng(6)
    ids = np.zeros(ROWS, np.int64)
    sums, counts = summed(latents(rng, ids), ids)
    split = token_identity_split(sums, sums, counts, index_a=ALL, index_b=ALL)
    np.testing.assert_allclose(split.between, 0.0, atol=1e-12)
    np.testing.assert_allclose(split.context_a, 1.0, atol=1e-12)
    np.testing.assert_allclose(token_identity_ceiling(sums, counts, adjusted=False), 0.0, atol=1e-6)


def test_the_split_ignores_scale_and_the_order_of_rows_but_not_the_labels(data):
    a, b, ids = data
    rng = np.random.default_rng(7)
    order = rng.permutation(ROWS)

    def split(a, b, ids):
        (sums_a, counts), (sums_b, _) = summed(a, ids), summed(b, ids)
        return np.array(token_identity_split(sums_a, sums_b, counts, index_a=ALL, index_b=ALL))

    before = split(a, b, ids)
    scaled = split(a[order] * rng.lognormal(sigma=4, size=LATENTS), b[order], ids[order])
    np.testing.assert_allclose(scaled, before, atol=1e-12)
    assert np.abs(split(a, b, ids[order]) - before).max() > 0.05


def test_many_pairs_are_the_same_in_any_blocks(data):
    a, b, ids = data
    (sums_a, counts), (sums_b, _) = summed(a, ids), summed(b, ids)
    index_a, index_b = np.random.default_rng(8).integers(LATENTS, size=(2, 3000))
    many = token_identity_split(sums_a, sums_b, counts, index_a=index_a, index_b=index_b)
    each = token_identity_split(sums_a, sums_b, counts, index_a=index_a[-5:], index_b=index_b[-5:])
    np.testing.assert_array_equal(many.between[-5:], each.between)
    none = token_identity_split(sums_a, sums_b, counts, index_a=index_a[:0], index_b=index_b[:0])
    assert len(none.between) == 0


def test_silent_and_constant_latents_score_zero():
    rng = np.random.default_rng(9)
    ids = tokens(rng)
    dense = latents(rng, ids)
    dense[:, 0], dense[:, 1] = 0.0, 0.1
    sums, counts = summed(dense, ids)
    split = token_identity_split(sums, sums, counts, index_a=ALL[:2], index_b=ALL[2:4])
    assert not split.between.any() and not split.context_a.any() and split.context_b.all()
    assert not token_identity_ceiling(sums, counts, adjusted=False)[:2].any()


def test_the_ceiling_is_what_the_best_function_of_the_token_reaches(data):
    a, _, ids = data
    sums, counts = summed(a, ids)
    ceiling = token_identity_ceiling(sums, counts, adjusted=False)
    one_hot = np.eye(GROUPS)[ids]
    for latent in ALL:
        fitted = one_hot @ np.linalg.lstsq(one_hot, a[:, latent], rcond=None)[0]
        assert ceiling[latent] == pytest.approx(np.corrcoef(fitted, a[:, latent])[0, 1], abs=1e-10)
        others = np.random.default_rng(10).standard_normal((GROUPS, 50))[ids]
        assert np.corrcoef(a[:, latent], others.T)[0, 1:].max() < ceiling[latent]


def test_unrelated_latents_reach_their_degrees_of_freedom_in_sample_and_zero_adjusted():
    rng = np.random.default_rng(11)
    ids = tokens(rng, rows=400, groups=100)
    a = latents(rng, ids, token_share=0.0, columns=300)
    sums, counts = summed(a, ids)
    squared = token_identity_ceiling(sums, counts, adjusted=False) ** 2
    assert squared.mean() == pytest.approx(99 / 399, abs=0.01)
    adjusted = token_identity_ceiling(sums, counts, adjusted=True)
    unclipped = 1 - (1 - squared) * 399 / 300
    assert unclipped.mean() == pytest.approx(0.0, abs=0.015)
    np.testing.assert_allclose(adjusted**2, np.maximum(unclipped, 0.0), atol=1e-12)
    # Where the token matters, little is taken off.
    token_only = rng.random((100, 1))[ids]
    np.testing.assert_allclose(token_identity_ceiling(*summed(token_only, ids), adjusted=True), 1.0)


def test_what_does_not_fit_the_sums_is_refused_with_the_position():
    rng = np.random.default_rng(12)
    ids = tokens(rng)
    sums, counts = summed(latents(rng, ids), ids)
    with pytest.raises(ValueError, match=r"index_b: expected latents 0\.\.7, got 8 at \[1\]"):
        token_identity_split(sums, sums, counts, index_a=ALL[:2], index_b=np.array([7, 8]))
    with pytest.raises(
        ValueError, match=r"counts: expected a count for every group.* got 3 counts and group"
    ):
        token_identity_ceiling(sums, counts[:3], adjusted=False)
    once = np.arange(ROWS)
    with pytest.raises(ValueError, match="expected a group of two rows or more, got 600 groups in 600 rows"):
        token_identity_ceiling(*summed(latents(rng, once), once), adjusted=True)
