"""Compiled search for the largest token-partialled correlations, by bound and prune.

r_w = total - term, where total = (Z_A'Z_B)_ij / (norm_i norm_j) and the token term = sum_v S_i(v) S_j(v)
/ n_v / (norm_i norm_j) >= 0, as latents are. So the total bounds r_w from above, and the term is worked out
only where the total can still enter a list; it is given up as soon as what is left of the total cannot.
"""

from math import frexp
from typing import no_type_check

import numpy as np

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.top_kernels import add_row, take_touched
from saeuniv.numerics.top_lists import insert
from saeuniv.numerics.vectors import BLOCK, totals_reach

_BUCKETS = 24
_CHECK = 16
"""terms added between two comparisons with the bars"""
_SEARCH_COST = 8
"""a halving of a binary search, in terms added in sequence"""


@compiled
@no_type_check
def order_by_share(indptr, groups, sums, counts, inverse_norms, out_groups, out_weights):
    """Copy each latent's groups, those that weigh most first, to within a factor of two.

    The share of a group in a latent's own term, S^2 / n, foretells that in its terms with others.
    """
    starts = np.zeros(_BUCKETS + 1, np.int64)
    for latent in range(len(indptr) - 1):
        first, end = indptr[latent], indptr[latent + 1]
        largest = -2000
        for entry in range(first, end):
            largest = max(largest, frexp(sums[entry] * sums[entry] / counts[groups[entry]])[1])
        starts[:] = 0
        for entry in range(first, end):
            power = frexp(sums[entry] * sums[entry] / counts[groups[entry]])[1]
            starts[min(largest - power, _BUCKETS - 1) + 1] += 1
        for bucket in range(_BUCKETS):
            starts[bucket + 1] += starts[bucket]
        for entry in range(first, end):
            power = frexp(sums[entry] * sums[entry] / counts[groups[entry]])[1]
            bucket = min(largest - power, _BUCKETS - 1)
            at = first + starts[bucket]
            starts[bucket] += 1
            out_groups[at] = groups[entry]
            out_weights[at] = sums[entry] * inverse_norms[latent]


@compiled
@no_type_check
def left_of_total(total, bar, weight_a, groups_b, weights_b):
    """Total - term; below `bar`, where the exact value does not matter, possibly more than that."""
    left = total
    whole = len(groups_b) - len(groups_b) % _CHECK
    for at in range(0, whole, _CHECK):
        if left < bar:
            return left
        # Four sums: in one, every addition would wait for the last (a fifth of the time).
        one, two, three, four = 0.0, 0.0, 0.0, 0.0
        for entry in range(at, at + _CHECK, 4):
            one += weight_a[groups_b[entry]] * weights_b[entry]
            two += weight_a[groups_b[entry + 1]] * weights_b[entry + 1]
            three += weight_a[groups_b[entry + 2]] * weights_b[entry + 2]
            four += weight_a[groups_b[entry + 3]] * weights_b[entry + 3]
        left -= (one + two) + (three + four)
    for entry in range(whole, len(groups_b)):
        left -= weight_a[groups_b[entry]] * weights_b[entry]
    return left


@compiled
@no_type_check
def left_of_total_by_search(total, bar, groups_a, weight_a, groups_b, sums_b, inverse_norm_b):
    """The same for a latent of A with far fewer groups: each is looked for among the sorted ones of B."""
    left = total
    low = 0
    for group in groups_a:
        high = len(groups_b)
        while low < high:
            middle = (low + high) // 2
            if groups_b[middle] < group:
                low = middle + 1
            else:
                high = middle
        if low == len(groups_b) or left < bar:
            break
        if groups_b[low] == group:
            left -= weight_a[group] * (sums_b[low] * inverse_norm_b)
    return left


@compiled
@no_type_check
def largest_totals(total, blocks, floor, never, values, places):
    """List the pairs of a row with the largest bounds."""
    values[:] = -np.inf
    places[:] = -1
    for block in blocks:
        place = np.int64(block) * BLOCK
        reached = totals_reach(total, never, place, max(floor, values[-1]))
        while reached:
            if reached & 1:
                insert(values, places, total[place], place)
            reached >>= np.uint32(1)
            place += 1


