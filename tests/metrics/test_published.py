"""The published analysis: every fault of it, alone and with the others, against straight-line code."""

import dataclasses
import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from saeuniv.compare import CompareSettings, summarise
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.metrics import METRICS
from saeuniv.metrics.base import PERMUTATION
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.metrics.published import (
    NonConcepts,
    PublishedKeptCorrelation,
    PublishedMeanCorrelation,
    PublishedRsa,
    PublishedSvcca,
)
from saeuniv.numerics.correlation import candidates
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rank import rsa, rsa_basis
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.statistics import published_p_value
from tests.synthetic import compared, streams

NO_FLOORS = Floors(min_firings=0, max_rate=1.0, min_within_share=0.0)
WORDS = ["the", " a", "cat", "dog", " ran", "sat", "on", "mat", " .", "red", "sky", "."]
SWITCHES = [
    dict(zip(("first_seen", "unfiltered", "in_sample"), each, strict=True))
    for each in itertools.product((True, False), repeat=3)
]


class Planted(NamedTuple):
    """Latents of two models, some of them constant, with many of B to one of A."""

    data: object
    text: list[str]
    decoders: tuple[np.ndarray, np.ndarray]


def planted(n_shared=20, d=(4, 5)) -> Planted:
    data = streams(seed=2, n_latents=40, n_documents=40)
    rng = np.random.default_rng(3)
    x, y = data.a.toarray(), data.b.toarray()
    for j in range(3, 40):
        i = 3 + (j * 7) % n_shared
        y[:, j] = x[:, i] * rng.lognormal(sigma=1.0, size=len(x)) + y[:, j] * (j % 3)
    x[:, 0], x[:, 2], y[:, 1] = 0.0, 0.0, 0.0
    y[:, 0] = 1.5
    text = [WORDS[each] for each in data.groups["token"]]
    decoders = tuple(rng.standard_normal((40, each)) * np.linspace(2, 1, each) for each in d)
    return Planted(data._replace(a=sp.csr_array(x), b=sp.csr_array(y)), text, decoders)


@pytest.fixture(scope="module")
def example() -> Planted:
    return planted()


def layer_pair(example: Planted, *, text=True, floors=NO_FLOORS) -> LayerPair:
    data = example.data
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (
        prepare_layer(side, halves, floors=floors, decoder=rows)
        for side, rows in zip((data.a, data.b), example.decoders, strict=True)
    )
    draws = make_draws(halves, DrawSettings(5, 19, 3, 0, 60, min_documents=20, min_effective_documents=15))
    return LayerPair(a, b, draws, 0.5, token_text=example.text if text else None)


def r_of(x, y):
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return (x * y).sum() / scale if scale > 1e-9 else 0.0


def words_at_peaks(x, text):
    order = sorted((-value, row) for row, value in enumerate(x) if value > 0)
    return {text[row] for _, row in order[:5]}


@cache
def straight_line(first_seen, unfiltered, in_sample):
    """Pairs, mean correlation and that of the pairs, by the published loop, dense, latent by latent."""
    example = planted()
    data = example.data
    halves = make_halves(data.documents, data.groups, positions=data.positions)
    everything = np.arange(len(data.documents))
    choosing, scoring = (everything, everything) if in_sample else (halves[0].rows, halves[1].rows)
    x, y = data.a.toarray(), data.b.toarray()
    junk = [".", "\\n", "\n", "", " ", "-", ",", "!", "?", "<|endoftext|>", "<bos>", "|bos|", "<pad>"]
    partner, chosen_by, scored = [], [], []
    columns_a, columns_b = np.ascontiguousarray(x[choosing].T), np.ascontiguousarray(y[choosing].T)
    for j in range(y.shape[1]):
        row = [r_of(column, columns_b[j]) for column in columns_a]
        partner.append(max(range(len(row)), key=lambda i: (row[i], -i)))
        chosen_by.append(row[partner[j]])
        scored.append(r_of(x[scoring, partner[j]], y[scoring, j]))
    text = [example.text[each] for each in choosing]
    kept = []
    for j in range(y.shape[1]):
        of_a, of_b = (words_at_peaks(z[choosing, k], text) for z, k in ((x, partner[j]), (y, j)))
        if unfiltered or (of_a & of_b and not any(each in of_a or each in of_b for each in junk)):
            kept.append(j)
    single = {}
    for j in kept:
        i = partner[j]
        if i not in single or (not first_seen and chosen_by[j] > chosen_by[single[i]]):
            single[i] = j
    pairs = [(partner[j], j) for j in sorted(single.values()) if scored[j] > 0.1]
    kept_mean = float(np.mean([scored[j] for _, j in pairs]))
    return np.array(pairs), float(np.mean(scored)), kept_mean


