"""Top contexts of token sets and latents made by hand, where the peaks and the text around them are known."""

import json

import numpy as np
import pytest

from saeuniv.adapters.checkpoints import byte_tokenizer_json
from saeuniv.adapters.token_pieces import TokenBytes
from saeuniv.numerics.assignment import Matching
from saeuniv.stages.contexts import Text, Window, top_rows
from saeuniv.stages.pair_details import PairDetails
from saeuniv.stages.stored import stored_comparison
from saeuniv.stages.tokens import HeldOut, NamedDocument
from tests.stored_runs import FIRST_ROW, TokenSet, byte_tokens, make_stored_run

CONTEXT = 10
# There and back: a latent is compared if it fires on tokens that are seen twice.
TEXTS = {
    name: text + text[::-1]
    for name, text in {"one": "0123456789abcdefghij", "two": "ABCDEFGHIJ", "three/<b>": "zyxwvuts"}.items()
}
MATCH = {"both": Matching(np.array([0]), np.array([0]), np.array([0.5]))}
PER_SEQUENCE = CONTEXT - FIRST_ROW


def _row(sequence: int, position: int) -> int:
    return sequence * PER_SEQUENCE + position - FIRST_ROW


def _one_latent(n_rows: int, **values: float) -> np.ndarray:
    """A latent of these values, beside one that never fires."""
    out = np.zeros((n_rows, 2), np.float32)
    for row, value in values.items():
        out[int(row.removeprefix("row")), 0] = value
    return out


def _shown(contexts):
    return [(each.document, "".join(each.tokens), each.peak) for each in contexts]


@pytest.fixture
def run(tmp_path, make_row):
    """A fires at `e`, then `D`, then `4`; B at `f` and weakly at `D`; both in every document."""
    tokens = byte_tokens(TEXTS, CONTEXT)
    at = {f"row{_row(1, 4)}": 3.0, f"row{_row(4, 3)}": 2.0, f"row{_row(0, 4)}": 1.0}
    a = _one_latent(tokens.n_rows, **at)
    b = _one_latent(tokens.n_rows, **{f"row{_row(1, 5)}": 9.0, f"row{_row(4, 3)}": 0.5})
    return make_stored_run(tmp_path, make_row, tokens, {0: a, 3: a[:, ::-1]}, {7: b}, matches={(0, 7): MATCH})


def _details(run) -> PairDetails:
    return PairDetails(stored_comparison(run.folder))


def test_peaks_come_one_a_document_largest_first_ties_by_row():
    rows, documents = np.arange(6), np.array([0, 0, 1, 1, 2, 2])
    values = np.array([1.0, 5.0, 5.0, 5.0, 7.0, 0.0])
    assert top_rows(rows, values, documents, n=9).tolist() == [4, 1, 2]
    assert top_rows(rows, values, documents, n=1).tolist() == [4]
    assert top_rows(rows, np.zeros(6), documents, n=3).tolist() == []
    order = np.array([3, 1, 0, 5, 2, 4])
    assert top_rows(rows[order], values[order], documents[order], n=9).tolist() == [4, 1, 2]


def test_contexts_of_a_match_are_those_known_with_both_activations_on_the_same_tokens(run):
    found = _details(run).contexts(0, 7, 0, n_contexts=5, window=Window(2, 3))
    assert _shown(found) == [
        ("one", "cdefgh", 2),
        ("two", "BCDEFG", 2),
        ("one", "defghi", 2),
        ("two", "BCDEFG", 2),
    ]
    assert [each.of for each in found] == ["a", "a", "b", "b"]
    assert found[0].a.tolist() == [0, 0, 3, 0, 0, 0]
    assert found[0].b.tolist() == [0, 0, 0, 9, 0, 0]
    # Position 1 of a sequence is no row: nothing is known of it.
    np.testing.assert_equal(found[1].a, [np.nan, 0, 2, 0, 0, 0])
    np.testing.assert_equal(found[3].b, [np.nan, 0, 0.5, 0, 0, 0])


def test_contexts_say_where_their_document_is_from(tmp_path, make_row):
    tokens = byte_tokens(TEXTS, CONTEXT)
    tokens.domains = ("digits", "letters", "")
    a = _one_latent(tokens.n_rows, **{f"row{_row(1, 4)}": 3.0, f"row{_row(4, 3)}": 2.0})
    run = make_stored_run(tmp_path, make_row, tokens, {0: a}, {7: a}, matches={(0, 7): MATCH})
    found = _details(run).contexts(0, 7, 0, n_contexts=2, window=Window(0, 0))
    assert [(each.document, each.domain) for each in found] == [("one", "digits"), ("two", "letters")] * 2


def test_windows_end_where_sequences_do(run):
    first = _details(run).contexts(0, 7, 0, n_contexts=1, window=Window(99, 99))[0]
    assert ("".join(first.tokens), first.peak) == ("abcdefghij", 4)
    assert np.isnan(first.a[:FIRST_ROW]).all() and not np.isnan(first.a[FIRST_ROW:]).any()


def test_any_latents_of_a_layer_are_shown_compared_or_not(run):
    details = _details(run)
    peaks, none = details.latent_contexts("a", 0, 7, np.array([0, 1]), n_contexts=2, window=Window(0, 0))
    assert _shown(peaks) == [("one", "e", 0), ("two", "D", 0)] and none == ()
    assert peaks[0].a.tolist() == [3.0] and np.isnan(peaks[0].b).all()
    exchanged = details.latent_contexts("a", 3, 7, np.array([1]), n_contexts=2, window=Window(0, 0))
    assert _shown(exchanged[0]) == _shown(peaks)


