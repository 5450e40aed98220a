"""Exact correlations of chosen pairs of sparse latents."""

from typing import no_type_check

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from saeuniv.numerics.compiled import compiled
from saeuniv.numerics.sparse_latents import Moments


def largest_exact(
    x: sp.csc_array,
    y: sp.csc_array,
    moments_x: Moments,
    moments_y: Moments,
    partners: Int[np.ndarray, "latents_x found"],
    *,
    top_m: int,
) -> tuple[Int[np.ndarray, "latents_x m"], Float[np.ndarray, "latents_x m"]]:
    """The `top_m` of each latent's partners with the largest Pearson r, and these, as in `Candidates`.

    Partners without variance are left out, and so are those of a latent without. Float64 throughout.
    Cost: the entries of every latent of x, and those of its partners.
    """
    products = np.zeros(partners.shape)
    arrays = [(each.indptr.astype(np.int64), each.indices, each.data) for each in (x, y)]
    _dot_products(*arrays, partners, np.zeros(x.shape[0]), products)
    scale = np.sqrt(moments_x.centred)[:, None] * np.sqrt(moments_y.centred)[partners]
    covariance = products - x.shape[0] * moments_x.means[:, None] * moments_y.means[partners]
    r = np.full(partners.shape, -np.inf)
    np.divide(covariance, scale, out=r, where=scale > 0)
    r = np.where(scale > 0, np.clip(r, -1.0, 1.0), -np.inf)
    order = np.lexsort((partners, -r))[:, :top_m]
    found = np.take_along_axis(r, order, axis=1)
    chosen = np.where(found > -np.inf, np.take_along_axis(partners, order, axis=1), -1)
    missing = ((0, 0), (0, top_m - chosen.shape[1]))
    return (
        np.pad(chosen, missing, constant_values=-1).astype(np.int32),
        np.pad(found, missing, constant_values=-np.inf),
    )


@compiled
@no_type_check
def _dot_products(x, y, partners, column, out):
    """Write out[i, k] = x_i . y_partners[i, k]; `column` is zero, one number a row, and left so."""
    x_indptr, x_rows, x_values = x
    y_indptr, y_rows, y_values = y
    for i in range(partners.shape[0]):
        for p in range(x_indptr[i], x_indptr[i + 1]):
            column[x_rows[p]] += x_values[p]
        for k in range(partners.shape[1]):
            total = 0.0
            for q in range(y_indptr[partners[i, k]], y_indptr[partners[i, k] + 1]):
                total += column[y_rows[q]] * y_values[q]
            out[i, k] = total
        for p in range(x_indptr[i], x_indptr[i + 1]):
            column[x_rows[p]] = 0.0