def first_left(z, k=1):
    return np.linalg.svd(z - z.mean(axis=0), full_matrices=False)[0][:, :k]


def straight_svcca(u, v, *, pc1):
    if pc1:
        return abs((first_left(u) * first_left(v)).sum())
    bases = []
    for z in (u, v):
        variance = np.linalg.svd(z - z.mean(axis=0), compute_uv=False) ** 2
        bases.append(first_left(z, 1 + int((np.cumsum(variance) / variance.sum() < 0.99).sum())))
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()


def straight_rsa(u, v):
    above = np.triu_indices(len(u), 1)
    return scipy.stats.spearmanr(np.corrcoef(u)[above], np.corrcoef(v)[above]).statistic


def rows_of(pair, pairs):
    return pair.a.decoder[pairs[:, 0]].astype(float), pair.b.decoder[pairs[:, 1]].astype(float)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_combination_of_faults_gives_whatstraight_line_code_gives(example, switches):
    pair = layer_pair(example)
    pairs, mean, kept_mean = straight_line(**switches)
    u, v = rows_of(pair, pairs)
    order = np.random.default_rng([5, 3]).permutation(len(pairs))
    for pc1 in (True, False):
        (found,) = PublishedSvcca(**switches, pc1=pc1).measure(pair)
        assert (found.direction, found.n_matches, found.reason) == ("both", len(pairs), "")
        assert found.value == pytest.approx(straight_svcca(u, v, pc1=pc1), abs=1e-12)
        drawn = found.nulls[PERMUTATION]
        assert len(drawn) == 100
        assert drawn[3] == pytest.approx(straight_svcca(u, v[order], pc1=pc1), abs=1e-7)
    (found,) = PublishedRsa(**switches).measure(pair)
    assert found.value == pytest.approx(
        rsa(rsa_basis(u, inner="pearson"), rsa_basis(v, inner="pearson")), abs=1e-12
    )
    assert found.value == pytest.approx(straight_rsa(u, v), abs=1e-5)
    assert found.nulls[PERMUTATION][3] == pytest.approx(straight_rsa(u, v[order]), abs=1e-5)
    (found,) = PublishedMeanCorrelation(**switches).measure(pair)
    assert (found.value, found.n_matches) == (pytest.approx(mean, abs=1e-12), len(pairs))
    (found,) = PublishedKeptCorrelation(**switches).measure(pair)
    assert (found.value, found.n_matches) == (pytest.approx(kept_mean, abs=1e-12), len(pairs))


def test_the_combinations_are_different_pairs(example):
    """Else the test above would show little."""
    found = [straight_line(**switches)[0].tolist() for switches in SWITCHES]
    assert all(one != other for one, other in itertools.combinations(found, 2))


def kept(pair, **switches):
    pairs = PublishedMeanCorrelation(**switches).matched(pair)
    return list(zip(pairs.index_a.tolist(), pairs.index_b.tolist(), strict=True))


def with_columns(example, columns, text=None):
    """The example with other latents: `columns` by number, for A and B."""
    x, y = example.data.a.toarray(), example.data.b.toarray()
    for number, (of_a, of_b) in columns.items():
        x[:, number], y[:, number] = of_a, of_b
    data = example.data._replace(a=sp.csr_array(x), b=sp.csr_array(y))
    return example._replace(data=data, text=text or example.text)


def test_a_pair_of_latents_of_full_stops_stays_as_published_and_vanishes_where_the_filter_is_applied(example):
    rng = np.random.default_rng(4)
    for word, listed in ((".", True), (" .", False)):
        fires = np.array([each == word for each in example.text])
        pair = layer_pair(with_columns(example, {2: [fires * rng.lognormal(size=len(fires)) for _ in "ab"]}))
        assert (2, 2) in kept(pair, unfiltered=True)
        assert ((2, 2) in kept(pair, unfiltered=False)) != listed, "the strings must be equal exactly"


def test_a_pair_that_shares_no_top_token_is_left_out(example):
    """Both fire on the same rows, but peak on other tokens."""
    words = np.array(example.text)
    both = np.isin(words, ["the", " a"])
    peaks = [both * (1 + 0.2 * (words == word)) for word in ("the", " a")]
    pair = layer_pair(with_columns(example, {2: peaks}))
    assert (2, 2) in kept(pair) and (2, 2) not in kept(pair, unfiltered=False)
    # 200 rows reach into the tokens that they share.
    assert (2, 2) in kept(pair, unfiltered=False, top_tokens=len(words))


