"""What dense arguments must be: finite, and of as many rows as their partner."""

import numpy as np
from jaxtyping import Float

_FIX = "Leave out such rows on both sides."


def require_finite(values: Float[np.ndarray, "..."], name: str, *, fix: str) -> None:
    """Nothing, if every entry of the argument `name` is finite.

    Raises:
        ValueError: otherwise, with the first position and what to do.
    """
    if np.isfinite(values).all():
        return
    broken = np.argwhere(~np.isfinite(values))
    first = tuple(map(int, broken[0]))
    raise ValueError(
        f"{name}: expected finite numbers, got {len(broken)} of {values.size} that are not, the first "
        f"{values[first]} at {list(first)}. {fix}"
    )


def require_pairs(x: Float[np.ndarray, "pairs d_a"], y: Float[np.ndarray, "rows d_b"]) -> None:
    """Nothing, if row i of y can be the partner of row i of x.

    Raises:
        ValueError: different numbers of rows, or an entry that is not finite.
    """
    if len(x) != len(y):
        raise ValueError(
            f"y: expected {len(x)} rows, those of x, got {len(y)}; the first without a partner is row "
            f"{min(len(x), len(y))}. Pair the rows first."
        )
    require_finite(x, "x", fix=_FIX)
    require_finite(y, "y", fix=_FIX)
