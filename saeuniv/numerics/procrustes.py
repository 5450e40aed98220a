"""Procrustes: how well one space fits onto another by a rotation, in the sample it is fitted on."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.inputs import require_pairs
from saeuniv.numerics.subspace import centred, principal_scores, repaired_nuclear_norm


def procrustes_similarity(
    x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]
) -> float | None:
    """|X'Y|_* / (|X|_F |Y|_F) of centred paired rows, in [0, 1], up = alike; the scaled nuclear norm.

    min over rotations Q and scales s of |s X Q - Y|^2 is (1 - similarity^2) |Y|^2; where d_a and d_b differ
    the narrower is thought padded with zeros, which changes nothing. 1 for a rotated, shifted or
    isotropically scaled copy; symmetric. The rotation is fitted on the rows it is judged by: independent
    rows do not give 0 (about .75 at n = d = 500), so read it against its null and never call it held out.
    None where one space has no variance. Schoenemann 1966; Williams et al. 2021, section 2.
    Cost: n d_a d_b + d^3, d the smaller.
    """
    require_pairs(x, y)
    x, y = centred(x), centred(y)
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    if scale <= 0:
        return None
    return min(float(np.linalg.svd(x.T @ y, compute_uv=False).sum()) / scale, 1.0)


def repaired_procrustes(
    x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]
) -> Callable[[Int[np.ndarray, " pairs"]], float | None]:
    """`procrustes_similarity(x, y[order])` as a function of `order`, to within 1e-7.

    A call costs one n x d_a x d_b product (in single precision where that is large) and the eigenvalues of
    the smaller Gram matrix; means and lengths do not depend on the pairing.
    """
    require_pairs(x, y)
    x, y = principal_scores(x), principal_scores(y)
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    if scale <= 0:
        return lambda order: None
    norm = repaired_nuclear_norm(x, y)
    return lambda order: min(norm(order) / scale, 1.0)
