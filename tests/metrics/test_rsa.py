"""RSA of matched decoder directions and of tokens: what they are of, what they ignore, and their nulls."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr

from saeuniv.alignments import Hungarian
from saeuniv.compare import summarise
from saeuniv.metrics.base import DOCUMENT_SHIFT, PERMUTATION, SELECTION_SHIFT
from saeuniv.metrics.mutual_knn import MutualKnn
from saeuniv.metrics.rsa import Rsa, RsaDimensions
from saeuniv.metrics.token_geometry import MutualKnnTokens, RsaTokens, sample_tokens
from saeuniv.numerics.latents import Floors
from tests.synthetic import matched_pair, streams

METRICS = [Rsa(), RsaDimensions()]
D_A, D_B = 9, 6


def name(metric):
    return metric.name


def similarity(metric, x, y, order=None):
    return metric.compare(metric.prepare(x), metric.prepare(y), permutation=order)


@pytest.fixture(scope="module")
def data():
    return streams(seed=1, shared=30, token_latents=6, n_latents=60, n_documents=80)


def related(data, *, noise=0.5):
    """B's directions are a linear image of its partner's, and noise."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((data.a.shape[1], D_A))
    b = np.empty((data.b.shape[1], D_B))
    b[data.permutation] = a @ rng.standard_normal((D_A, D_B)) / 3
    return a, b + noise * rng.standard_normal(b.shape)


def measure(data, metric, decoders=None, **changes):
    pair = matched_pair(data, Hungarian(), metric, decoders=decoders, **changes)
    (found,) = metric.measure(pair)
    return pair, found


def oracle(x, y, *, centred):
    def ranked(z):
        z = z - z.mean(axis=1, keepdims=True) if centred else z
        lengths = np.linalg.norm(z, axis=1, keepdims=True)
        unit = np.divide(z, lengths, out=np.zeros_like(z), where=lengths > 0)
        return np.round(unit @ unit.T, 7)[np.triu_indices(len(z), 1)]

    return float(spearmanr(ranked(x), ranked(y)).statistic)


def matched_rows(pair):
    matching = pair.matches["both"]
    return pair.a.decoder[matching.index_a], pair.b.decoder[matching.index_b]


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_value_is_spearmans_correlation_of_the_similarities_of_matched_directions(data, metric):
    pair, found = measure(data, metric, related(data))
    x, y = matched_rows(pair)
    assert found.value == pytest.approx(oracle(x, y, centred=metric.inner == "pearson"), abs=1e-5)
    assert 0.1 < found.value < 0.9 and found.n_matches == len(x) and found.direction == "both"


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_a_model_compared_with_itself_scores_one_and_its_p_is_the_least(data, metric):
    a = related(data)[0]
    _, found = measure(data._replace(b=data.a), metric, (a, a))
    assert found.value == pytest.approx(1.0)
    row = summarise(metric, found, Hungarian(), confidence=0.95)
    assert (row.p_value, row.null, row.reason) == (0.05, SELECTION_SHIFT, "needs_rematching")


def test_the_value_ignores_rotation_and_length_by_cosine_but_not_over_dimensions(data):
    a, b = related(data)
    rng = np.random.default_rng(1)
    turned = b @ np.linalg.qr(rng.standard_normal((D_B, D_B)))[0] * rng.lognormal(size=(len(b), 1))
    changes = {}
    for metric in METRICS:
        before, after = (measure(data, metric, (a, each))[1].value for each in (b, turned))
        changes[metric.name] = abs(after - before)
    assert changes["rsa"] < 1e-5 < 5e-3 < changes["rsa_dimensions"]


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_its_nulls_pair_anew_and_match_again(data, metric):
    pair, found = measure(data, metric, related(data))
    x, y = matched_rows(pair)
    assert {null: len(drawn) for null, drawn in found.nulls.items()} == {PERMUTATION: 19, SELECTION_SHIFT: 19}
    for draw in (0, 7):
        order = np.random.default_rng([0, draw]).permutation(len(x))
        assert found.nulls[PERMUTATION][draw] == similarity(metric, x, y[order]).value
        again = pair.null_matches[SELECTION_SHIFT][draw]["both"]
        rows = pair.a.decoder[again.index_a], pair.b.decoder[again.index_b]
        assert found.nulls[SELECTION_SHIFT][draw] == similarity(metric, *rows).value


def test_above_max_pairs_it_is_the_mean_over_draws_of_rows_and_says_so(data):
    a, b = related(data)
    whole = similarity(Rsa(), a, b)
    assert whole.flags == () and similarity(Rsa(max_pairs=60), a, b) == whole
    some = Rsa(max_pairs=59, rows=50, draws=40)
    value, _, flags = similarity(some, a, b)
    assert flags == ("subsampled",)
    assert value == pytest.approx(whole.value, abs=0.02) and value != whole.value
    other = dataclasses.replace(some, seed=1)
    assert similarity(some, a, b).value == value != similarity(other, a, b).value
    sides = some.prepare(a), some.prepare(b)
    assert some.compare(*sides, permutation=np.arange(60)).value == value
    rng = np.random.default_rng(2)
    drawn = np.array([some.compare(*sides, permutation=rng.permutation(60)).value for _ in range(60)])
    assert abs(drawn.mean()) < 3 * drawn.std() / np.sqrt(60) and len(np.unique(drawn)) > 50
    every = Rsa(max_pairs=59, rows=100, draws=1)
    order = rng.permutation(60)
    assert similarity(every, a, b, order).value == similarity(Rsa(), a, b, order).value


