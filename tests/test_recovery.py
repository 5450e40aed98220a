"""Partners that were planted are found, and what only looks like a partner is not."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recovery_calibration import BROKEN, SMALL, UNRELATED, calibration
from benchmarks.recovery_data import StreamSettings, make_streams
from benchmarks.recovery_figure import means
from benchmarks.recovery_scores import aligned, methods, overlap_scores, score, token_scores
from saeuniv.metrics import PartialCorrelation
from saeuniv.numerics.rows import make_halves

ROOT = Path(__file__).resolve().parent.parent
EASY = StreamSettings(
    rows=12_000, latents=60, overlap=1.0, token_share=0.0, misses=0.0, value_noise=0.0, top_rate=0.1
)


def scores(settings, **at):
    streams = make_streams(settings)
    found = [
        score(streams, alignment, pairs, sweep="overlap", at=settings.overlap, seed=0)
        for alignment, pairs in aligned(streams)
    ]
    return {(each.alignment, each.condition): each for each in found}


def test_without_noise_and_with_full_overlap_every_alignment_finds_every_partner():
    found = scores(EASY)
    assert {name for name, _ in found} == {method.name for method in methods()}
    assert {"max_corr", "mutual_nn", "hungarian"} <= {name for name, _ in found}
    for name in ("max_corr", "mutual_nn", "hungarian"):
        for condition in ("token", "none"):
            assert (found[name, condition].precision, found[name, condition].recall) == (1.0, 1.0)


def test_without_overlap_precision_is_zero_and_recall_undefined():
    found = scores(dataclasses.replace(EASY, overlap=0.0))
    for each in found.values():
        # An alignment that pairs nothing here is right, and has no precision.
        assert each.precision == (0.0 if each.pairs else None)
        assert (each.recall, each.fooled) == (None, None)
    assert all(found[name, "token"].pairs for name in ("max_corr", "mutual_nn", "hungarian"))


def test_raw_correlation_is_fooled_by_the_token_where_token_partialled_is_not():
    settings = StreamSettings(rows=20_000, latents=100, overlap=0.5, token_share=0.3, misses=0.3)
    found = scores(settings)
    for name in ("max_corr", "mutual_nn", "hungarian"):
        token, none = found[name, "token"], found[name, "none"]
        assert none.fooled > 0.9
        assert token.fooled < 0.5
    assert found["mutual_nn", "token"].precision > found["mutual_nn", "none"].precision


def test_partners_are_lost_with_fewer_tokens_and_with_more_noise():
    base = StreamSettings(rows=20_000, latents=200)
    few, many = (
        next(each for each in token_scores(base, (4_000, 20_000)) if each.at == at and each.pairs)
        for at in (4_000, 20_000)
    )
    assert few.recall < many.recall
    noisy = scores(dataclasses.replace(base, misses=0.8))["hungarian", "token"]
    clear = scores(dataclasses.replace(base, misses=0.1))["hungarian", "token"]
    assert noisy.recall < clear.recall


def test_partners_outside_a_bin_of_rates_are_not_counted():
    found = list(overlap_scores(dataclasses.replace(EASY, overlap=0.5), (0.5,), (0.0, 0.03, 1.0)))
    whole = [each for each in found if each.sweep == "overlap"]
    bins = [each for each in found if each.sweep == "rate"]
    assert len(bins) == 2 * len(whole)
    for each in whole:
        same = [b for b in bins if (b.alignment, b.condition) == (each.alignment, each.condition)]
        for count in ("pairs", "planted", "right"):
            assert sum(getattr(b, count) for b in same) == getattr(each, count)
            assert all(getattr(b, count) > 0 for b in same)


def test_the_same_seed_gives_the_same_streams_and_another_seed_others():
    settings = StreamSettings(rows=3_000, latents=40, seed=5)
    first, again = make_streams(settings), make_streams(settings)
    other = make_streams(dataclasses.replace(settings, seed=6))
    for side in ("a", "b"):
        assert (getattr(first, side) != getattr(again, side)).nnz == 0
    assert (first.partner == again.partner).all()
    assert (first.partner != other.partner).any()


def test_streams_are_what_their_description_says():
    settings = StreamSettings(rows=60_000, latents=200, overlap=0.25, token_share=0.2)
    streams = make_streams(settings)
    fires_a, fires_b = (np.diff(side.tocsc().indptr) / side.shape[0] for side in (streams.a, streams.b))
    assert streams.a.shape[0] >= 60_000 and streams.a.data.min() > 0
    assert (streams.partner >= 0).sum() == 40 and (streams.token_a >= 0).sum() == 40
    # Misses and stray firings balance; a token latent only misses.
    concepts, tokens = streams.token_a < 0, streams.token_a >= 0
    assert 0.8 < np.median(fires_a[concepts] / streams.rate[concepts]) < 1.1
    assert fires_a[tokens].mean() / streams.rate[tokens].mean() == pytest.approx(0.4, abs=0.03)
    shared = streams.partner >= 0
    assert np.corrcoef(fires_a[shared], fires_b[streams.partner[shared]])[0, 1] > 0.95
    # A token latent fires on its token alone.
    latent = int(np.flatnonzero(tokens)[0])
    rows = streams.a[:, [latent]].nonzero()[0]
    assert (streams.tokens[rows] == streams.token_a[latent]).all()


def test_documents_switch_latents_on():
    """Firings of a document vary far more than those of independent rows would."""
    calm, bursting = (
        make_streams(StreamSettings(rows=40_000, latents=50, token_share=0.0, burst=burst))
        for burst in (1.0, 8.0)
    )
    ratios = []
    for streams in (calm, bursting):
        rows = np.bincount(streams.documents)
        fires = (streams.a.tocsc()[:, [int(streams.rate.argmax())]] > 0).toarray().ravel()
        chance = fires.mean()
        counts = np.bincount(streams.documents, weights=fires)
        ratios.append(np.mean((counts - chance * rows) ** 2 / (rows * chance * (1 - chance))))
    assert 0.6 < ratios[0] < 1.5
    assert ratios[1] > 4


def test_the_first_rows_are_whole_documents_of_the_same_streams():
    streams = make_streams(StreamSettings(rows=5_000, latents=30))
    part = streams.first(2_000)
    rows = part.a.shape[0]
    assert 2_000 <= rows < 2_500 and rows == len(part.tokens) == len(part.documents)
    assert streams.documents[rows] != part.documents[-1]
    assert (part.b != streams.b[:rows]).nnz == 0
    make_halves(part.documents, part.groups, positions=part.positions)


def test_groups_know_the_tokens_before_and_nothing_before_a_sequence():
    groups = make_streams(StreamSettings(rows=3_000, latents=10, positions=10, vocabulary=5)).groups
    tokens = groups["token"].reshape(-1, 10)
    bigrams, trigrams = (groups[name].reshape(-1, 10) for name in ("token_bigram", "token_trigram"))
    for labels, width in ((bigrams, 2), (trigrams, 3)):
        for row, column in ((0, 5), (3, 0), (7, 1)):
            past = tokens[:, max(0, column - width + 1) : column + 1]
            same = (past == past[row]).all(axis=1)
            assert ((labels[:, column] == labels[row, column]) == same).all()


@pytest.mark.calibration
def test_documents_that_are_ignored_break_the_null_and_the_table_says_so():
    settings = [dataclasses.replace(SMALL, max_sequences=16, burst=20.0, seed=seed) for seed in range(40)]
    (broken,) = calibration(BROKEN, settings, (PartialCorrelation(),))
    (sound,) = calibration(UNRELATED, settings, (PartialCorrelation(),))
    assert broken.share > 0.3 > sound.share
    assert broken.ks_p < 1e-6
    assert sound.holds is None
    assert broken._replace(replicates=200).holds is False
    assert sound._replace(replicates=200, share=0.05, ks_p=0.5).holds is True


@pytest.mark.calibration
def test_the_command_prints_tables_and_writes_figure_and_numbers(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.recovery", "--quick", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for title in ("against overlap", "against tokens", "against firing rate", "sequences as documents"):
        assert title in done.stdout
    assert (out / "recovery.png").read_bytes().startswith(b"\x89PNG")
    with (out / "recovery.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["sweep"] for row in rows} == {"overlap", "tokens", "rate"}
    assert {row["alignment"] for row in rows} == {method.name for method in methods()}
    assert all(row["recall"] == "" for row in rows if row["planted"] == "0")
    with (out / "calibration.csv").open() as file:
        assert {"partial_correlation", "cka"} <= {row["metric"] for row in csv.DictReader(file)}


def test_a_number_that_no_seed_defines_has_no_point_in_the_figure():
    streams = make_streams(dataclasses.replace(EASY, overlap=0.0))
    alignment, pairs = next(aligned(streams))
    none = score(streams, alignment, pairs, sweep="overlap", at=0.0, seed=0)
    some = none._replace(planted=2, right=1, seed=1)
    key = (alignment.name, alignment.condition.value)
    assert ("overlap", "recall", *key) not in means([none])
    assert means([none, some])["overlap", "recall", *key] == {0.0: 0.5}
