import numpy as np
import pytest

from saeuniv.numerics.rows import make_halves, split_documents


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