def test_a_match_that_is_not_there_is_named(run):
    with pytest.raises(IndexError, match=r"match=5: expected one of the 1 matches of layer pair \(0, 7\)"):
        _details(run).contexts(0, 7, 5, n_contexts=1, window=Window(1, 1))


def test_peaks_are_among_the_rows_compared_on(tmp_path, make_row):
    tokens = byte_tokens({"x": "0123456789" * 2, "y": "abcdefghij" * 2}, CONTEXT)
    latents = _one_latent(tokens.n_rows, row3=1.0, row17=2.0, row30=9.0)
    method = {"rows": {"n_tokens": 24, "mask_high_norm": False}}
    run = make_stored_run(tmp_path, make_row, tokens, {0: latents}, {0: latents}, method=method)
    (found,) = PairDetails(stored_comparison(run.folder)).latent_contexts(
        "a", 0, 0, np.array([0]), n_contexts=3, window=Window(0, 0)
    )
    assert _shown(found) == [("y", "d", 0), ("x", "5", 0)]


def test_characters_split_over_tokens_are_whole_or_escaped(tmp_path, make_row):
    tokens = byte_tokens({"x": "ab€cdéfg", "y": "<script>\x00!"}, 10)
    tokens.ids[1, 9] = 99_999
    latents = _one_latent(tokens.n_rows, row1=2.0, row8=1.0)
    run = make_stored_run(tmp_path, make_row, tokens, {0: latents}, {0: latents})
    wide, hostile = PairDetails(stored_comparison(run.folder)).latent_contexts(
        "a", 0, 0, np.array([0]), n_contexts=3, window=Window(9, 9)
    )[0]
    # The peak is the second byte of the euro sign, which is shown there.
    assert wide.tokens == ("a", "b", "", "€", "", "c", "d", "é", "", "f")
    assert "".join(hostile.tokens) == "<script>\x00[99999]"
    (cut,) = PairDetails(stored_comparison(run.folder)).latent_contexts(
        "a", 0, 0, np.array([0]), n_contexts=1, window=Window(0, 1)
    )[0]
    assert cut.tokens == (r"\x82", r"\xac")


def test_sides_with_tokens_of_their_own_show_their_own_tokens_at_common_rows(tmp_path, make_row):
    names, documents = ("x", "y"), np.array([0, 0, 1, 1], np.int32)
    byte = byte_tokens({"x": "abcdefgh" * 2, "y": "ABCDEFGH" * 2}, 8)
    keep_a = np.zeros((4, 8), bool)
    keep_a[:, [3, 5, 7]] = True
    a = TokenSet(byte.ids, documents, names, keep=keep_a)
    ids_b = byte_tokens({"x": "01234" * 2, "y": "56789" * 2}, 5).ids
    keep_b = np.zeros((4, 5), bool)
    keep_b[:, [2, 3, 4]] = True
    b = TokenSet(ids_b, documents, names, keep=keep_b)
    latent_a = _one_latent(12, row1=2.0, row7=1.0)
    latent_b = _one_latent(12, row1=5.0, row2=4.0, row7=1.0)
    run = make_stored_run(tmp_path, make_row, (a, b), {0: latent_a}, {0: latent_b}, matches={(0, 0): MATCH})
    found = PairDetails(stored_comparison(run.folder)).contexts(0, 0, 0, n_contexts=1, window=Window(1, 2))
    assert _shown(found) == [("x", "efgh", 1), ("x", "234", 1)]
    np.testing.assert_equal(found[0].a, [np.nan, 2, np.nan, 0])
    np.testing.assert_equal(found[0].b, [np.nan, 5, np.nan, 4])
    np.testing.assert_equal(found[1].a, [0, 2, 0])
    np.testing.assert_equal(found[1].b, [0, 5, 4])


def test_padding_is_shown_around_rows_of_padding_only():
    ids = np.arange(8, dtype=np.int32)[None]
    held_out = HeldOut(ids, np.ones((1, 8), bool), np.zeros(1, np.int64), np.array([5]))
    named, token_bytes = (NamedDocument("x", ""),), TokenBytes(byte_tokenizer_json())
    text = Text(held_out, named, token_bytes)
    assert [text.around(row, Window(1, 2))[0] for row in (2, 4, 5)] == [slice(1, 5), slice(3, 5), slice(4, 8)]
    unpadded = Text(held_out._replace(lengths=None), named, token_bytes)
    assert unpadded.around(4, Window(1, 2))[0] == slice(3, 7)


def test_a_tokenizer_that_is_nowhere_leaves_numbers_and_a_warning(tmp_path, make_row, caplog):
    tokens = byte_tokens(TEXTS, CONTEXT)
    tokens.tokenizer = "0" * 16
    latents = _one_latent(tokens.n_rows, row3=1.0, row40=1.0)
    run = make_stored_run(
        tmp_path, make_row, tokens, {0: latents}, {0: latents}, config="a: {path: /nowhere}\n"
    )
    (found, _) = PairDetails(stored_comparison(run.folder)).latent_contexts(
        "a", 0, 0, np.array([0]), n_contexts=3, window=Window(0, 0)
    )[0]
    assert found.tokens == (f"[{tokens.ids[0, 5]}]",)
    assert "found it nowhere: tokens are shown as numbers" in caplog.text


def test_details_are_json_without_nan(run):
    details = _details(run).details(0, 7, n_matches=3, n_contexts=1, window=Window(1, 1))
    assert json.loads(json.dumps(details, allow_nan=False)) == details
    (match,) = details["matches"]
    assert (match["a"], match["b"]) == (0, 0)
    assert match["contexts"][0] == {
        **{"document": "one", "domain": "", "of": "a", "peak": 1, "tokens": ["d", "e", "f"]},
        **{"a": [0.0, 3.0, 0.0], "b": [0.0, 0.0, 9.0]},
    }
