"""What SVCCA of matched decoders tells beside its value: components kept and the closed-form null."""

import numpy as np
import pytest

from saeuniv.alignments import Hungarian
from saeuniv.metrics import Svcca
from saeuniv.metrics.base import PERMUTATION
from saeuniv.numerics.subspace import svcca, svcca_basis
from tests.synthetic import matched_pair, streams


@pytest.fixture(scope="module")
def measured():
    data = streams(seed=1, shared=40, n_latents=40, n_documents=80)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 5))
    b = np.empty((40, 8))
    b[data.permutation] = a @ rng.standard_normal((5, 8)) + rng.standard_normal((40, 8))
    metric = Svcca(variance_kept=1.0)
    pair = matched_pair(data, Hungarian(), metric, decoders=(a, b), null_draws=99)
    (found,) = metric.measure(pair)
    matching = pair.matches["both"]
    return metric, found, pair.a.decoder[matching.index_a], pair.b.decoder[matching.index_b]


def bases(x, y):
    return svcca_basis(x, variance_kept=1.0), svcca_basis(y, variance_kept=1.0)


def test_the_flags_say_how_many_components_were_kept_and_their_mean_squared_correlation(measured):
    _, found, x, y = measured
    mean_squared = svcca(*bases(x, y)).mean_squared
    assert found.flags == ("k=5/8", f"mean_squared={mean_squared:.4f}")
    assert mean_squared < found.value < np.sqrt(mean_squared)


def test_the_closed_form_null_is_that_of_the_mean_squared_correlation_and_says_so(measured):
    _, found, x, y = measured
    moments = found.moments["mean_squared_closed_form"]
    assert moments.mean == pytest.approx(8 / 39, rel=1e-9)
    basis_x, basis_y = bases(x, y)
    rng = np.random.default_rng(1)
    drawn = [svcca(basis_x, basis_y[rng.permutation(40)]).mean_squared for _ in range(2000)]
    assert (np.mean(drawn), np.std(drawn)) == pytest.approx((moments.mean, moments.std), rel=0.05)


def test_pairings_at_random_give_what_the_definition_gives(measured):
    _, found, x, y = measured
    basis_x, basis_y = bases(x, y)
    order = np.random.default_rng([0, 3]).permutation(40)
    expected = svcca(basis_x, basis_y[order]).similarity
    assert found.nulls[PERMUTATION][3] == pytest.approx(expected, abs=1e-9)


def test_directions_alike_leave_no_closed_form(measured):
    metric, _, x, y = measured
    assert metric.closed_form(metric.prepare(np.ones_like(x)), metric.prepare(y)) is None
    assert metric.closed_form(metric.prepare(x[:3]), metric.prepare(y[:3])) is None
