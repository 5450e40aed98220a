"""compare_latents: every metric at once, for people with arrays of their own."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import yaml

from saeuniv.alignments import DecoderCosine, Hungarian, MaxCorr, MutualNn
from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Condition, Eligibility, Nulls
from saeuniv.config.registry import CONF_DIR
from saeuniv.metrics import Cka, MatchedCorrelation, Svcca
from saeuniv.metrics.base import PERMUTATION, SELECTION_SHIFT, WITHIN_TOKEN_SHUFFLE
from saeuniv.numerics.dictionary_similarity import DictionaryParameters
from tests.synthetic import compared, streams

SETTINGS = CompareSettings(
    eligibility=Eligibility(min_firings=5), nulls=Nulls(draws=39), bootstrap=Bootstrap(draws=100)
)
D_MODEL = 8


def decoders(data, *, seed=0, rotated=True):
    """Decoder directions that agree for planted partners up to a rotation, or are unrelated."""
    rng = np.random.default_rng([seed, 5])
    a = rng.standard_normal((data.a.shape[1], D_MODEL))
    if not rotated:
        return a, rng.standard_normal((data.b.shape[1], D_MODEL))
    rotation = np.linalg.qr(rng.standard_normal((D_MODEL, D_MODEL)))[0]
    b = np.empty_like(a)
    b[data.permutation] = a @ rotation
    return a, b


def compare(data, settings=SETTINGS, **changes):
    return compared(data, settings, **changes)


@pytest.fixture(scope="module")
def shared():
    data = streams(seed=0, shared=40, n_latents=40, n_documents=160)
    return data, compare(data, decoders=decoders(data))


def test_planted_partners_are_found_by_every_metric(shared):
    _, found = shared
    for metric in ("partial_correlation", "raw_correlation", "matched_correlation", "cka", "svcca"):
        row = found[metric, "both"]
        assert row.value > 0.8, metric
        assert row.p_value == pytest.approx(1 / (1 + row.null_draws)), metric
        assert row.calibrated > 0.7 and row.excess > 0.4 and row.z > 5, metric
    assert found["cka", "both"].value == pytest.approx(1.0, abs=1e-6)


def test_every_reason_for_an_empty_number_is_given(shared):
    _, found = shared
    for row in found.values():
        empty = [row.p_value, row.calibrated, row.ci_low]
        assert bool(row.reason) == (None in empty), row
    assert found["partial_correlation_bigram", "both"].reason == "not_requested"
    assert found["cka", "both"].reason == "needs_rematching"


def test_metrics_of_decoders_are_left_out_without_decoders():
    data = streams(seed=1)
    assert not {"cka", "svcca"} & {metric for metric, _ in compare(data)}


def test_dense_arrays_give_the_same_as_sparse_ones():
    data = streams(seed=2, shared=10)
    dense = data._replace(a=data.a.toarray(), b=data.b.toarray())
    assert compare(dense) == compare(data)


def test_equal_seeds_give_equal_numbers_and_other_seeds_other_draws():
    data = streams(seed=3, shared=10)
    first = compare(data, decoders=decoders(data))
    assert compare(data, decoders=decoders(data)) == first
    other = dataclasses.replace(SETTINGS, nulls=Nulls(seed=1, draws=39))
    again = compare(data, other, decoders=decoders(data))
    assert again["cka", "both"].value == first["cka", "both"].value
    assert again["cka", "both"].null_mean != first["cka", "both"].null_mean


def test_unrelated_decoders_have_cka_and_svcca_like_their_null():
    data = streams(seed=4, n_latents=40, n_documents=160)
    found = compare(data, decoders=decoders(data, rotated=False))
    assert abs(found["cka", "both"].excess) < 0.1
    assert abs(found["svcca", "both"].excess) < 0.15
    assert found["svcca", "both"].null_mean > 0.2
    assert "rank_limited" in found["svcca", "both"].flags


def test_what_the_token_alone_gives_is_found_by_shuffling_within_the_token():
    data = streams(seed=6, n_latents=24, token_latents=24, n_documents=160)
    settings = dataclasses.replace(
        SETTINGS,
        eligibility=Eligibility(min_firings=5, min_within_share=1e-6),
        alignment=Hungarian(condition=Condition.none),
        metrics=(MatchedCorrelation(),),
    )
    measured = measurements(data, settings)
    value, shuffled = measured.value, measured.nulls[WITHIN_TOKEN_SHUFFLE].mean()
    assert value > 0.5
    assert shuffled == pytest.approx(value, abs=0.05)


def measurements(data, settings):
    """The measurement of both directions of the only metric, with its draws."""
    from saeuniv.matching import with_matches
    from saeuniv.metrics.layer_pair import LayerPair, make_draws
    from saeuniv.numerics.latents import prepare_layer
    from saeuniv.numerics.rows import make_halves

    halves = make_halves(data.documents, data.groups, positions=data.positions)
    a, b = (prepare_layer(side, halves, floors=settings.floors) for side in (data.a, data.b))
    pair = LayerPair(a, b, make_draws(halves, settings.draws), 0.5)
    (metric,) = settings.metrics
    return metric.measure(with_matches(pair, settings.alignment, settings.metrics))[-1]


@pytest.mark.parametrize("alignment", [MaxCorr(), MutualNn()])
def test_alignments_whose_size_varies_have_values_but_no_p_for_decoder_metrics(alignment):
    data = streams(seed=7, shared=40, n_latents=40, n_documents=160)
    settings = dataclasses.replace(SETTINGS, alignment=alignment)
    row = compare(data, settings, decoders=decoders(data))["cka", "both"]
    assert row.value > 0.9 and row.alignment == alignment.name
    assert (row.p_value, row.calibrated) == (None, None) and "matching_size_varies" in row.reason
    directed = {direction for metric, direction in compare(data, settings) if metric == "matched_correlation"}
    assert directed == ({"a_to_b", "b_to_a", "both"} if alignment.name == "max_corr" else {"both"})


def test_adding_a_metric_changes_no_number_of_the_others():
    data = streams(seed=8, shared=10)
    everything = compare(data, decoders=decoders(data))
    alone = dataclasses.replace(SETTINGS, metrics=(Svcca(),))
    assert compare(data, alone, decoders=decoders(data))["svcca", "both"] == everything["svcca", "both"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": np.zeros(5, int)}, "same tokens on both sides, got 2400 rows of A, 2400 of B and 5"),
        ({"groups": {}}, "expected labels for .*token.*, got \\[\\]"),
        ({"positions": 7}, "expected whole sequences, got 2400 rows"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes, message):
    data = streams(seed=0)._replace(**changes)
    with pytest.raises(ValueError, match=message):
        compare(data)


def test_comparing_latents_needs_neither_torch_nor_hydra():
    code = (
        "import sys, saeuniv; saeuniv.compare_latents; "
        "print([name for name in ('torch', 'hydra', 'transformers', 'wandb') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_nulls_of_decoder_metrics_are_selection_shift_and_permutation(shared):
    data, _ = shared
    settings = dataclasses.replace(SETTINGS, metrics=(Cka(),))
    found = compare(data, settings, decoders=decoders(data))["cka", "both"]
    assert found.null == SELECTION_SHIFT and found.null_draws == 39
    assert PERMUTATION != SELECTION_SHIFT


def test_the_default_metrics_are_those_of_the_configuration():
    configured = yaml.safe_load((CONF_DIR / "config.yaml").read_text())["defaults"]
    names = next(each["metrics"] for each in configured if isinstance(each, dict) and "metrics" in each)
    assert [each.name for each in CompareSettings().metrics] == names


def parameters(data, *, seed=0, basis="model"):
    """Dictionaries of one model whose partners read and write almost the same directions."""
    rng = np.random.default_rng([seed, 9])
    n = data.a.shape[1]
    a, b = rng.standard_normal((2, n, D_MODEL))
    b[data.permutation] = a + 0.05 * rng.standard_normal((n, D_MODEL))
    return (
        DictionaryParameters(a, np.zeros(n), a, None, "model"),
        DictionaryParameters(b, np.zeros(n), b, None, basis),
    )


def test_an_alignment_that_reads_dictionaries_finds_partners_and_has_no_null_of_its_own():
    data = streams(seed=3, shared=30, n_documents=160)
    settings = dataclasses.replace(
        SETTINGS, alignment=DecoderCosine(), metrics=(MatchedCorrelation(), Cka(), Svcca())
    )
    given = parameters(data)
    found = compare(data, settings, parameters=given, decoders=(given[0].decoder, given[1].decoder))
    matched = found["matched_correlation", "both"]
    assert matched.value > 0.8 and matched.p_value == pytest.approx(1 / (1 + matched.null_draws))
    for metric in ("cka", "svcca"):
        row = found[metric, "both"]
        assert row.value > 0.9 and row.p_value is None
        assert set(row.reason.split(";")) == {"matched_without_tokens", "needs_rematching"}


def test_dictionaries_of_two_bases_are_refused_unless_their_basis_is_said_to_be_the_same():
    data = streams(seed=3, shared=30)
    settings = dataclasses.replace(SETTINGS, alignment=DecoderCosine(), metrics=(MatchedCorrelation(),))
    given = parameters(data, basis="chat model")
    with pytest.raises(ValueError, match="expected dictionaries of one residual basis"):
        compare(data, settings, parameters=given)
    same = dataclasses.replace(settings, alignment=DecoderCosine(assume_same_basis=True))
    assert compare(data, same, parameters=given)["matched_correlation", "both"].value > 0.8
    with pytest.raises(ValueError, match=r"parameters of a: expected those of its dictionary, .* got none"):
        compare(data, settings)