@pytest.mark.parametrize(("n", "reason"), [(3, "too_few_matches"), (6, "undefined_similarity")])
def test_undefined_values_say_why(n, reason):
    assert similarity(Rsa(), np.eye(n), np.eye(n)) == (None, reason, ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rsa(rows=3), r"metrics\.rsa\.rows=3: expected at least 4"),
        (lambda: RsaDimensions(draws=0), r"metrics\.rsa_dimensions\.draws=0: expected at least 1"),
        (lambda: RsaTokens(rows=3), r"metrics\.rsa_tokens\.rows=3: expected at least 4"),
        (lambda: MutualKnn(k=0), r"metrics\.mutual_knn\.k=0: expected at least 1"),
        (lambda: MutualKnnTokens(k=0), r"metrics\.mutual_knn_tokens\.k=0: expected at least 1"),
        (lambda: MutualKnnTokens(k=5, rows=6), r"metrics\.mutual_knn_tokens\.rows=6: expected at least 7"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def token_rows(pair, metric):
    sample = sample_tokens(pair.a.halves[1].half, pair.draws, rows=metric.rows, seed=metric.seed)
    return sample, *(side.halves[1].matrix.toarray()[sample.rows] for side in (pair.a, pair.b))


@pytest.mark.parametrize("rows", [300, 33])
def test_tokens_are_compared_by_all_latents_and_shifted_by_documents(data, rows):
    metric = RsaTokens(rows=rows)
    pair, found = measure(data, metric)
    sample, x, y = token_rows(pair, metric)
    assert rows * 0.7 < len(x) <= rows
    assert found.value == pytest.approx(oracle(x, y, centred=False), abs=1e-4)
    half = pair.b.halves[1]
    step = -(-pair.draws.n_sequences // rows)
    n = pair.draws.n_sequences // step * step
    for draw in (0, 3):
        # The definition: rows of B that lie that many sequences on, prepared from the beginning.
        sequence, position = np.divmod(sample.rows, half.half.positions)
        moved = (sequence + sample.shifts[draw] * step) % n * half.half.positions + position
        assert (half.half.documents[moved] != half.half.documents[sample.rows]).all()
        expected = oracle(x, half.matrix.toarray()[moved], centred=False)
        assert found.nulls[DOCUMENT_SHIFT][draw] == pytest.approx(expected, abs=1e-4)
    assert found.value > 0.1 and not pair.matches


def test_with_a_row_for_every_sequence_the_shifts_are_those_all_metrics_draw_from(data):
    pair, _ = measure(data, RsaTokens())
    sample = sample_tokens(pair.a.halves[1].half, pair.draws, rows=160, seed=0)
    assert sample.positions == 160 // pair.draws.n_sequences and len(sample.shifts) == 19
    assert set(sample.shifts) <= set(pair.draws.shifts)
    other = sample_tokens(pair.a.halves[1].half, pair.draws, rows=160, seed=1)
    assert (other.rows != sample.rows).any()


@pytest.mark.parametrize("rows", [7, 26, 40, 160])
def test_no_shift_of_the_sample_brings_a_document_to_itself(data, rows):
    pair, _ = measure(data, RsaTokens())
    half = pair.a.halves[1].half
    every = pair.draws._replace(n_permutations=1000)
    sample = sample_tokens(half, every, rows=rows, seed=0)
    documents = half.documents[sample.rows]
    step = -(-pair.draws.n_sequences // rows)
    assert len(sample.rows) <= rows and len(sample.shifts) >= pair.draws.n_sequences // step - 4
    for shift in sample.shifts:
        assert (documents[sample.shifted(int(shift))] != documents).all()


def test_the_same_tokens_score_one_whatever_the_order_and_common_scale_of_latents(data):
    order = np.random.default_rng(4).permutation(60)
    same = data._replace(b=sp.csr_array(3.0 * data.a.toarray()[:, order]))
    _, found = measure(same, RsaTokens(rows=200))
    assert found.value == pytest.approx(1.0, abs=1e-6)
    uneven = data._replace(b=sp.csr_array(data.a.toarray() * np.geomspace(1, 1e3, 60)))
    assert measure(uneven, RsaTokens(rows=200))[1].value < 0.9


def test_unrelated_models_score_within_their_null_and_have_no_interval():
    _, found = measure(streams(seed=7, persistence=0.0, n_documents=80), RsaTokens(rows=320))
    null = found.nulls[DOCUMENT_SHIFT]
    assert len(null) == 19 and abs(null.mean()) < 0.02 and abs(found.value - null.mean()) < 4 * null.std()
    row = summarise(RsaTokens(), found, Hungarian(), confidence=0.95)
    assert row.p_value > 0.05 and (row.alignment, row.reason) == ("-", "no_interval")


def test_too_few_shifts_leave_p_empty_and_no_latents_the_value(data):
    _, found = measure(data, RsaTokens(rows=50), null_draws=99)
    row = summarise(RsaTokens(), found, Hungarian(), confidence=0.95)
    assert (row.p_value, row.calibrated) == (None, None) and "few_shifts" in row.reason
    _, found = measure(
        data, RsaTokens(), floors=Floors(min_firings=10**6, max_rate=0.5, min_within_share=0.01)
    )
    assert (found.value, found.reason) == (None, "no_eligible_latents")
