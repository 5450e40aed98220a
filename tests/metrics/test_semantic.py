"""Categories of words: what is planted is found, what is not has p uniform; both as straight-line code."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.compare import CompareSettings, compare_latents, summarise
from saeuniv.config import Bootstrap, Eligibility, Nulls
from saeuniv.metrics import subspace_pairs
from saeuniv.metrics.base import PERMUTATION, RANDOM_SUBSPACE, RANDOM_WORDS
from saeuniv.metrics.layer_pair import DrawSettings, LayerPair, make_draws
from saeuniv.metrics.semantic import (
    SemanticCorrelation,
    SemanticRsa,
    SemanticSvcca,
)
from saeuniv.metrics.word_lists import categories, category_words
from saeuniv.numerics.correlation import candidates
from saeuniv.numerics.latents import Floors, prepare_layer
from saeuniv.numerics.rank import rsa, rsa_basis
from saeuniv.numerics.rows import make_halves
from saeuniv.numerics.semantic import row_words

N_DOCUMENTS, ROWS, N_WORDS, PER_WORD = 40, 40, 60, 3
JOYS = [f"word{chr(97 + each % 26)}{chr(97 + each // 26)}" for each in range(N_WORDS)]
NO_FLOORS = Floors(min_firings=1, max_rate=1.0, min_within_share=0.0)
SETTINGS = {"category": "joys", "draws": 99, "top_rows": 3, "least_words": 2}


class Example(NamedTuple):
    a: np.ndarray
    b: np.ndarray
    words: list[str]
    documents: np.ndarray
    decoders: tuple[np.ndarray, np.ndarray]


def example(seed: int, *, shared: int = 0) -> Example:
    """Three latents a word on each side; those of the first `shared` words agree beyond the word.

    Their decoder directions are rotated copies of one another, all others are unrelated.
    """
    rng = np.random.default_rng([seed, 5])
    word = rng.integers(0, N_WORDS, N_DOCUMENTS * ROWS)
    owner = np.repeat(np.arange(N_WORDS), PER_WORD)

    def draw() -> np.ndarray:
        return (word[:, None] == owner) * rng.lognormal(sigma=0.8, size=(len(word), len(owner)))

    a, b = draw(), draw()
    is_shared = owner < shared
    b[:, is_shared] = a[:, is_shared] * rng.lognormal(sigma=0.1, size=(len(word), is_shared.sum()))
    x, y = rng.standard_normal((2, len(owner), 12))
    y[is_shared] = x[is_shared]
    return Example(a, b, [JOYS[each] for each in word], np.repeat(np.arange(N_DOCUMENTS), ROWS), (x, y))


def layer_pair(data: Example, *, words: list[str] | None = None, seed: int = 0) -> LayerPair:
    groups = {"token": np.unique(data.words, return_inverse=True)[1]}
    halves = make_halves(data.documents, groups, positions=1)
    a, b = (
        prepare_layer(sp.csr_array(side), halves, floors=NO_FLOORS, decoder=rows)
        for side, rows in zip((data.a, data.b), data.decoders, strict=True)
    )
    draws = make_draws(halves, DrawSettings(seed, 19, 3, 0, 0, min_documents=20, min_effective_documents=1))
    return LayerPair(a, b, draws, 0.5, words=row_words(words or data.words))


@pytest.mark.parametrize("metric", [SemanticCorrelation, SemanticRsa, SemanticSvcca])
def test_a_category_that_models_share_is_more_alike_than_random_latents_and_words(metric):
    pair = layer_pair(example(0, shared=10))
    shared, other = (metric(words=words, **SETTINGS).measure(pair)[0] for words in (JOYS[:10], JOYS[20:30]))
    assert shared.value > 0.9 and shared.n_matches == 30
    for null in (RANDOM_SUBSPACE, RANDOM_WORDS):
        drawn = shared.nulls[null]
        assert len(drawn) == 99 and (drawn >= shared.value).sum() <= 1, null
    assert other.value < 0.75
    assert np.mean(other.nulls[RANDOM_WORDS] >= other.value) > 0.05


def test_the_mean_correlation_is_that_of_straight_line_code():
    data = example(1, shared=5)
    pair = layer_pair(data)
    (found,) = SemanticCorrelation(words=JOYS[:8], **SETTINGS).measure(pair)
    (rsa_found,) = SemanticRsa(words=JOYS[:8], **SETTINGS).measure(pair)
    halves = make_halves(data.documents, {"token": np.zeros(len(data.documents), int)}, positions=1)
    first, second = (half.rows for half in halves)

    def of_category(side: np.ndarray) -> list[int]:
        found = []
        for j in range(side.shape[1]):
            active = [row for row in np.argsort(-side[first, j], kind="stable") if side[first[row], j] > 0]
            if sum(data.words[first[row]] in JOYS[:8] for row in active[:3]) >= 2:
                found.append(j)
        return found

    in_a, in_b = of_category(data.a), of_category(data.b)
    r = np.corrcoef(data.a[first][:, in_a].T, data.b[first][:, in_b].T)[: len(in_a), len(in_a) :]
    kept: dict[int, int] = {}
    for j in range(len(in_b)):
        i = int(r[:, j].argmax())
        if i not in kept or r[i, j] > r[i, kept[i]]:
            kept[i] = j
    pairs = [(in_a[i], in_b[j]) for i, j in sorted(kept.items(), key=lambda each: each[1])]
    held_out = [np.corrcoef(data.a[second, i], data.b[second, j])[0, 1] for i, j in pairs]
    assert (found.value, found.n_matches) == (pytest.approx(np.mean(held_out), abs=1e-9), len(pairs))
    rows = (np.stack([data.decoders[side][pair[side]] for pair in pairs]) for side in (0, 1))
    x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in rows)
    expected = rsa(rsa_basis(x, inner="pearson"), rsa_basis(y, inner="pearson"))
    assert rsa_found.value == pytest.approx(expected, abs=1e-6)
    assert len(rsa_found.nulls[PERMUTATION]) == 99


def test_metrics_of_one_category_share_the_pairs_of_draws_and_others_have_their_own():
    searches = []

    def search(*given, **options):
        searches.append(given)
        return candidates(*given, **options)

    pair = replace(layer_pair(example(0, shared=10)), search=search)
    alone = [
        metric(words=JOYS[:10], **SETTINGS).measure(layer_pair(example(0, shared=10)))[0]
        for metric in (SemanticCorrelation, SemanticRsa)
    ]
    together = []
    for metric, is_first in ((SemanticCorrelation, True), (SemanticRsa, False)):
        before = len(searches)
        together += metric(words=JOYS[:10], **SETTINGS).measure(pair)
        assert (len(searches) - before > 1) == is_first
    for one, other in zip(alone, together, strict=True):
        assert one.value == other.value and one.nulls.keys() == other.nulls.keys()
        assert all(np.array_equal(one.nulls[null], other.nulls[null]) for null in one.nulls)
    for options in ({"first_seen": True}, {"least_words": 1}, {"draws": 19}, {"words": JOYS[1:11]}):
        before = len(searches)
        SemanticRsa(**{"words": JOYS[:10], **SETTINGS, **options}).measure(pair)
        assert len(searches) - before > 1, options


def test_draws_that_are_searched_together_are_paired_as_alone(monkeypatch):
    """Each latent of B has its best among the subspace's of A, not among all that are searched."""
    found = []
    for at_most in (1, 60, 1024):
        monkeypatch.setattr(subspace_pairs, "_SEARCHED", at_most)
        (measured,) = SemanticRsa(words=JOYS[:10], **SETTINGS).measure(layer_pair(example(2, shared=10)))
        found.append(measured)
    for other in found[1:]:
        assert other.value == found[0].value
        for null in (RANDOM_SUBSPACE, RANDOM_WORDS):
            assert np.array_equal(other.nulls[null], found[0].nulls[null])


