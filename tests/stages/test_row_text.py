"""The text of tokens as metrics are given it, and that it is read only for those that ask."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from saeuniv.compare import CompareSettings
from saeuniv.config import Bootstrap, Eligibility, NoSae, Nulls
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.metrics import PublishedMeanCorrelation
from saeuniv.stages import compare as compare_module
from saeuniv.stages.compare import ComparePairs, PairOutputs
from saeuniv.stages.prepared import RowChoice
from saeuniv.stages.scores import load_scores
from saeuniv.stages.task import DictionaryReference, LatentsReference, ModelReference
from saeuniv.stages.tokenizer_files import row_text
from saeuniv.store import Kind, artifact
from tests.stored_runs import FIRST_ROW, byte_tokens, make_stored_run

TEXTS = {f"{each}": f"the {each} cat. sat é" * 3 for each in range(9)}
CONTEXT = 16


def reference(run, side):
    dictionary = DictionaryReference(Hookpoint(HookpointKind.resid_post, 0), NoSae(), 8, side, None, "")
    model = ModelReference(side, "gpt_neox", 1, side, None, str(run.folder), None)
    latents = (run.latents_a if side == "a" else run.latents_b)[0]
    return LatentsReference(latents, run.tokens[0], dictionary, model)


@pytest.fixture
def run(tmp_path, make_row):
    """Eight latents a side; the last of each fires on full stops alone."""
    tokens = byte_tokens(TEXTS, CONTEXT)
    kept = tokens.ids[:, FIRST_ROW:].ravel()
    text = np.concatenate([list(each.decode("latin-1")) for each in rows_as_bytes()])
    latents = np.random.default_rng(0).random((len(kept), 8)) * (np.arange(8) % 8 < 7)
    latents[:, 7] = text == "."
    return make_stored_run(tmp_path, make_row, tokens, {0: latents}, {0: latents})


def rows_as_bytes():
    for text in TEXTS.values():
        data = text.encode()
        for start in range(0, len(data) - CONTEXT + 1, CONTEXT):
            yield data[start + FIRST_ROW : start + CONTEXT]


def test_each_row_has_its_token_decoded_alone(run):
    whole = b"".join(rows_as_bytes())
    rows = np.array([0, 3, len(whole) - 1])
    found = row_text(run.store, reference(run, "a"), np.arange(len(whole))).tokens
    assert found == [bytes([each]).decode("utf-8", "replace") for each in whole]
    assert row_text(run.store, reference(run, "a"), rows).tokens == [found[each] for each in rows]
    assert "." in found and "�" in found


def test_each_row_has_the_word_that_its_token_is_a_part_of(run):
    """Also where the word begins on a position that is no row; letters of two bytes are two tokens of it."""
    expected = []
    for text in TEXTS.values():
        data = text.encode()
        for start in range(0, len(data) - CONTEXT + 1, CONTEXT):
            shown = data[start : start + CONTEXT]
            places = [""] * CONTEXT
            for word in re.finditer(rb"(?:[a-z]|\xc3\xa9)+", shown):
                places[slice(*word.span())] = [word[0].decode()] * len(word[0])
            expected += places[FIRST_ROW:]
    words = row_text(run.store, reference(run, "a"), np.arange(len(expected))).words
    found = [words.vocabulary[each] for each in words.ids]
    assert found == expected and {"the", "cat", "sat", "éthe", ""} <= set(found)
    some = np.array([5, 40])
    again = row_text(run.store, reference(run, "a"), some).words
    assert [again.vocabulary[each] for each in again.ids] == [found[each] for each in some]


def test_a_tokenizer_that_is_nowhere_gives_no_text_and_says_so(tmp_path, make_row, caplog):
    tokens = replace(byte_tokens(TEXTS, CONTEXT), tokenizer="0" * 16)
    run = make_stored_run(tmp_path, make_row, tokens, {0: np.ones((tokens.n_rows, 8))}, {})
    with caplog.at_level(logging.WARNING):
        assert row_text(run.store, replace(reference_of(run), tokens=run.tokens[0]), np.arange(3)) is None
    assert "expected its tokenizer (0000000000000000) with a, found it nowhere" in caplog.text


def reference_of(run):
    return reference(run, "a")


def test_scores_read_the_text_where_a_metric_asks_for_it_and_only_there(run, monkeypatch):
    read = []

    def counted(*asked):
        read.append(asked)
        return row_text(*asked)

    monkeypatch.setattr(compare_module, "row_text", counted)
    metrics = [PublishedMeanCorrelation(), PublishedMeanCorrelation(unfiltered=False)]
    settings = CompareSettings(
        metrics=(),
        eligibility=Eligibility(min_firings=0, max_rate=1.0, min_within_share=0.0),
        nulls=Nulls(draws=19),
        bootstrap=Bootstrap(draws=60),
    )
    n_matches = []
    for metric in metrics:
        output = artifact(Kind.scores, {"unfiltered": metric.unfiltered})
        pair = PairOutputs((reference(run, "b"),), None, (), ((metric, output),))
        ComparePairs(
            run.store.root,
            (),
            (output,),
            1.0,
            (reference(run, "a"),),
            (pair,),
            settings,
            RowChoice(None, False),
        )(lambda done, total: None)
        (found,) = load_scores(run.store.open(output)).measurements
        assert found.value == pytest.approx(1.0)
        n_matches.append(found.n_matches)
    # The latent of full stops, and those whose peaks have one.
    assert n_matches[0] == 8 and n_matches[1] < 8
    assert len(read) == 1
