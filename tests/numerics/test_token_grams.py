import numpy as np
import pytest
import scipy.sparse as sp

from saeuniv.numerics import token_grams
from saeuniv.numerics.token_grams import TokenGrams, TokenSides

N, GROUPS = 400, 6


def latents(seed: int, d: int, n: int = N) -> np.ndarray:
    """Sparse, and of very different means by group."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, d)) < 0.3) * rng.lognormal(size=(n, d)) * (1 + labels(n)[:, None] % 3)


def labels(n: int = N) -> np.ndarray:
    """The last group has one row, the one before none."""
    ids = np.random.default_rng(99).integers(GROUPS - 2, size=n)
    ids[7] = GROUPS - 1
    return ids


def related(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    x = latents(0, 8, n)
    y = latents(1, 11, n)
    y[:, :5] += 0.7 * x[:, :5]
    return x, y


def sides(x: np.ndarray, y: np.ndarray, ids: np.ndarray | None = None) -> TokenSides:
    ids = labels(len(x)) if ids is None else ids
    return TokenSides(sp.csc_array(x), sp.csc_array(y), ids, n_groups=GROUPS)


def grams(x: np.ndarray, y: np.ndarray, ids: np.ndarray | None = None) -> TokenGrams:
    return sides(x, y, ids).grams(0)


def residual(z: np.ndarray, ids: np.ndarray) -> np.ndarray:
    z = z.copy()
    for label in np.unique(ids):
        z[ids == label] -= z[ids == label].mean(axis=0)
    return z


@pytest.mark.parametrize("dense_from", [-1.0, 2.0])
@pytest.mark.parametrize("shift", [0, 1, 130, N - 1])
def test_grams_of_every_shift_are_products_of_residuals_of_bs_residuals_under_as_groups(
    shift: int, dense_from: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = related()
    monkeypatch.setattr(token_grams, "_DENSE_FROM", dense_from)
    found = sides(x, y).grams(shift)
    ids = labels()
    u, v = residual(x, ids), residual(np.roll(residual(y, ids), -shift, axis=0), ids)
    for name, expected in (("aa", u.T @ u), ("bb", v.T @ v), ("ab", u.T @ v)):
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-10)
    np.testing.assert_allclose(found.mean_a, x.mean(axis=0))
    np.testing.assert_allclose(found.mean_b, y.mean(axis=0))
    assert found.n == N


def test_many_sparse_groups_give_the_products_of_few_dense_ones() -> None:
    x, y = (sp.random(300, d, density=0.05, random_state=d).toarray() for d in (9, 12))
    ids = np.arange(300) // 2
    found = TokenSides(sp.csc_array(x), sp.csc_array(y), ids, n_groups=150).grams(4)
    u, v = residual(x, ids), residual(np.roll(residual(y, ids), -4, axis=0), ids)
    np.testing.assert_allclose(found.ab, u.T @ v, atol=1e-12)


def test_sides_of_different_rows_are_refused() -> None:
    x, y = related()
    with pytest.raises(ValueError, match=r"got 400 rows of a, 399 of b and 400 ids"):
        sides(x, y[:-1], labels())


def test_exchanged_grams_are_those_of_exchanged_sides() -> None:
    x, y = related()
    for found, expected in zip(grams(x, y).exchanged(), grams(y, x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_latents_that_their_group_determines_leave_nothing_not_even_rounding() -> None:
    x = related()[0]
    # No multiples of a binary fraction: their sums round.
    levels = np.random.default_rng(6).random((GROUPS, 4))[labels()]
    found = grams(levels, np.hstack([levels, x]))
    assert not (found.aa.any() or found.ab.any() or found.bb[:4].any() or found.bb[:, :4].any())
    assert (np.diag(found.bb)[4:] > 0).all()


def test_what_bs_groups_explain_of_it_stays_out_of_every_shift() -> None:
    """However much that is; centring the shifted latents alone would leave it in."""
    x, y = related()
    strong = y + 100 * np.random.default_rng(6).random((GROUPS, y.shape[1]))[labels()]
    for shift in (0, 130):
        before, after = (sides(x, each).grams(shift) for each in (y, strong))
        for name in ("aa", "bb", "ab"):
            np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)
    moved = np.roll(strong, -130, axis=0)
    assert np.trace(residual(moved, labels()).T @ moved) > 2 * np.trace(before.bb)


def test_products_by_blocks_of_groups_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = related()
    whole = sides(x, y).grams(130)
    monkeypatch.setattr(token_grams, "_MOST_DENSE", 2 * y.shape[1])
    for found, expected in zip(sides(x, y).grams(130), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-10)
