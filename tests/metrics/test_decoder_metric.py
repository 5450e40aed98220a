"""CKA and SVCCA of matched decoder directions: what they are of, what they ignore, and their nulls."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

from saeuniv.alignments import Hungarian, MaxCorr, MutualNn
from saeuniv.compare import summarise
from saeuniv.config import Condition
from saeuniv.metrics import Cka, MutualKnn, Pc1AbsCorr, ProcrustesSimilarity, RidgeDecoder, Rsa, Svcca
from saeuniv.metrics.base import PERMUTATION, SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from tests.synthetic import best_assignment, dense_partial, matched_pair, streams

D_A, D_B = 9, 6
METRICS = [Cka(), Svcca()]


def name(metric):
    return metric.name


def related(data, *, noise=0.5, seed=0):
    """Directions of other lengths and widths: B's are a linear image of its partner's, and noise."""
    rng = np.random.default_rng([seed, 3])
    a = rng.standard_normal((data.a.shape[1], D_A))
    b = np.empty((data.b.shape[1], D_B))
    b[data.permutation] = a @ rng.standard_normal((D_A, D_B)) / 3
    b += noise * rng.standard_normal(b.shape)
    return a * rng.lognormal(size=(len(a), 1)), b * rng.lognormal(size=(len(b), 1))


@pytest.fixture(scope="module")
def data():
    return streams(seed=1, shared=30, token_latents=6, n_latents=60, n_documents=80)


def measure(data, metric, decoders, alignment=None, **changes):
    alignment = alignment or Hungarian()
    pair = matched_pair(data, alignment, metric, decoders=decoders, **changes)
    return pair, {each.direction: each for each in metric.measure(pair)}


def cka_oracle(x, y):
    """Debiased CKA by the formula of Song et al. 2012, with n x n kernels."""

    def hsic(k, m):
        n, one = len(k), np.ones(len(k))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (total - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    k, m = (z @ z.T for z in (x - x.mean(axis=0), y - y.mean(axis=0)))
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def svcca_oracle(x, y):
    """Mean cosine of the principal angles between the leading components with 99 % of the variance."""
    bases = []
    for z in (x, y):
        left, singular, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
        share = np.cumsum(singular**2) / (singular**2).sum()
        bases.append(left[:, : np.flatnonzero(share >= 0.99)[0] + 1])
    return np.cos(scipy.linalg.subspace_angles(*bases)).mean()


ORACLES = {"cka": cka_oracle, "svcca": svcca_oracle}


def unit_rows(pair, decoders):
    """Directions of the eligible latents, of unit length."""
    rows = [z[side.eligibility.eligible] for z, side in zip(decoders, (pair.a, pair.b), strict=True)]
    return [z / np.linalg.norm(z, axis=1, keepdims=True) for z in rows]


def d1(pair):
    """Latents of A and B on D1, and the token of each row."""
    x, y = (side.halves[0].matrix.toarray() for side in (pair.a, pair.b))
    return x, y, pair.a.halves[0].half.groups["token"].ids


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_value_is_that_of_unit_directions_of_the_pairs_chosen_on_d1(data, metric):
    decoders = related(data)
    pair, found = measure(data, metric, decoders)
    index = best_assignment(pair.matches["both"], dense_partial(*d1(pair)))
    x, y = (rows[i] for rows, i in zip(unit_rows(pair, decoders), index, strict=True))
    assert found["both"].value == pytest.approx(ORACLES[metric.name](x, y), abs=1e-6)
    assert found["both"].n_matches == len(x) and set(found) == {"both"}
    assert 0.1 < found["both"].value < 0.9


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_a_model_compared_with_itself_scores_one(data, metric):
    a = related(data)[0]
    _, found = measure(data._replace(b=data.a), metric, (a, a))
    assert found["both"].value == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_value_ignores_rotation_and_the_length_of_each_direction(data, metric):
    a, b = related(data)
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.standard_normal((D_B, D_B)))[0]
    lengths = rng.lognormal(sigma=2, size=(len(b), 1))
    before, after = (measure(data, metric, (a, each))[1]["both"] for each in (b, lengths * (b @ rotation)))
    assert after.value == pytest.approx(before.value, abs=1e-6)
    for null in before.nulls:
        np.testing.assert_allclose(after.nulls[null], before.nulls[null], atol=1e-6)


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_value_follows_latents_that_change_places(data, metric):
    a, b = related(data)
    order = np.random.default_rng(2).permutation(len(b))
    moved = data._replace(b=sp.csr_array(data.b.toarray()[:, order]))
    before = measure(data, metric, (a, b))[1]["both"].value
    assert measure(moved, metric, (a, b[order]))[1]["both"].value == pytest.approx(before, abs=1e-6)
    lost = measure(moved, metric, (a, b))[1]["both"].value
    assert lost < before - 0.05


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_value_changes_under_a_map_that_is_no_rotation(data, metric):
    """The negative control of the invariances."""
    a, b = related(data)
    stretched = b @ np.diag([30.0, 1, 1, 1, 1, 1])
    before, after = (measure(data, metric, (a, each))[1]["both"].value for each in (b, stretched))
    assert abs(after - before) > 0.02


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_selection_aware_null_shifts_d1_matches_again_and_measures_again(data, metric):
    decoders = related(data)
    pair, found = measure(data, metric, decoders)
    x, y, token = d1(pair)
    rows = unit_rows(pair, decoders)
    null = found["both"].nulls[SELECTION_SHIFT]
    assert len(null) == len(pair.draws.selection_shifts) == 19
    for draw in (0, 5, 18):
        moved = np.roll(y, -pair.draws.selection_shifts[draw] * data.positions, axis=0)
        drawn = pair.null_matches[SELECTION_SHIFT][draw]["both"]
        i, j = best_assignment(drawn, dense_partial(x, moved, token))
        assert null[draw] == pytest.approx(ORACLES[metric.name](rows[0][i], rows[1][j]), abs=1e-6)
    assert summarise(metric, found["both"], Hungarian(), confidence=0.95).p_value == 0.05


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_the_permutation_null_pairs_the_same_rows_anew(data, metric):
    decoders = related(data)
    pair, found = measure(data, metric, decoders)
    rows, matching = unit_rows(pair, decoders), pair.matches["both"]
    null = found["both"].nulls[PERMUTATION]
    assert len(null) == 19
    for draw in (0, 7, 18):
        order = np.random.default_rng([0, draw]).permutation(len(matching.index_a))
        expected = ORACLES[metric.name](rows[0][matching.index_a], rows[1][matching.index_b][order])
        assert null[draw] == pytest.approx(expected, abs=1e-6)


def test_the_within_token_shuffle_is_given_for_cka_alone(data):
    decoders = related(data)
    pair, found = measure(data, Cka(), decoders)
    x, y, token = d1(pair)
    rows = unit_rows(pair, decoders)
    drawn = found["both"].nulls[WITHIN_TOKEN_SHUFFLE]
    assert len(drawn) == 3
    matched = pair.null_matches[WITHIN_TOKEN_SHUFFLE]
    for value, matches, (shuffle, _) in zip(drawn, matched, pair.draws.shuffles, strict=True):
        i, j = best_assignment(matches["both"], dense_partial(x, y[shuffle], token))
        assert value == pytest.approx(cka_oracle(rows[0][i], rows[1][j]), abs=1e-6)
    _, found = measure(data, Svcca(), decoders)
    assert set(found["both"].nulls) == {SELECTION_SHIFT, PERMUTATION}


ALL = [*METRICS, Rsa(), Rsa(max_pairs=10, rows=8), MutualKnn(k=3), Pc1AbsCorr(), ProcrustesSimilarity()]


@pytest.mark.parametrize("lost", ["none", "of_a", "of_b"])
@pytest.mark.parametrize("metric", [*ALL, RidgeDecoder()], ids=name)
def test_a_null_draw_is_what_its_pairs_give_prepared_from_the_beginning(data, metric, lost):
    sides = {"of_a": {"a": data.a[:, :45]}, "of_b": {"b": data.b[:, :45]}}.get(lost, {})
    decoders = related(data)
    pair, by_direction = measure(data._replace(**sides), metric, cut(decoders, sides))
    directions = ["a_to_b", "b_to_a"] if metric.name == "ridge_decoder" else ["both"]
    for direction in directions:
        null = by_direction[direction].nulls[SELECTION_SHIFT]
        for draw in (0, 11):
            matching = pair.null_matches[SELECTION_SHIFT][draw]["both"]
            rows = pair.a.decoder[matching.index_a], pair.b.decoder[matching.index_b]
            x, y = (metric.prepare(each) for each in (rows if direction != "b_to_a" else rows[::-1]))
            again = metric.compare(x, y, permutation=None)
            assert null[draw] == pytest.approx(again.value, abs=1e-7)


def cut(decoders, sides):
    a, b = decoders
    return a[: 45 if "a" in sides else None], b[: 45 if "b" in sides else None]


@pytest.mark.parametrize(("lost", "prepared"), [("none", 2), ("of_a", 2 + 22), ("of_b", 2 + 22)])
def test_a_side_whose_latents_are_those_observed_is_prepared_once(data, lost, prepared, monkeypatch):
    """22 draws are matched again; only the side with latents to spare has others."""
    sides = {"of_a": {"a": data.a[:, :45]}, "of_b": {"b": data.b[:, :45]}}.get(lost, {})
    count, prepare = [], Cka.prepare
    monkeypatch.setattr(Cka, "prepare", lambda self, rows: count.append(len(rows)) or prepare(self, rows))
    measure(data._replace(**sides), Cka(), cut(related(data), sides))
    assert len(count) == prepared


@pytest.mark.parametrize(("n_latents", "reason"), [(3, "too_few_matches"), (4, "")])
def test_cka_needs_four_matches(n_latents, reason):
    few = streams(seed=3, shared=n_latents, n_latents=n_latents)
    _, found = measure(few, Cka(), related(few))
    assert found["both"].reason == reason and (found["both"].value is None) == bool(reason)
    if reason:
        row = summarise(Cka(), found["both"], Hungarian(), confidence=0.95)
        assert (row.p_value, row.null_mean, row.null_draws, row.reason) == (None, None, 0, "too_few_matches")


@pytest.mark.parametrize(
    ("n_latents", "reason", "flags"),
    [(D_A + D_B, "too_few_matches", ()), (20, "", ("rank_limited",)), (3 * (D_A + D_B), "", ())],
)
def test_svcca_is_undefined_up_to_k_a_plus_k_b_matches_and_flagged_up_to_three_times_as_many(
    n_latents, reason, flags
):
    some = streams(seed=4, shared=n_latents, n_latents=n_latents, n_documents=80)
    metric = Svcca(variance_kept=1.0)
    rng = np.random.default_rng(0)
    decoders = tuple(rng.standard_normal((n_latents, d)) for d in (D_A, D_B))
    _, found = measure(some, metric, decoders)
    assert found["both"].n_matches == n_latents
    said = tuple(flag for flag in found["both"].flags if "=" not in flag)
    assert (found["both"].reason, said) == (reason, flags)


def test_directions_without_structure_have_no_cka():
    some = streams(seed=5, shared=8, n_latents=8)
    _, found = measure(some, Cka(), (np.eye(8), np.eye(8)))
    assert (found["both"].value, found["both"].reason) == (None, "undefined_similarity")


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_alignments_of_varying_size_are_averaged_over_directions_and_have_no_p(data, metric):
    pair, found = measure(data, metric, related(data), MaxCorr())
    assert list(found) == ["a_to_b", "b_to_a", "both"]
    forward, backward, both = found.values()
    assert (
        both.value == pytest.approx((forward.value + backward.value) / 2) and forward.value != backward.value
    )
    assert forward.n_matches == len(pair.matches["a_to_b"].index_a)
    for each in found.values():
        row = summarise(metric, each, MaxCorr(), confidence=0.95)
        assert (row.p_value, row.calibrated) == (None, None)
        assert set(row.reason.split(";")) == {"matching_size_varies", "needs_rematching"}
    assert set(measure(data, metric, related(data), MutualNn())[1]) == {"both"}


def test_fewer_admissible_shifts_than_draws_leave_p_empty(data):
    _, found = measure(data, Cka(), related(data), null_draws=99)
    row = summarise(Cka(), found["both"], Hungarian(), confidence=0.95)
    # 80 sequences on D1 and documents of 2: shifts 2..78.
    assert row.null_draws == 77 and row.value is not None
    assert (row.p_value, row.calibrated) == (None, None) and "few_shifts" in row.reason


def test_a_null_with_undefined_draws_leaves_p_empty():
    """Latents of A outnumber B's: each shift selects others, and few of them have decoders that differ."""
    some = streams(seed=6, shared=6, n_latents=40, n_documents=80)
    few = sp.csr_array(some.b.toarray()[:, some.permutation[:6]])
    a = np.tile(np.eye(1, 3), (40, 1))
    a[:6] = np.random.default_rng(0).standard_normal((6, 3))
    some = some._replace(b=few, permutation=np.arange(6))
    _, found = measure(some, Cka(), (a, np.random.default_rng(1).standard_normal((6, 4))))
    row = summarise(Cka(), found["both"], Hungarian(), confidence=0.95)
    assert row.value is not None and row.null_draws < 19
    assert (row.p_value, row.calibrated) == (None, None) and "undefined_similarity" in row.reason


@pytest.mark.parametrize("metric", METRICS, ids=name)
def test_an_alignment_without_degrees_of_freedom_gives_its_reason(metric):
    """Though the token leaves degrees of freedom, the condition of the alignment leaves none."""
    some = streams(seed=7, n_latents=20)
    rows = np.random.default_rng(0).permutation(len(some.documents))
    some = some._replace(groups={**some.groups, "token_trigram": rows // 2})
    alignment = Hungarian(condition=Condition.token_trigram)
    _, found = measure(some, metric, related(some), alignment)
    assert (found["both"].value, found["both"].reason) == (None, "few_degrees_of_freedom")


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_a_kept_variance_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"variance_kept={fraction}: expected a fraction in \(0, 1\]"):
        Svcca(variance_kept=fraction)