@compiled
@no_type_check
def enter_pair(a, place, total, bar_a, bar_b, weight_a, groups_a, names_b, groups_of_b, floor, lists):
    """Work out r_w of a pair as far as its lists may need it, and enter it; the row's new bar."""
    inverse_b, indptr, groups, sums, by_share_groups, by_share_weights = groups_of_b
    values, indices, col_values, col_indices = lists
    bar = min(bar_a, bar_b[place])
    first, end = indptr[names_b[place]], indptr[names_b[place] + 1]
    if len(groups_a) * (_SEARCH_COST * np.log2(end - first + 1.0)) < end - first:
        inverse = inverse_b[names_b[place]]
        value = left_of_total_by_search(
            total[place], bar, groups_a, weight_a, groups[first:end], sums[first:end], inverse
        )
    else:
        weights = by_share_weights[first:end]
        value = left_of_total(total[place], bar, weight_a, by_share_groups[first:end], weights)
    # Not to be visited again.
    total[place] = 0.0
    value = min(value, 1.0)
    if value >= bar_a and insert(values, indices, value, names_b[place]):
        bar_a = max(floor, values[-1])
    if value >= bar_b[place] and insert(col_values[place], col_indices[place], value, a):
        bar_b[place] = max(floor, col_values[place, -1])
    return bar_a


@compiled
@no_type_check
def search_partial_row(
    a, total, blocks, first_places, bar_b, weight_a, groups_a, names_b, groups_of_b, floor, lists
):
    """Enter the pairs of one complete row in its list and in those of their columns.

    Those with the largest bounds come first, so that the row's bar is high from the start.
    """
    bar_a = floor
    for place in first_places:
        if place >= 0:
            bar_a = enter_pair(
                a, place, total, bar_a, bar_b, weight_a, groups_a, names_b, groups_of_b, floor, lists
            )
    for block in blocks:
        place = np.int64(block) * BLOCK
        reached = totals_reach(total, bar_b, place, bar_a)
        while reached:
            if reached & 1 and total[place] >= floor:
                bar_a = enter_pair(
                    a, place, total, bar_a, bar_b, weight_a, groups_a, names_b, groups_of_b, floor, lists
                )
            reached >>= np.uint32(1)
            place += 1


@compiled
@no_type_check
def search_partial_rows(
    order, floor, a_indptr, a_rows, a_data, inverse_a, groups_of_a, counts,
    b_indptr, packed, shift, bar_b, names_b, groups_of_b, rows, columns,
):  # fmt: skip
    """Complete, search and forget the rows of the latents of A in `order`; lists of positive r_w."""
    total, never = np.zeros(len(bar_b)), np.full(len(bar_b), np.inf)
    touched = np.zeros(len(bar_b) // BLOCK, np.uint8)
    blocks = np.empty(len(touched) + 1, np.int32)
    weight_a = np.zeros(len(counts))
    indptr, groups, sums = groups_of_a
    row_values, row_indices = rows
    first_values = np.empty(row_values.shape[1])
    first_places = np.empty(len(first_values), np.int64)
    for a in order:
        add_row(
            a_indptr[a],
            a_indptr[a + 1],
            a_rows,
            a_data,
            inverse_a[a],
            b_indptr,
            packed,
            shift,
            total,
            touched,
        )
        found = blocks[: take_touched(touched, blocks)]
        groups_a = groups[indptr[a] : indptr[a + 1]]
        for entry in range(indptr[a], indptr[a + 1]):
            weight_a[groups[entry]] = sums[entry] / counts[groups[entry]] * inverse_a[a]
        largest_totals(total, found, floor, never, first_values, first_places)
        lists = (row_values[a], row_indices[a], columns[0], columns[1])
        search_partial_row(
            a, total, found, first_places, bar_b, weight_a, groups_a, names_b, groups_of_b, floor, lists
        )
        for block in found:
            total[np.int64(block) * BLOCK : np.int64(block + 1) * BLOCK] = 0.0
        for group in groups_a:
            weight_a[group] = 0.0
