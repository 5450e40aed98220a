"""Compiled loops over fixed pairs of latents: products of residuals, and residual columns."""

from typing import no_type_check

import numpy as np

from saeuniv.numerics.compiled import compiled


@compiled
@no_type_check
def residual_products(x, y, index_a, index_b, ids, documents, by_group, scratch, out):
    """Add to out[pair, document] the sum over its rows of the product of the two residuals.

    x and y are (row pointers, rows, values, group pointers, groups, group means) of the latents of A and B;
    by_group is (pointers, documents, rows) of each group; scratch is zero, 2 x groups, and left so.
    """
    x_indptr, x_rows, x_values, x_entries, x_groups, x_means = x
    y_indptr, y_rows, y_values, y_entries, y_groups, y_means = y
    group_indptr, group_documents, group_rows = by_group
    for pair in range(len(index_a)):
        i, j = index_a[pair], index_b[pair]
        for e in range(x_entries[i], x_entries[i + 1]):
            scratch[0, x_groups[e]] = x_means[e]
        for e in range(y_entries[j], y_entries[j + 1]):
            scratch[1, y_groups[e]] = y_means[e]
        p, q = x_indptr[i], y_indptr[j]
        while p < x_indptr[i + 1] and q < y_indptr[j + 1]:
            if x_rows[p] == y_rows[q]:
                out[pair, documents[x_rows[p]]] += x_values[p] * np.float64(y_values[q])
                p += 1
                q += 1
            elif x_rows[p] < y_rows[q]:
                p += 1
            else:
                q += 1
        for p in range(x_indptr[i], x_indptr[i + 1]):
            t = x_rows[p]
            out[pair, documents[t]] -= x_values[p] * scratch[1, ids[t]]
        for q in range(y_indptr[j], y_indptr[j + 1]):
            t = y_rows[q]
            out[pair, documents[t]] -= y_values[q] * scratch[0, ids[t]]
        for e in range(x_entries[i], x_entries[i + 1]):
            product = x_means[e] * scratch[1, x_groups[e]]
            if product != 0.0:
                for g in range(group_indptr[x_groups[e]], group_indptr[x_groups[e] + 1]):
                    out[pair, group_documents[g]] += product * group_rows[g]
        for e in range(x_entries[i], x_entries[i + 1]):
            scratch[0, x_groups[e]] = 0.0
        for e in range(y_entries[j], y_entries[j + 1]):
            scratch[1, y_groups[e]] = 0.0


@compiled
@no_type_check
def residual_columns(x, index, ids, scale, scratch, out):
    """Write out[k, row] = scale[k] times the residual of latent index[k]; rows beyond `out` are left out."""
    indptr, rows, values, entries, groups, means = x
    for k in range(len(index)):
        i = index[k]
        for e in range(entries[i], entries[i + 1]):
            scratch[groups[e]] = means[e] * scale[k]
        for t in range(out.shape[1]):
            out[k, t] = -scratch[ids[t]]
        for p in range(indptr[i], indptr[i + 1]):
            if rows[p] < out.shape[1]:
                out[k, rows[p]] += values[p] * scale[k]
        for e in range(entries[i], entries[i + 1]):
            scratch[groups[e]] = 0.0
