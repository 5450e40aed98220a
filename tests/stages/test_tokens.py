"""Token sets: rows are grouped by the tokens that the model has just read."""

import numpy as np
import pytest

from saeuniv.stages.tokens import HeldOut


def _held_out(ids: np.ndarray, documents: np.ndarray, skip_first: int) -> HeldOut:
    keep = np.ones(ids.shape, dtype=bool)
    keep[:, :skip_first] = False
    return HeldOut(ids, keep, documents)


@pytest.mark.parametrize("skip_first", [2, 4])
def test_rows_of_a_group_share_their_last_tokens_and_no_other_rows_do(skip_first: int) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (5, 12)).astype(np.int32)
    groups = _held_out(ids, np.arange(5), skip_first).groups()
    for name, n_tokens in (("token", 1), ("token_bigram", 2), ("token_trigram", 3)):
        read = [
            tuple(row[place - n_tokens + 1 : place + 1].tolist())
            for row in ids
            for place in range(skip_first, ids.shape[1])
        ]
        labels = groups[name].tolist()
        assert len(labels) == len(read) == 5 * (12 - skip_first)
        # One label for each text, one text for each label.
        assert len(set(zip(labels, read, strict=True))) == len(set(labels)) == len(set(read))


def test_large_vocabularies_do_not_overflow() -> None:
    ids = np.array([[250_000, 0, 249_999, 1, 250_000, 0, 249_999]], dtype=np.int32)
    groups = _held_out(ids, np.zeros(1, dtype=np.int64), 2).groups()
    trigram = groups["token_trigram"]
    assert trigram[0] == trigram[-1]
    assert len(set(trigram.tolist())) == 4


def test_token_and_position_tells_equal_tokens_in_different_eighths_apart():
    ids = np.zeros((2, 18), dtype=np.int64)
    labels = _held_out(ids, np.zeros(2, dtype=np.int64), 2).groups()["token_x_position"].reshape(2, 16)
    assert (labels[0] == labels[1]).all()
    assert labels[0].tolist() == np.repeat(np.arange(8), 2).tolist()
    ids[:, 2] = 3
    assert len(set(_held_out(ids, np.zeros(2, dtype=np.int64), 2).groups()["token_x_position"])) == 9


def test_rows_are_the_kept_positions_in_reading_order() -> None:
    ids = np.arange(12, dtype=np.int32).reshape(2, 6)
    keep = np.array([[0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], dtype=bool)
    held_out = HeldOut(ids, keep, np.array([3, 7]))
    assert held_out.groups()["token"].tolist() == [2, 4, 9]
    assert held_out.row_documents.tolist() == [3, 3, 7]
    assert held_out.rows_per_sequence.tolist() == [2, 1]
    keep[0, 1] = True
    with pytest.raises(ValueError, match="from the third position on"):
        held_out.groups()
