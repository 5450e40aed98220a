"""Ridge regression of one space on another, judged on rows it was not fitted on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeuniv.numerics.inputs import require_finite
from saeuniv.numerics.token_grams import TokenGrams


class RidgeFold(NamedTuple):
    """A ridge regression on all other rows, waiting for targets."""

    fit: Int[np.ndarray, " fitted"]
    """rows that it is fitted on"""

    held: Int[np.ndarray, " held"]
    """rows that it predicts"""

    left: Float[np.ndarray, "held inner"]
    """what makes predictions of the centred rows held out, of the product below"""

    right: Float[np.ndarray, "inner fitted"] | None
    """what is multiplied with the centred targets of `fit` first; None where that is left out"""


def ridge_folds(
    x: Float[np.ndarray, "pairs d_a"], *, folds: int, relative_penalty: float
) -> tuple[RidgeFold, ...]:
    """The regressions of any target on the rows of `x`, one a fold; row i is held out in fold i mod `folds`.

    All work that does not depend on the target: a pairing at random costs the products alone. The penalty is
    `relative_penalty` times the mean eigenvalue of the fitted rows' scatter matrix, so that it does not
    depend on the scale of x. O(folds n min(n, d)^2 + folds n d min(n, d)) time.

    Raises:
        ValueError: fewer than 2 folds, more folds than half of the rows, or a penalty that is not positive.
    """
    n = len(x)
    if not 2 <= folds <= n // 2:
        raise ValueError(
            f"folds={folds}: expected 2..{n // 2} (2 rows a fold at least), got {folds} for {n} rows. "
            f"Choose fewer folds or give more pairs."
        )
    _require_penalty(relative_penalty)
    require_finite(x, "x", fix="Leave out such rows on both sides.")
    x = np.asarray(x, dtype=np.float64)
    fold_of = np.arange(n) % folds
    return tuple(
        _fold(x, np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold), relative_penalty)
        for fold in range(folds)
    )


def held_out_r2(folds: tuple[RidgeFold, ...], y: Float[np.ndarray, "pairs d_b"]) -> float | None:
    """1 - SSE / SST over the rows held out, of all columns together, in (-inf, 1], up = predictable.

    Variance weighted: errors and totals are summed over columns. SST is about the mean of the fitted rows, so
    that predicting this mean gives 0 exactly; negative = worse than that. Invariant to rotation, translation
    and isotropic scale of either side, not to a general linear map of x (the penalty sees its scale) or of y
    (the weights do). Asymmetric. None where y does not vary. Cost: folds n d_b min(n, 2 d_a).
    """
    error = total = 0.0
    y = np.asarray(y, dtype=np.float64)
    for fold in folds:
        mean = y[fold.fit].mean(axis=0)
        targets = y[fold.held] - mean
        fitted = y[fold.fit] - mean
        residuals = targets - fold.left @ (fitted if fold.right is None else fold.right @ fitted)
        error += float(np.vdot(residuals, residuals))
        total += float(np.vdot(targets, targets))
    rounding = len(y) * np.finfo(np.float64).eps * float(np.linalg.norm(y))
    return 1.0 - error / total if total > rounding**2 else None


def cross_fitted_r2(
    fit: TokenGrams, evaluation: TokenGrams, *, relative_penalty: float, about_fit_mean: bool
) -> float | None:
    """1 - SSE / SST of B's latents predicted from A's by ridge, fitted on one half, judged on the other.

    The weights are (W_AA + penalty)^-1 W_AB of `fit`, the penalty `relative_penalty` times W_AA's mean
    eigenvalue; SSE and SST follow from the Grams of `evaluation` without a row. Variance weighted over B's
    latents; in (-inf, 1], up = predictable. Within groups (`about_fit_mean` False) it is the partial R^2:
    means are those of each half's groups, and knowing the group alone gives 0. With `about_fit_mean`, for a
    single group, the intercept is fitted too and SST is about the fit half's mean, so that predicting this
    mean gives 0 exactly. None where B does not vary. O(p^3) time.

    Raises:
        ValueError: a penalty that is not positive, or halves with different latents.
    """
    _require_penalty(relative_penalty)
    if fit.ab.shape != evaluation.ab.shape:
        raise ValueError(
            f"evaluation: expected the latents of fit, {fit.ab.shape[0]} and {fit.ab.shape[1]}, got "
            f"{evaluation.ab.shape[0]} and {evaluation.ab.shape[1]}. Take those eligible in both halves."
        )
    aa, ab, squares_b = evaluation.aa, evaluation.ab, float(np.trace(evaluation.bb))
    if about_fit_mean:
        moved_a, moved_b = evaluation.mean_a - fit.mean_a, evaluation.mean_b - fit.mean_b
        aa = aa + evaluation.n * np.outer(moved_a, moved_a)
        ab = ab + evaluation.n * np.outer(moved_a, moved_b)
        squares_b += evaluation.n * float(moved_b @ moved_b)
    if squares_b <= 0:
        return None
    penalty = relative_penalty * float(np.trace(fit.aa)) / max(len(fit.aa), 1)
    if penalty <= 0:
        return 0.0
    weights = np.linalg.solve(fit.aa + penalty * np.eye(len(fit.aa)), fit.ab)
    explained = 2 * float(np.vdot(weights, ab)) - float(np.vdot(weights, aa @ weights))
    return explained / squares_b


def _fold(
    x: Float[np.ndarray, "pairs d_a"],
    fit: Int[np.ndarray, " fitted"],
    held: Int[np.ndarray, " held"],
    relative_penalty: float,
) -> RidgeFold:
    mean = x[fit].mean(axis=0)
    fitted, out = x[fit] - mean, x[held] - mean
    penalty = relative_penalty * float(np.vdot(fitted, fitted)) / fitted.shape[1]
    if penalty <= 0:
        return RidgeFold(fit, held, np.zeros((len(held), len(fit))), None)
    if len(fit) <= fitted.shape[1]:
        solved = np.linalg.solve(fitted @ fitted.T + penalty * np.eye(len(fit)), fitted @ out.T)
        return RidgeFold(fit, held, solved.T, None)
    scatter = fitted.T @ fitted + penalty * np.eye(fitted.shape[1])
    return RidgeFold(fit, held, out, np.linalg.solve(scatter, fitted.T))


def _require_penalty(relative_penalty: float) -> None:
    if not relative_penalty > 0:
        raise ValueError(
            f"relative_penalty={relative_penalty}: expected a positive number (of mean eigenvalues), got "
            f"{relative_penalty}. Choose 0.1."
        )
