"""Random sets agree with the target in size and firing rates, and in nothing else."""

import numpy as np
import pytest
import scipy.stats

from saeuniv.numerics.random_subsets import equal_candidates, rate_matched_subsets

SETTINGS = {"bins_per_decade": 2, "exclude_target": False, "draws": 20, "seed": 0}


def zipf_rates(n=400):
    return np.random.default_rng(0).permutation(0.4 / np.arange(1, n + 1))


def bins(rates, per_decade=2):
    return np.floor(np.log10(rates) * per_decade)


@pytest.mark.parametrize("exclude_target", [False, True])
@pytest.mark.parametrize("per_decade", [1, 2, 4])
def test_every_entry_is_in_the_bin_of_the_latent_it_stands_for_and_occurs_once(exclude_target, per_decade):
    rates = zipf_rates()
    target = np.random.default_rng(1).choice(np.argsort(rates)[:300], 40, replace=False)
    settings = SETTINGS | {"bins_per_decade": per_decade, "exclude_target": exclude_target}
    subsets = rate_matched_subsets(rates, target, **settings)
    assert subsets.shape == (20, 40)
    assert (bins(rates[subsets], per_decade) == bins(rates[target], per_decade)).all()
    assert all(len(set(each)) == 40 for each in subsets)
    shared = np.isin(subsets, target).mean()
    assert shared == 0 if exclude_target else 0.02 < shared < 0.5


def test_the_rates_of_plain_random_subsets_differ_from_the_targets():
    """The negative control: a frequent target against sets of any latents."""
    rates = zipf_rates()
    target = np.argsort(-rates)[20:60]
    matched = rates[rate_matched_subsets(rates, target, **SETTINGS)].mean()
    plain = rates[equal_candidates(400, 40, draws=20, seed=0)].mean()
    assert matched == pytest.approx(rates[target].mean(), rel=0.15)
    assert plain < rates[target].mean() * 0.8 or plain > rates[target].mean() * 1.2


def test_every_latent_of_a_bin_is_equally_likely():
    rates = np.repeat([0.2, 0.002], 10)
    subsets = rate_matched_subsets(rates, np.array([0, 1, 2, 15]), **(SETTINGS | {"draws": 2000}))
    counts = np.bincount(subsets.ravel(), minlength=20)
    assert scipy.stats.chisquare(counts[:10]).pvalue > 0.001
    assert scipy.stats.chisquare(counts[10:]).pvalue > 0.001
    assert (counts[:10].sum(), counts[10:].sum()) == (6000, 2000)


def test_p_of_a_target_that_is_a_random_set_is_uniform():
    rng = np.random.default_rng(2)
    rates, score = zipf_rates(100), rng.random(100)
    p = []
    for replicate in range(400):
        # A target with the same bins as another random one: random given its rates.
        (target,) = rate_matched_subsets(rates, np.arange(20), **(SETTINGS | {"draws": 1, "seed": replicate}))
        null = score[rate_matched_subsets(rates, target, **(SETTINGS | {"draws": 49, "seed": 7}))].mean(
            axis=1
        )
        p.append((1 + (null >= score[target].mean() - 1e-12).sum() - rng.random()) / 50)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_a_draw_depends_on_the_seed_and_its_number_alone():
    rates, target = zipf_rates(), np.arange(30)
    few, many = (rate_matched_subsets(rates, target, **(SETTINGS | {"draws": n})) for n in (3, 12))
    np.testing.assert_array_equal(few, many[:3])
    other = rate_matched_subsets(rates, target, **(SETTINGS | {"draws": 3, "seed": 1}))
    assert not np.array_equal(few, other) and not np.array_equal(few[0], few[1])
    few, many = (equal_candidates(50, 20, draws=n, seed=3) for n in (3, 12))
    np.testing.assert_array_equal(few, many[:3])


def test_latents_that_never_fire_are_never_drawn():
    rates = np.append(zipf_rates(50), np.zeros(50))
    assert rate_matched_subsets(rates, np.arange(25), **SETTINGS).max() < 50


def test_an_empty_target_has_empty_subsets():
    none = np.zeros(0, np.int64)
    assert rate_matched_subsets(zipf_rates(), none, **SETTINGS).shape == (20, 0)


def test_a_bin_that_is_exhausted_is_named_with_what_it_lacks():
    rates = np.array([0.2, 0.15, 0.12, 0.002, 0.0021])
    target = np.array([0, 1, 3])
    with pytest.raises(
        ValueError,
        match=r"at least 2 latents with firing rates from 0\.1 to 0\.316, .* got 1 outside the target",
    ):
        rate_matched_subsets(rates, target, **(SETTINGS | {"exclude_target": True}))
    assert rate_matched_subsets(rates, target, **SETTINGS).shape == (20, 3)


@pytest.mark.parametrize(
    ("rates", "target", "changes", "message"),
    [
        ([0.1, np.nan], [0], {}, r"rates: expected firing rates in \[0, 1\], got nan at \[1\]"),
        ([0.1, 1.5], [0], {}, r"rates: expected firing rates in \[0, 1\], got 1\.5 at \[1\]"),
        ([0.1, 0.2], [0, 2], {}, r"target: expected latents 0\.\.1, got 2 at \[1\]"),
        ([0.1, 0.2], [1, 0, 1], {}, r"target: expected each latent once, got 1 again at \[2\]"),
        ([0.1, 0.0], [0, 1], {}, r"target: expected latents that fire, got 1 with rate 0 at \[1\]"),
        ([0.1, 0.2], [0], {"bins_per_decade": 0}, "bins_per_decade=0: expected at least 1"),
    ],
)
def test_bad_input_is_refused_with_the_position(rates, target, changes, message):
    with pytest.raises(ValueError, match=message):
        rate_matched_subsets(np.array(rates), np.array(target), **(SETTINGS | changes))


def test_equal_candidates_are_distinct_ascending_and_uniform():
    drawn = equal_candidates(30, 12, draws=3000, seed=0)
    assert drawn.shape == (3000, 12) and (np.diff(drawn, axis=1) > 0).all()
    # Without replacement counts vary less than multinomial ones, so the test is conservative.
    assert scipy.stats.chisquare(np.bincount(drawn.ravel(), minlength=30)).pvalue > 0.01


def test_all_candidates_are_kept_where_none_has_to_go():
    np.testing.assert_array_equal(equal_candidates(5, 5, draws=2, seed=0), [np.arange(5)] * 2)
    with pytest.raises(ValueError, match=r"n_target=6: expected between 0 and n_eligible=5, got 6"):
        equal_candidates(5, 6, draws=2, seed=0)


def test_equal_candidates_take_the_width_out_of_the_best_match():
    """The best of more candidates is higher for no reason: cut to equal numbers the means agree."""
    rng = np.random.default_rng(4)
    narrow, wide = rng.standard_normal((300, 50)), rng.standard_normal((300, 200))
    cut = np.mean(
        [wide[:, index].max(axis=1).mean() for index in equal_candidates(200, 50, draws=10, seed=0)]
    )
    assert wide.max(axis=1).mean() > narrow.max(axis=1).mean() + 0.3
    assert cut == pytest.approx(narrow.max(axis=1).mean(), abs=0.1)
