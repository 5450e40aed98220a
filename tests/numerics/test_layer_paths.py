"""Best layers and monotone paths against what they are by hand and by trying all paths."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeuniv.numerics.layer_paths import NO_LAYER, best_layers, monotone_path


def test_the_diagonal_is_its_own_path() -> None:
    matrix = np.eye(4)
    assert best_layers(matrix).tolist() == monotone_path(matrix).tolist() == [0, 1, 2, 3]


def test_a_path_does_not_go_back_where_the_best_layers_do() -> None:
    matrix = np.array([[0.1, 0.2, 0.9], [0.8, 0.5, 0.4], [0.1, 0.3, 0.9]])
    assert best_layers(matrix).tolist() == [2, 0, 2]
    # .9 + .4 + .9 against .1 + .8 + .9
    assert monotone_path(matrix).tolist() == [2, 2, 2]


def test_undefined_rows_are_left_out_and_undefined_entries_avoided() -> None:
    nan = np.nan
    matrix = np.array([[0.5, nan], [nan, nan], [0.9, 0.1]])
    assert best_layers(matrix).tolist() == [0, NO_LAYER, 0]
    assert monotone_path(matrix).tolist() == [0, NO_LAYER, 0]
    assert monotone_path(np.full((2, 2), nan)).tolist() == [NO_LAYER, NO_LAYER]
    with pytest.raises(ValueError, match="a path of defined entries that never goes back"):
        monotone_path(np.array([[nan, 0.5], [0.5, nan]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_no_other_path_has_a_larger_sum(n_a: int, n_b: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).integers(0, 4, (n_a, n_b)).astype(float)
    found = monotone_path(matrix)
    assert (np.diff(found) >= 0).all()
    paths = itertools.combinations_with_replacement(range(n_b), n_a)
    sums = [matrix[np.arange(n_a), list(path)].sum() for path in paths]
    assert matrix[np.arange(n_a), found].sum() == max(sums)
