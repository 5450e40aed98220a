"""Overlap of the most active matched latents on D2: known answers, its null, directions, and an oracle."""

import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.alignments import Hungarian, MaxCorr
from saeuniv.compare import summarise
from saeuniv.metrics.base import DOCUMENT_SHIFT
from saeuniv.metrics.topk_overlap import TopkOverlap
from saeuniv.numerics.latents import Floors
from tests.synthetic import matched_pair, streams

K = 3


@pytest.fixture(scope="module")
def data():
    return streams(seed=1, shared=20, token_latents=6, n_latents=40, n_documents=80)


def measure(data, alignment=None, k=K, **changes):
    pair = matched_pair(data, alignment or Hungarian(), TopkOverlap(k=k), **changes)
    return pair, {each.direction: each for each in TopkOverlap(k=k).measure(pair)}


def named(dense, index, name_of):
    """The names of the K most active matched latents of each row."""
    columns = sorted(set(index.tolist()))
    rows = []
    for row in dense:
        active = sorted((c for c in columns if row[c] > 0), key=lambda c: (-row[c], c))
        rows.append({name_of[c] for c in active[:K]})
    return rows


def corrected(a, b):
    """Observed overlap against that of sets drawn with each name's own rate."""
    sizes = sum(map(len, a)) + sum(map(len, b))
    observed = 2 * sum(len(x & y) for x, y in zip(a, b, strict=True)) / sizes
    rate_a, rate_b = (
        {n: sum(n in s for s in side) / len(side) for n in set().union(*side)} for side in (a, b)
    )
    chance = 2 * len(a) * sum(rate_a[n] * rate_b.get(n, 0) for n in rate_a) / sizes
    return (observed - chance) / (1 - chance)


def oracle(pair, direction, shift=0, n_sequences=None):
    matching, positions = pair.matches[direction], pair.a.halves[1].half.positions
    rows = None if n_sequences is None else n_sequences * positions
    x, y = (side.halves[1].matrix.toarray()[:rows] for side in (pair.a, pair.b))
    y = np.roll(y, -shift * positions, axis=0)
    couples = list(zip(matching.index_a.tolist(), matching.index_b.tolist(), strict=True))
    # Several latents of one side may share a partner: names are those of the side that is shared.
    shared = 0 if direction == "b_to_a" else 1
    names = [{couple[side]: couple[shared] for couple in couples} for side in (0, 1)]
    return corrected(named(x, matching.index_a, names[0]), named(y, matching.index_b, names[1]))


def test_the_value_is_the_corrected_overlap_of_the_sets_on_d2(data):
    pair, found = measure(data)
    assert set(found) == {"both"} and found["both"].n_matches == len(pair.matches["both"].index_a)
    assert found["both"].value == pytest.approx(oracle(pair, "both")) and 0.1 < found["both"].value < 0.9


def test_a_model_compared_with_itself_scores_one_in_any_order_and_scale(data):
    order = np.random.default_rng(2).permutation(40)
    for alignment in (Hungarian(), MaxCorr()):
        same = data._replace(b=sp.csr_array(2.0 * data.a.toarray()[:, order]))
        assert [each.value for each in measure(same, alignment)[1].values()] == pytest.approx(
            [1.0] * len(measure(same, alignment)[1])
        )


def test_one_latent_made_much_louder_changes_it(data):
    """The negative control: scaling all latents alike changes nothing, scaling them apart does."""
    louder = data._replace(b=sp.csr_array(data.b.toarray() * np.geomspace(1, 1e4, 40)))
    before, after = (measure(each)[1]["both"].value for each in (data, louder))
    assert abs(after - before) > 0.05


def test_the_null_shifts_b_by_documents_under_the_same_matches(data):
    pair, found = measure(data)
    null = found["both"].nulls[DOCUMENT_SHIFT]
    assert len(null) == 19 and abs(null.mean()) < 0.02 < found["both"].value
    shift = int(pair.draws.shifts[np.random.default_rng([0, 0]).integers(len(pair.draws.shifts))])
    assert null[0] == pytest.approx(oracle(pair, "both", shift, pair.draws.n_sequences))
    row = summarise(TopkOverlap(), found["both"], Hungarian(), confidence=0.95)
    assert (row.p_value, row.ci_low, row.reason) == (0.05, None, "no_interval")


def test_directions_in_which_latents_share_a_partner_are_averaged_draw_by_draw(data):
    pair, found = measure(data, MaxCorr())
    assert list(found) == ["a_to_b", "b_to_a", "both"]
    for direction in ("a_to_b", "b_to_a"):
        assert found[direction].value == pytest.approx(oracle(pair, direction))
    forward, backward, both = found.values()
    assert both.value == pytest.approx((forward.value + backward.value) / 2)
    means = (forward.nulls[DOCUMENT_SHIFT] + backward.nulls[DOCUMENT_SHIFT]) / 2
    np.testing.assert_allclose(both.nulls[DOCUMENT_SHIFT], means)


def test_latents_that_are_unrelated_score_zero_on_average():
    values = [measure(streams(seed=20 + s, n_latents=12))[1]["both"].value for s in range(12)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_what_is_undefined_says_why(data):
    _, found = measure(data, floors=Floors(min_firings=10**6, max_rate=0.5, min_within_share=0.01))
    assert (found["both"].value, found["both"].reason) == (None, "no_eligible_latents")
    _, found = measure(data, null_draws=99)
    assert found["both"].value is not None and found["both"].empty["p_value"] == "few_shifts"
    with pytest.raises(ValueError, match=r"metrics\.topk_overlap\.k=0: expected at least 1"):
        TopkOverlap(k=0)
