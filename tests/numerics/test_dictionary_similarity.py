import numpy as np
import pytest

import saeuniv.numerics.product_candidates as product_candidates_module
from saeuniv.numerics.assignment import hungarian, mutual_nearest
from saeuniv.numerics.candidates import candidates_of
from saeuniv.numerics.dictionary_similarity import (
    DictionaryParameters,
    decoder_cosine_candidates,
    encoder_cosine_candidates,
    folded,
    folded_parameter_candidates,
)
from saeuniv.numerics.product_candidates import product_candidates

COSINES = [decoder_cosine_candidates, encoder_cosine_candidates]
ALL = [*COSINES, folded_parameter_candidates]


def dictionary(n: int = 40, d: int = 16, *, seed: int = 0, dtype=np.float64) -> DictionaryParameters:
    rng = np.random.default_rng(seed)
    decoder = rng.normal(size=(n, d))
    encoder = decoder + 0.3 * rng.normal(size=(n, d))
    values = (encoder, rng.normal(size=n), decoder, rng.lognormal(size=n))
    return DictionaryParameters(*(each.astype(dtype) for each in values), basis="model-x")


def taken(a: DictionaryParameters, order: np.ndarray) -> DictionaryParameters:
    assert a.threshold is not None
    return DictionaryParameters(
        *(each[order] for each in (a.encoder, a.encoder_bias, a.decoder, a.threshold)), a.basis
    )


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("candidates_by", ALL)
def test_a_permuted_copy_is_recovered_with_similarity_one(candidates_by, dtype) -> None:
    a, order = dictionary(dtype=dtype), np.random.default_rng(1).permutation(40)
    matching = hungarian(candidates_by(a, taken(a, order), top_m=5))
    assert (order[matching.index_b] == matching.index_a).all()
    assert matching.similarity == pytest.approx(1.0, abs=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("candidates_by", ALL)
def test_unrelated_dictionaries_are_not_alike(candidates_by) -> None:
    a, b = dictionary(), dictionary(seed=1)
    own, other = (candidates_by(a, each, top_m=1) for each in (a, b))
    assert own.similarity_a == pytest.approx(1.0)
    # Folded similarities are relative to the largest latents: what remains is their order.
    highest = 1.0 - 1e-4 if candidates_by is folded_parameter_candidates else 0.95
    assert other.similarity_a.max() < highest


def test_cosines_equal_the_dense_product() -> None:
    a, b = dictionary(30), dictionary(20, seed=2)
    for candidates_by, x, y in zip(COSINES, (a.decoder, a.encoder), (b.decoder, b.encoder), strict=True):
        found, expected = candidates_by(a, b, top_m=6), candidates_of(cosines(x, y), top_m=6)
        assert np.array_equal(found.index_a, expected.index_a)
        assert np.array_equal(found.index_b, expected.index_b)
        assert found.similarity_a == pytest.approx(expected.similarity_a, abs=1e-14)


@pytest.mark.parametrize("candidates_by", COSINES)
def test_cosines_ignore_the_scale_of_a_latent_and_a_shared_rotation_but_no_rotation_of_one(
    candidates_by,
) -> None:
    a, b = dictionary(), dictionary(seed=3)
    scale = np.random.default_rng(4).lognormal(size=(40, 1))
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))[0]
    expected = candidates_by(a, b, top_m=4)
    scaled = a._replace(encoder=a.encoder * scale, decoder=a.decoder * scale)
    turned = [each._replace(encoder=each.encoder @ turn, decoder=each.decoder @ turn) for each in (a, b)]
    for found in (candidates_by(scaled, b, top_m=4), candidates_by(*turned, top_m=4)):
        assert np.array_equal(found.index_a, expected.index_a)
        assert found.similarity_b == pytest.approx(expected.similarity_b, abs=1e-12)
    broken = candidates_by(turned[0], b, top_m=4)
    assert not np.array_equal(broken.index_a, expected.index_a)


def test_decoder_and_encoder_are_told_apart() -> None:
    a, b = dictionary(), dictionary(seed=6)
    mixed = b._replace(decoder=a.decoder)
    assert hungarian(decoder_cosine_candidates(a, mixed, top_m=3)).similarity == pytest.approx(1.0)
    assert hungarian(encoder_cosine_candidates(a, mixed, top_m=3)).similarity.mean() < 0.8


def test_a_latent_without_direction_is_alike_to_nothing() -> None:
    a = dictionary(5)
    a.decoder[2] = 0.0
    found = decoder_cosine_candidates(a, a, top_m=5)
    assert (found.similarity_a[2] == 0).all()
    assert 2 not in mutual_nearest(found).index_a


