"""The most correlated partners of every latent, both ways, from sparse latents and without their matrix.

X'Y is made row by row and each row is searched at once. With g = mean / sd, r_ij = x_i'y_j / (|x_i| |y_j|)
- g_i g_j, x and y centred in the norms only. Latents are never negative, so that pairs which fire together
in no row have r = -g_i g_j <= 0: they are not computed, but found from the lowest g where they are needed.
"""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.candidates import Candidates
from saeuniv.numerics.group_sums import GroupSums
from saeuniv.numerics.partial_kernels import order_by_share, search_partial_rows
from saeuniv.numerics.sides import (
    Placed,
    Side,
    ascending,
    firing_side,
    pearson_side,
    placed,
    rare_first,
    within_side,
)
from saeuniv.numerics.sparse_latents import binarised, require_groups, require_same_rows
from saeuniv.numerics.top_kernels import PEARSON, SHARE, fill_columns, search_rows
from saeuniv.numerics.top_lists import TopLists, empty_lists, found_by_threads

__all__ = ["binarised", "top_correlations", "top_jaccard", "top_partial_correlations"]

_POSITIVE = float(np.finfo(np.float64).tiny)


def top_correlations(
    a: sp.csc_array, b: sp.csr_array, *, top_m: int, shift: int = 0, double: bool = True, threads: int = 1
) -> Candidates:
    """The `top_m` partners of largest Pearson's r of every latent, both ways; signed and exact.

    r is in [-1, 1]. Partners that never fire in the same row count too (r <= 0). A latent without variance
    (never active, or constant) is nobody's partner and has none. Equal r: the lower index first. The result
    does not depend on `threads`. Scaling a latent changes nothing.

    Cost: one multiplication and addition for each row and pair of latents active in it, 1.2 to 1.5 ns, and
    about 2 ns for each pair that fires together. Memory: 8 bytes (16 with `double`) a non-zero of B, and
    12 top_m bytes a latent (of B: for each thread).

    Args:
        a: rows x latents, sorted indices, non-negative.
        b: the same rows.
        top_m: partners listed.
        shift: row t of A meets row (t + shift) mod rows of B: whole sequences for a null.
        double: add in float64; otherwise in float32, with an error of about 1e-6 of r at 10^5 rows.
        threads: each takes every n-th latent of A.

    Raises:
        ValueError: a side that does not hold latents, other rows, `top_m` or `threads` below 1.
    """
    n_rows = _require(a, b, top_m=top_m, threads=threads)
    side_a, side_b = (pearson_side(side, name=name, double=double) for side, name in ((a, "a"), (b, "b")))
    return _search(side_a, side_b, mode=PEARSON, top_m=top_m, shift=shift % max(n_rows, 1), threads=threads)


def top_jaccard(
    a: sp.csc_array, b: sp.csr_array, *, top_m: int, shift: int = 0, threads: int = 1
) -> Candidates:
    """The `top_m` partners of largest Jaccard index of every latent, both ways.

    Rows where both fire / rows where either does, in (0, 1]; 1 for latents that fire in the same rows. Pairs
    that never do (0) are not listed. Values do not matter, only where they are positive. Exact, as counts
    are; equal values: the lower index first. Jaccard 1901.

    Arguments, cost and memory as of `top_correlations` with `double`.

    Raises:
        ValueError: as `top_correlations`.
    """
    n_rows = _require(a, b, top_m=top_m, threads=threads)
    side_a, side_b = firing_side(a, name="a"), firing_side(b, name="b")
    return _search(side_a, side_b, mode=SHARE, top_m=top_m, shift=shift % max(n_rows, 1), threads=threads)


