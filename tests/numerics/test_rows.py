import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeuniv.numerics.rows import BLOCK_ROWS, make_halves, select_rows, split_documents, united


def test_each_document_goes_to_the_lighter_half_and_ties_to_the_first():
    assert split_documents(np.array([5, 3, 1, 4, 2])).tolist() == [0, 1, 1, 1, 0]
    assert split_documents(np.array([2, 2, 2, 2])).tolist() == [0, 1, 0, 1]


def test_halves_partition_the_rows_by_whole_documents():
    documents = np.repeat(np.arange(10), np.arange(1, 11) * 4)
    groups = {"token": np.arange(len(documents)) % 7}
    first, second = make_halves(documents, groups, positions=4)
    assert sorted([*first.rows, *second.rows]) == list(range(len(documents)))
    assert not set(documents[first.rows]) & set(documents[second.rows])
    assert abs(len(first.rows) - len(second.rows)) <= 40
    for half in (first, second):
        assert half.groups["token"].counts.sum() == len(half.rows)
        assert half.groups["none"].counts.tolist() == [len(half.rows)]
        assert (half.documents_by_group("token").sum(axis=1) == half.rows_per_document).all()


def test_both_halves_as_one_have_all_rows_in_their_order_and_whole_documents():
    documents = np.repeat(np.arange(10), np.arange(1, 11) * 4)
    both = united(make_halves(documents, {"token": np.arange(len(documents)) % 7}, positions=4))
    assert both.rows.tolist() == list(range(len(documents)))
    assert both.documents.tolist() == documents.tolist() and both.n_sequences == 55
    assert both.groups.keys() == {"none"} and both.groups["none"].counts.tolist() == [len(documents)]


def test_longest_document_is_counted_in_sequences():
    first, second = make_halves(np.repeat([0, 1, 2], [12, 4, 4]), {}, positions=4)
    assert (first.longest_document, second.longest_document) == (3, 1)


def test_degrees_of_freedom_are_rows_less_groups():
    documents = np.repeat([0, 1], 6)
    first, _ = make_halves(documents, {"token": np.array([0, 0, 1, 1, 2, 3] * 2)}, positions=3)
    assert first.groups["token"].df_share == pytest.approx((6 - 4) / 6)


@pytest.mark.parametrize(
    ("documents", "groups", "positions", "message"),
    [
        ([0, 0, 0], {}, 2, "whole sequences, got 3 rows"),
        ([0, 1, 1, 1], {}, 2, "spans documents"),
        ([1, 1, 0, 0], {}, 2, "out of order"),
        (
            [0, 0, 1, 1],
            {"token": np.zeros(3, int)},
            2,
            r"groups\[token\]: expected 4 labels, one a row, got 3",
        ),
        ([0, 0, 0, 0], {}, 2, "at least two .* got 1"),
    ],
)
def test_rows_that_make_no_halves_are_refused(documents, groups, positions, message):
    with pytest.raises(ValueError, match=message):
        make_halves(np.array(documents), groups, positions=positions)


def test_sequences_that_keep_equal_positions_are_left_whole():
    keep = np.tile(np.arange(8) >= 3, (4, 1))
    made = select_rows(keep, np.array([0, 0, 1, 1]), np.zeros(20, dtype=bool), n_rows=None)
    assert (made.rows.tolist(), made.positions, made.dropped) == (list(range(20)), 5, 0)
    fewer = select_rows(keep, np.array([0, 0, 1, 1]), np.zeros(20, dtype=bool), n_rows=6)
    assert fewer.rows.tolist() == list(range(10))
    with pytest.raises(ValueError, match=r"data\.n_tokens=21: expected at most the rows .* which are 20 "):
        select_rows(keep, np.array([0, 0, 1, 1]), np.zeros(20, dtype=bool), n_rows=21)


def test_masked_rows_leave_blocks_within_documents():
    keep = np.ones((4, 50), dtype=bool)
    masked = np.zeros(200, dtype=bool)
    masked[[0, 120]] = True
    made = select_rows(keep, np.array([0, 0, 1, 1]), masked, n_rows=None)
    # 99 rows are left of each document: three blocks, and three rows left over.
    assert made.positions == BLOCK_ROWS == 32
    assert made.dropped == 6
    assert made.rows.tolist() == [*range(1, 97), *range(100, 120), *range(121, 197)]


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    share=st.floats(0.2, 1.0),
    seed=st.integers(0, 99),
)
def test_selections_of_fewer_rows_are_prefixes_and_blocks_stay_within_documents(sizes, share, seed):
    rng = np.random.default_rng(seed)
    documents = np.repeat(np.arange(len(sizes)), sizes)
    keep = rng.random((len(documents), 60)) < share
    masked = rng.random(int(keep.sum())) < 0.1
    of_row = np.repeat(documents, keep.sum(1))
    if max(np.bincount(of_row[~masked], minlength=1), default=0) < BLOCK_ROWS:
        return
    every = select_rows(keep, documents, masked, n_rows=None)
    assert len(every.rows) + every.dropped == int((~masked).sum())
    assert not masked[every.rows].any()
    blocks = of_row[every.rows].reshape(-1, every.positions)
    assert (blocks == blocks[:, :1]).all()
    fewer = select_rows(keep, documents, masked, n_rows=1 + len(every.rows) // 2)
    assert len(every.rows) // 2 < len(fewer.rows) < len(every.rows) // 2 + 1 + every.positions
    np.testing.assert_array_equal(every.rows[: len(fewer.rows)], fewer.rows)