def test_folding_gives_thresholds_of_one_and_the_same_reconstruction() -> None:
    a = dictionary()
    assert a.threshold is not None
    x = np.random.default_rng(7).normal(size=(50, 16))
    before = x @ a.encoder.T + a.encoder_bias
    rows = folded(a, name="a")
    encoder, bias, decoder = rows[:, :16], rows[:, 16], rows[:, 17:]
    after = x @ encoder.T + bias
    expected = np.where(before > a.threshold, before, 0.0) @ a.decoder
    assert np.where(after > 1.0, after, 0.0) @ decoder == pytest.approx(expected)


def test_folded_similarity_ignores_a_scale_that_the_decoder_makes_up_for() -> None:
    a, b = dictionary(), dictionary(seed=8)
    assert a.threshold is not None
    scale = np.random.default_rng(9).lognormal(size=40)
    scaled = DictionaryParameters(
        *(a.encoder * scale[:, None], a.encoder_bias * scale),
        *(a.decoder / scale[:, None], a.threshold * scale, a.basis),
    )
    expected, found = (folded_parameter_candidates(each, b, top_m=4) for each in (a, scaled))
    assert np.array_equal(found.index_a, expected.index_a)
    assert found.similarity_a == pytest.approx(expected.similarity_a, abs=1e-12)
    broken = folded_parameter_candidates(scaled._replace(threshold=a.threshold), b, top_m=4)
    assert not np.array_equal(broken.index_a, expected.index_a)


def test_the_folded_assignment_has_the_least_squared_error_of_all_full_matchings() -> None:
    from scipy.optimize import linear_sum_assignment

    a, b = dictionary(25), dictionary(25, seed=10)
    x, y = folded(a, name="a"), folded(b, name="b")
    squares = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    matching = hungarian(folded_parameter_candidates(a, b, top_m=25))
    assert len(matching.index_a) == 25 and (matching.similarity >= 0).all()
    best = squares[linear_sum_assignment(squares)].sum()
    assert squares[matching.index_a, matching.index_b].sum() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("candidates_by", ALL)
def test_another_residual_basis_is_refused_with_the_reason(candidates_by) -> None:
    a = dictionary()
    with pytest.raises(ValueError, match=r"one residual basis, got 'model-x' and 'model-y'.*means nothing"):
        candidates_by(a, a._replace(basis="model-y"), top_m=3)


def test_a_dictionary_without_thresholds_cannot_be_folded() -> None:
    a = dictionary()
    with pytest.raises(ValueError, match=r"b.threshold: expected a positive threshold.*TopK.*decoder_cosine"):
        folded_parameter_candidates(a, a._replace(threshold=None), top_m=3)
    assert len(decoder_cosine_candidates(a, a._replace(threshold=None), top_m=3).index_a) == 40


def test_bad_parameters_are_refused_by_position() -> None:
    a, b = dictionary(), dictionary()
    assert b.threshold is not None
    b.threshold[7] = 0.0
    with pytest.raises(ValueError, match=r"b.threshold: expected positive numbers, got 0.0 at \[7\] and 1 "):
        folded_parameter_candidates(a, b, top_m=3)
    b.encoder[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"b.encoder: expected finite numbers, .* first nan at \[3, 2\]"):
        encoder_cosine_candidates(a, b, top_m=3)
    with pytest.raises(ValueError, match=r"b.decoder: expected 16 dimensions as in a, got 8"):
        decoder_cosine_candidates(a, dictionary(d=8), top_m=3)
    with pytest.raises(ValueError, match="top_m=0"):
        decoder_cosine_candidates(a, a, top_m=0)


@pytest.mark.parametrize("shape", [(30, 21), (21, 30), (3, 2), (0, 4), (4, 0)])
@pytest.mark.parametrize("top_m", [1, 5])
@pytest.mark.parametrize("rows_a_block", [1, 7, 1000])
def test_candidates_by_blocks_are_those_of_the_whole_matrix_ties_included(
    shape, top_m, rows_a_block, monkeypatch
) -> None:
    monkeypatch.setattr(product_candidates_module, "_BLOCK_BYTES", rows_a_block * 8 * max(shape[1], 1))
    # Small integers: products are exact and often tied.
    x, y = (np.random.default_rng(side).integers(-2, 3, (n, 3)) * 1.0 for side, n in enumerate(shape))
    found = product_candidates(x, y, np.asarray, top_m=top_m)
    for field, expected in zip(found, candidates_of(x @ y.T, top_m=top_m), strict=True):
        assert np.array_equal(field, expected) and field.dtype == expected.dtype


def test_no_more_similarities_are_held_than_a_block(monkeypatch) -> None:
    sizes = []

    def counted(block: np.ndarray) -> np.ndarray:
        sizes.append(block.size)
        return block

    monkeypatch.setattr(product_candidates_module, "_BLOCK_BYTES", 8 * 1000)
    x = np.random.default_rng(0).normal(size=(90, 4))
    product_candidates(x, x, counted, top_m=3)
    assert max(sizes) <= 1000 and sum(sizes) == 90 * 90