def test_the_lists_differ_in_what_they_hold(example):
    for word, holding in (("<pad>", {"pipeline"}), (" \\n", {"gemma"}), ("\n", {"pipeline", "pythia"})):
        text = [word if each == "sky" else each for each in example.text]
        fires = np.array([each == word for each in text]) * np.random.default_rng(1).random(len(text))
        pair = layer_pair(with_columns(example, {2: (fires, fires)}, text))
        without = {
            each.value
            for each in NonConcepts
            if (2, 2) not in kept(pair, unfiltered=False, non_concepts=each)
        }
        assert without == holding, word


def test_constant_latents_have_the_first_latent_of_a_and_may_take_its_place_but_are_no_pair(example):
    x = example.data.a.toarray()[:, 5]
    fires = with_columns(example, {0: (x, 0.0 * x), 39: (0.0 * x, x)})
    pair = layer_pair(fires)
    found = PublishedMeanCorrelation(first_seen=False).matched(pair)
    assert (found.correlations[:2] == 0).all() and found.correlations[39] == pytest.approx(1)
    # Latent 0 of B is dead: A's first latent is its partner, and it is the first to have it.
    assert (0, 39) in kept(pair, first_seen=False) and (0, 39) not in kept(pair)
    assert not {0, 1} & {j for _, j in kept(pair, min_correlation=0.0)}


def test_a_negative_largest_correlation_gives_way_to_a_constant_latent():
    data = streams(seed=5, n_latents=3)
    rows = np.arange(len(data.documents))
    b = np.stack([(rows % 4 == k) * 1.0 for k in range(3)], axis=1)
    a = np.stack([1.0 - b[:, 0], 0.0 * rows, 1.0 - b[:, 0]], axis=1)
    example = Planted(data._replace(a=sp.csr_array(a), b=sp.csr_array(b)), [], (np.eye(3), np.eye(3)))
    pairs = PublishedMeanCorrelation(min_correlation=-1.0).matched(layer_pair(example, text=False))
    assert pairs.correlations[0] == 0.0 and (pairs.correlations[1:] > 0.3).all()
    assert pairs.index_a.tolist() == [1, 0]


def identical(decoders):
    """As many pairs as rows: the latents are the same."""
    n = len(decoders[0])
    data = streams(seed=1, n_latents=n, n_documents=40)
    return layer_pair(Planted(data._replace(b=data.a), [], decoders), text=False)


def gaussian(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_one_shared_direction_is_near_one_as_published_and_far_from_it_as_svcca():
    sign = np.sign(gaussian(80, 1, 3)) * 10
    pair = identical(tuple(np.hstack([sign, gaussian(80, 7, seed)]) for seed in (4, 5)))
    assert PublishedSvcca().measure(pair)[0].value > 0.99
    assert PublishedSvcca(pc1=False).measure(pair)[0].value < 0.5


def test_pairings_at_random_have_the_mean_that_betrays_one_component():
    pair = identical((gaussian(80, 6, 6) * [3, 1, 1, 1, 1, 1], gaussian(80, 9, 7)))
    (found,) = PublishedSvcca(runs=400).measure(pair)
    expected = np.sqrt(2 / (np.pi * 80))
    assert found.nulls[PERMUTATION].mean() == pytest.approx(expected, abs=4 * 0.6 / np.sqrt(80 * 400))
    assert found.moments["permutation_closed_form"].mean == pytest.approx(expected, rel=0.02)


def test_the_published_p_is_zero_where_ours_cannot_be():
    pair = identical((gaussian(80, 6, 8) * [4, 1, 1, 1, 1, 1],) * 2)
    metric = PublishedSvcca(runs=20)
    row = summarise(metric, metric.measure(pair)[0], CompareSettings().alignment, confidence=0.95)
    assert (row.alignment, row.space, row.null, row.null_draws) == ("-", "decoder", PERMUTATION, 20)
    assert row.p_value == pytest.approx(1 / 21) and row.reason == "needs_rematching"
    assert published_p_value(row.p_value, draws=20) == 0.0


@pytest.mark.parametrize("metric", [PublishedSvcca, PublishedRsa, PublishedMeanCorrelation])
def test_what_has_no_value_says_why(metric, example):
    few = metric(min_correlation=0.999).measure(layer_pair(example))
    no_text = metric(unfiltered=False).measure(layer_pair(example, text=False))
    none = metric().measure(layer_pair(example, floors=Floors(10**6, 0.5, 0.01)))
    assert [each.reason for (each,) in (no_text, none)] == ["no_token_text", "no_eligible_latents"]
    if metric is PublishedMeanCorrelation:
        assert few[0].n_matches == 0 and few[0].value is not None
        row = summarise(metric(), few[0], CompareSettings().alignment, confidence=0.95)
        assert (row.p_value, row.reason) == (None, "no_null;no_interval")
    else:
        assert (few[0].value, few[0].reason) == (None, "too_few_matches")


@pytest.mark.parametrize(("option", "value"), [("runs", 0), ("top_tokens", 0), ("min_correlation", 1.0)])
def test_options_outside_their_range_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"metrics\.published_rsa\.{option}={value}: expected "):
        PublishedRsa(**{option: value})