def p_values(null: str, n: int, *, permuted: bool) -> list[float]:
    found = []
    for seed in range(n):
        data, rng = example(seed), np.random.default_rng([seed, 9])
        words = rng.permutation(data.words).tolist() if permuted else data.words
        chosen = rng.choice(JOYS, 12, replace=False).tolist()
        metric = SemanticCorrelation(**{**SETTINGS, "least_words": 1, "draws": 19}, words=chosen)
        (measured,) = metric.measure(layer_pair(data, words=words, seed=seed))
        drawn = measured.nulls[null]
        found.append((1 + (drawn >= measured.value).sum()) / (1 + len(drawn)))
    return found


@pytest.mark.calibration
@pytest.mark.parametrize(
    ("null", "permuted"), [(RANDOM_WORDS, False), (RANDOM_SUBSPACE, True)], ids=["words", "latents"]
)
def test_p_is_uniform_of_random_words_and_of_random_latents_where_words_say_nothing(null, permuted):
    p = np.array(p_values(null, 50, permuted=permuted))
    # Three standard errors of 50 uniform values on 1/20 .. 1.
    assert p.mean() == pytest.approx(0.525, abs=0.125)
    assert np.mean(p <= 0.1) == pytest.approx(0.1, abs=0.13)
    assert len(np.unique(p)) > 10