def top_partial_correlations(
    a: sp.csc_array,
    b: sp.csr_array,
    *,
    ids: Int[np.ndarray, " rows"],
    counts: Float[np.ndarray, " groups"],
    sums_a: GroupSums,
    sums_b: GroupSums,
    top_m: int,
    shift: int = 0,
    threads: int = 1,
) -> Candidates:
    """The `top_m` partners of largest within-group correlation r_w of every latent, both ways; positive only.

    r_w = (Z_A'Z_B - sum_v S_a(v) S_b(v) / n_v) / (norm_a norm_b), in (0, 1]: Pearson's r of what is left when
    group means are removed (docs/statistics.md B). Exact, in float64: pairs whose bound Z_A'Z_B / (norm_a
    norm_b) cannot enter a list are left out. A group of one row adds nothing. A latent that its group
    determines (norm 0) has no partners. Equal r_w: the lower index first. The result does not depend on
    `threads`, nor on the scale of a latent.

    Cost: that of `top_correlations`, and the token term for the pairs that may enter: in all about 2.6
    times as much at 10^6 rows, 32k latents and 50k token types.
    Memory: 16 bytes a non-zero of B, 12 an entry of `sums_b`.

    Args:
        a: rows x latents, sorted indices, non-negative.
        b: the same rows.
        ids: group of each row of A.
        counts: rows of each group.
        sums_a: `group_sums` of A by `ids`.
        sums_b: `group_sums` of B with each row in the group of the row of A that it meets: by
            np.roll(ids, shift).
        top_m: partners listed.
        shift: row t of A meets row (t + shift) mod rows of B.
        threads: each takes every n-th latent of A.

    Raises:
        ValueError: a side that does not hold latents, different numbers of rows, ids or sums that do not fit
            them, `top_m` or `threads` below 1.
    """
    n_rows = _require(a, b, top_m=top_m, threads=threads)
    require_groups(ids, counts, n_rows)
    _require_sums(sums_a, a, counts, "sums_a")
    _require_sums(sums_b, b, counts, "sums_b")
    side_a, side_b = within_side(a, sums_a, name="a"), within_side(b, sums_b, name="b")
    placed_b = placed(side_b)
    by_share = np.empty(len(sums_b.groups), np.int32), np.empty(len(sums_b.groups))
    order_by_share(*sums_b[:3], counts, side_b.scale, *by_share)
    order, rows = rare_first(side_a), empty_lists(len(side_a.level), top_m)

    def search(thread: int) -> TopLists:
        columns = empty_lists(len(side_b.level), top_m)
        search_partial_rows(
            order[thread::threads], _POSITIVE, *side_a.entries, side_a.scale, sums_a[:3], counts,
            side_b.entries.indptr, placed_b.packed, shift % max(n_rows, 1), placed_b.bars(_POSITIVE),
            placed_b.names, (side_b.scale, *sums_b[:3], *by_share), tuple(rows), tuple(columns),
        )  # fmt: skip
        return columns

    return _candidates(rows, placed_b, found_by_threads(search, threads))


def _require(a: sp.csc_array, b: sp.csr_array, *, top_m: int, threads: int) -> int:
    for name, given in (("top_m", top_m), ("threads", threads)):
        if given < 1:
            raise ValueError(f"{name}={given}: expected at least 1, got {given}.")
    return require_same_rows(a, b)


def _require_sums(
    sums: GroupSums, matrix: sp.csc_array | sp.csr_array, counts: Float[np.ndarray, " groups"], name: str
) -> None:
    if sums.n_latents != matrix.shape[1]:
        raise ValueError(
            f"{name}: expected sums of {matrix.shape[1]} latents, got {sums.n_latents}. Use group_sums of "
            f"the same latents."
        )
    outside = np.flatnonzero(sums.groups >= len(counts))
    if len(outside):
        raise ValueError(
            f"{name}: expected groups below {len(counts)}, got {sums.groups[outside[0]]} at entry "
            f"{outside[0]}. Use group_sums with the same counts."
        )


def _candidates(rows: TopLists, b: Placed, columns: TopLists) -> Candidates:
    return Candidates(rows.indices, rows.values, columns.indices[b.place], columns.values[b.place])


def _search(side_a: Side, side_b: Side, *, mode: int, top_m: int, shift: int, threads: int) -> Candidates:
    n_a, n_b = len(side_a.level), len(side_b.level)
    number = side_b.level.dtype.type
    placed_b = placed(side_b)
    floor = -np.inf if mode == PEARSON else _POSITIVE
    # Jaccard's index of latents that never fire together is 0 and not listed: nothing to fill in.
    n_filled = n_b if mode == PEARSON else 0
    ascending_b = ascending(placed_b.level[:n_filled], placed_b.names[:n_filled])
    order, rows = rare_first(side_a), empty_lists(n_a, top_m)

    def search(thread: int) -> TopLists:
        columns = empty_lists(n_b, top_m)
        search_rows(
            order[thread::threads], *side_a.entries, side_a.scale, side_a.level, side_b.entries.indptr,
            placed_b.packed, placed_b.level, placed_b.bars(floor), placed_b.names, *ascending_b,
            shift, mode, number(floor), *rows, *columns,
        )  # fmt: skip
        return columns

    columns = found_by_threads(search, threads)
    if mode == PEARSON:
        fill_columns(
            *side_a.entries[:2], side_a.level, *ascending(side_a.level, np.arange(n_a)),
            *side_b.entries[:2], placed_b.level, placed_b.names, shift, *columns,
        )  # fmt: skip
    return _candidates(rows, placed_b, columns)
