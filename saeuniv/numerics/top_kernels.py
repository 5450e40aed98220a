"""Compiled search of a sparse product A'B for the largest entries of every row and column.

Gustavson's algorithm by latents of A: one dense row of totals, the blocks of it that were touched, and lists
of the m largest for the row and for all columns. A row is searched and forgotten; the matrix never exists.
"""

from typing import no_type_check

import numpy as np

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.top_lists import insert
from saeuniv.numerics.vectors import BLOCK, correlations_reach, prefetch, shares_reach

PEARSON, SHARE = 0, 1
"""what a total of products is turned into: r, or the share of rows where both fire"""

_AHEAD = 6
"""rows of B that are on their way while one is used (measured: 3 to 10 are alike, 0 is five times slower)"""
_LINE = 64


@compiled
@no_type_check
def pack(indices, data, scale, place, packed):
    """Entries of B side by side with the place of their latent, scaled: one stream instead of two."""
    for entry in range(len(indices)):
        latent = indices[entry]
        packed[entry].place = place[latent]
        packed[entry].value = data[entry] * scale[latent]


@compiled
@no_type_check
def add_row(first, end, rows_a, data_a, scale_a, b_indptr, packed, shift, total, touched):
    """Add the products of one latent of A with all of B to `total`, and mark the blocks they fall in."""
    n_rows = len(b_indptr) - 1
    number = total.dtype.type
    per_line = _LINE // packed.itemsize
    for entry in range(first, end):
        # The rows of B in which A fires are far apart: ask for them before they are needed.
        if entry + 2 * _AHEAD < end:
            row = np.int64(rows_a[entry + 2 * _AHEAD]) + shift
            prefetch(b_indptr, row - n_rows if row >= n_rows else row)
        if entry + _AHEAD < end:
            row = np.int64(rows_a[entry + _AHEAD]) + shift
            row = row - n_rows if row >= n_rows else row
            for ahead in range(b_indptr[row], b_indptr[row + 1], per_line):
                prefetch(packed, ahead)
        row = np.int64(rows_a[entry]) + shift
        row = row - n_rows if row >= n_rows else row
        value = number(data_a[entry] * scale_a)
        # Unsigned: signed indices are tested for being negative, each.
        for at in range(np.uint64(b_indptr[row]), np.uint64(b_indptr[row + 1])):
            place = np.uint64(packed[at].place)
            total[place] += value * packed[at].value
            touched[place // np.uint64(BLOCK)] = 1


@compiled
@no_type_check
def take_touched(touched, blocks):
    """List the marked blocks and unmark them; their number. Without a branch that cannot be foreseen."""
    count = 0
    for block in range(len(touched)):
        blocks[count] = block
        count += touched[block]
        touched[block] = 0
    return count


@compiled
@no_type_check
def search_row(
    a, level_a, total, blocks, level_b, bar_b, names_b, mode, floor, values, indices, col_values, col_indices
):
    """Enter the pairs of the listed blocks of one complete row in its list and in those of their columns."""
    number = total.dtype.type
    bar_a = max(floor, number(values[-1]))
    for block in blocks:
        first = np.int64(block) * BLOCK
        if mode == PEARSON:
            reached = correlations_reach(total, level_b, bar_b, first, level_a, bar_a)
        else:
            reached = shares_reach(total, level_b, bar_b, first, level_a, bar_a)
        b = first
        while reached:
            if reached & 1 and level_b[b] < np.inf:
                if mode == PEARSON:
                    value = total[b] - level_a * level_b[b]
                else:
                    value = total[b] / (level_a + level_b[b] - total[b])
                value = max(number(-1), min(number(1), value))
                if value >= bar_a and insert(values, indices, value, names_b[b]):
                    bar_a = max(floor, number(values[-1]))
                if value >= bar_b[b] and insert(col_values[b], col_indices[b], value, a):
                    bar_b[b] = max(floor, number(col_values[b, -1]))
            reached >>= np.uint32(1)
            b += 1
    return bar_a


@compiled
@no_type_check
def fill_row(level_a, bar_a, touched, level_b, ascending_b, next_b, names_b, values, indices):
    """Enter latents of B that never fire with this one of A: r = -level_a level_b, the lowest level first."""
    number = level_b.dtype.type
    at = 0
    while at < len(ascending_b):
        b = ascending_b[at]
        value = max(number(-1), -(level_a * level_b[b]))
        if value < bar_a:
            break
        if touched[b // BLOCK]:
            at += 1
        elif insert(values, indices, value, names_b[b]):
            bar_a = number(values[-1])
            at += 1
        else:
            # The list is full of equals with lower names, so no other of this level enters.
            at = next_b[at]


@compiled
@no_type_check
def search_rows(
    order, a_indptr, a_rows, a_data, scale_a, level_a, b_indptr, packed, level_b, bar_b, names_b,
    ascending_b, next_b, shift, mode, floor, row_values, row_indices, col_values, col_indices,
):  # fmt: skip
    """Complete, search and forget the rows of the latents of A in `order`."""
    total = np.zeros(len(level_b), level_b.dtype)
    touched = np.zeros(len(level_b) // BLOCK, np.uint8)
    blocks = np.empty(len(touched) + 1, np.int32)
    for a in order:
        values, indices = row_values[a], row_indices[a]
        add_row(
            a_indptr[a], a_indptr[a + 1], a_rows, a_data, scale_a[a], b_indptr, packed, shift, total, touched
        )
        found = blocks[: take_touched(touched, blocks)]
        bar_a = search_row(
            a, level_a[a], total, found, level_b, bar_b, names_b, mode, floor,
            values, indices, col_values, col_indices,
        )  # fmt: skip
        for block in found:
            total[np.int64(block) * BLOCK : np.int64(block + 1) * BLOCK] = 0
        if len(ascending_b) and -(level_a[a] * level_b[ascending_b[0]]) >= bar_a:
            for block in found:
                touched[block] = 1
            fill_row(level_a[a], bar_a, touched, level_b, ascending_b, next_b, names_b, values, indices)
            for block in found:
                touched[block] = 0


@compiled
@no_type_check
def fire_together(a_rows, b_indptr, b_latents, latent_b, shift):
    """Whether a latent of B is stored in a row where the latent of A with these rows is."""
    n_rows = len(b_indptr) - 1
    for entry in range(len(a_rows)):
        row = np.int64(a_rows[entry]) + shift
        row = row - n_rows if row >= n_rows else row
        low, high = b_indptr[row], b_indptr[row + 1]
        while low < high:
            middle = (low + high) // 2
            if b_latents[middle] < latent_b:
                low = middle + 1
            else:
                high = middle
        if low < b_indptr[row + 1] and b_latents[low] == latent_b:
            return True
    return False


@compiled
@no_type_check
def fill_columns(
    a_indptr,
    a_rows,
    level_a,
    ascending_a,
    next_a,
    b_indptr,
    b_latents,
    level_b,
    names_b,
    shift,
    values,
    indices,
):
    """Enter latents of A that never fire with a latent of B: r = -level_a level_b, the lowest level first."""
    number = level_b.dtype.type
    for b in range(len(names_b)):
        at = 0
        while at < len(ascending_a) and level_b[b] < np.inf:
            a = ascending_a[at]
            value = max(number(-1), -(level_a[a] * level_b[b]))
            if value < values[b, -1]:
                break
            worse = value == values[b, -1] and a > indices[b, -1]
            if worse:
                at = next_a[at]
                continue
            at += 1
            # Some are in the list already: those beside a pair that does fire together.
            listed = (indices[b] == a).any()
            if not listed and not fire_together(
                a_rows[a_indptr[a] : a_indptr[a + 1]], b_indptr, b_latents, names_b[b], shift
            ):
                insert(values[b], indices[b], value, a)


@compiled
@no_type_check
def add_rows(a_indptr, a_rows, a_data, scale_a, b_indptr, packed, totals, touched):
    """Add the products of a chunk of rows to the totals of some latents of A."""
    for a in range(len(totals)):
        first, end = a_indptr[a], a_indptr[a + 1]
        add_row(first, end, a_rows, a_data, scale_a[a], b_indptr, packed, 0, totals[a], touched)


@compiled
@no_type_check
def search_totals(
    totals, first_a, level_a, level_b, bar_b, names_b, floor, row_values, row_indices, col_values, col_indices
):
    """Search complete rows of totals, of the latents of A from `first_a` on, all pairs of them."""
    blocks = np.arange(len(level_b) // BLOCK)
    for row in range(len(totals)):
        a = first_a + row
        if level_a[a] < np.inf:
            search_row(
                a, level_a[a], totals[row], blocks, level_b, bar_b, names_b, PEARSON, floor,
                row_values[a], row_indices[a], col_values, col_indices,
            )  # fmt: skip