def test_a_pair_of_junk_vanishes_with_a_space_before_it_where_that_is_asked_for():
    """Latents of 'cat', of '.', and of ' .': one for each is planted on both sides."""
    data = streams(seed=2, n_latents=3, n_documents=40)
    text = [WORDS[each] for each in data.groups["token"]]
    own = [[each == word for each in text] for word in ("cat", ".", " .")]
    x = np.array(own, float).T * np.random.default_rng(0).lognormal(sigma=0.1, size=(len(text), 3))
    planted = Planted(data._replace(a=sp.csr_array(x), b=sp.csr_array(x)), text, (np.eye(3), np.eye(3)))
    pair = layer_pair(planted)
    kept = {
        exact: PublishedKeptCorrelation(unfiltered=False, exact=exact).matched(pair).index_b.tolist()
        for exact in (True, False)
    }
    assert kept == {True: [0, 2], False: [0]}
    assert PublishedKeptCorrelation().matched(pair).index_b.tolist() == [0, 1, 2]


def test_the_three_of_a_layer_pair_search_once(example):
    asked = []

    def search(a, b, evidence, *, top_m, shift=0):
        asked.append(evidence)
        return candidates(a, b, evidence, top_m=top_m, shift=shift)

    pair = dataclasses.replace(layer_pair(example), search=search)
    for metric in (PublishedSvcca(), PublishedRsa(), PublishedMeanCorrelation(first_seen=False)):
        metric.measure(pair)
    assert len(asked) == 1


def settings(*metrics):
    return CompareSettings(
        metrics=metrics,
        eligibility=Eligibility(min_firings=0, max_rate=1.0, min_within_share=0.0),
        nulls=Nulls(draws=19),
        bootstrap=Bootstrap(draws=60),
    )


def test_compare_latents_takes_the_text_of_the_tokens_and_asks_for_it_where_it_is_read(example):
    applied = PublishedMeanCorrelation(unfiltered=False)
    found = compared(example.data, settings(applied), token_text=example.text)
    assert found["published_mean_correlation", "both"].n_matches == len(
        straight_line(first_seen=True, unfiltered=False, in_sample=True)[0]
    )
    with pytest.raises(ValueError, match=r"token_text: expected .* for published_mean_correlation, got none"):
        compared(example.data, settings(applied))
    with pytest.raises(ValueError, match=r"token_text: expected 1600 tokens, one a row, got 2"):
        compared(example.data, settings(applied), token_text=["a", "b"])
    compared(example.data, settings(PublishedMeanCorrelation()))


def test_every_metric_has_a_finite_value_or_a_reason_where_all_latents_are_compared(example):
    """Dead ones, constant ones, and one that is constant on a half."""
    metrics = [each() for each in METRICS]
    x = example.data.a.toarray()
    half = make_halves(example.data.documents, example.data.groups, positions=example.data.positions)[0]
    x[half.rows, 6] = 0.0
    data = example.data._replace(a=sp.csr_array(x))
    groups = {**data.groups, "token_x_position": data.groups["token_bigram"]}
    changes = {"groups": groups, "decoders": example.decoders, "token_text": example.text}
    changes["words"] = [each.strip() for each in example.text]
    found = compared(data, settings(*metrics), **changes)
    # Those that read dictionaries are left out, as there are none here.
    assert {name for name, _ in found} == {each.name for each in metrics if each.reads != "dictionaries"}
    for row in found.values():
        numbers = (row.value, row.null_mean, row.p_value, row.ci_low, row.excess)
        assert all(each is None or np.isfinite(each) for each in numbers), row
        assert row.value is not None or row.reason, row
    # No word of the text is of a category.
    of_words = {each.name for each in metrics if each.needs_words}
    empty = {each.metric for each in found.values() if each.value is None}
    assert empty == {"partial_correlation_trigram", *of_words}