def test_what_has_no_value_says_why():
    pair = layer_pair(example(2))
    few = SemanticRsa(words=JOYS[:1], **SETTINGS).measure(pair)
    none = SemanticRsa(words=JOYS[:4], **SETTINGS).measure(
        LayerPair(pair.a, pair.b, pair.draws, pair.min_df_share)
    )
    wide = SemanticSvcca(words=JOYS[:4], pc1=False, **SETTINGS).measure(pair)
    assert [each.reason for (each,) in (few, none, wide)] == [
        *("few_latents", "no_token_text", "too_few_matches")
    ]


def test_q_and_p_of_a_category_are_those_of_random_subspaces():
    (measured,) = SemanticRsa(words=JOYS[:10], **SETTINGS).measure(layer_pair(example(0, shared=10)))
    row = summarise(
        SemanticRsa(words=JOYS[:10], **SETTINGS), measured, CompareSettings().alignment, confidence=0.95
    )
    assert (row.metric, row.null, row.null_draws) == ("semantic_rsa_joys", RANDOM_SUBSPACE, 99)
    assert 0.01 <= row.p_value <= 0.02 and row.reason == "needs_rematching"


def test_the_categories_of_the_package_are_words_each_once():
    of_the_paper = {"time", "calendar", "months", "people", "nature", "emotions", "countries", "biology"}
    assert {
        *of_the_paper,
        "determiners",
        "prepositions",
        "conjunctions",
        "auxiliaries",
        "collections",
        "files",
    } == set(categories())
    for name in categories():
        words = category_words(name)
        assert len(words) == len(set(words)) >= 12
        assert all(word.isalpha() and word.isascii() for word in words), name
    assert set(category_words("calendar")) - set(category_words("time")) == {
        *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "calendar")
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"category": "jois"},
            r"semantic_rsa\.category=jois: expected one of auxiliaries, .*words=\[\.\.\.\]",
        ),
        ({"least_words": 6}, r"semantic_rsa_time\.least_words=6: expected 1 to top_rows"),
        ({"draws": 0}, r"semantic_rsa_time\.draws=0: expected at least 1"),
        ({"min_latents": 1}, r"semantic_rsa_time\.min_latents=1: expected at least 2"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SemanticRsa(**options)


def test_compare_latents_asks_for_words_where_they_are_read():
    data = example(3)
    settings = CompareSettings(
        metrics=(SemanticCorrelation(words=JOYS[:10], **SETTINGS),),
        eligibility=Eligibility(min_firings=1, max_rate=1.0, min_within_share=0.0),
        nulls=Nulls(draws=19),
        bootstrap=Bootstrap(draws=60),
    )
    token = np.unique(data.words, return_inverse=True)[1]
    given = {"groups": {"token": token}, "documents": data.documents, "positions_per_sequence": 1}
    with pytest.raises(ValueError, match=r"words: expected each row's word for semantic_correlation_joys"):
        compare_latents(data.a, data.b, **given, settings=settings)
    (found,) = compare_latents(data.a, data.b, **given, settings=settings, words=data.words)
    assert found.value is not None and found.direction == "both"
