"""What `compare_latents` is given: latents row by row, and the labels and text that metrics ask for."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from saeuniv.alignments import AlignmentMethod
from saeuniv.config import Condition
from saeuniv.metrics import MetricMethod
from saeuniv.numerics.sparse_latents import require_latents


def latents_by_row(latents: sp.csr_array | Float[np.ndarray, "rows latents"], name: str) -> sp.csr_array:
    """A copy in order, and refused under the name of the argument if it does not hold latents."""
    matrix = sp.csr_array(latents, copy=True)
    matrix.sum_duplicates()
    if matrix.dtype.name not in ("float32", "float64"):
        matrix = matrix.astype(np.float64)
    require_latents(matrix, name=name, layout="csr")
    return matrix


def check_groups(
    groups: Mapping[str, object], metrics: tuple[MetricMethod, ...], alignment: AlignmentMethod
) -> None:
    """Refuse labels of which a metric or the alignment needs more."""
    needed = {"token", alignment.condition.value}
    for metric in metrics:
        condition = getattr(metric, "condition", "token")
        needed.add(condition.value if isinstance(condition, Condition) else condition)
    needed -= {"none"}
    if missing := sorted(needed - set(groups)):
        raise ValueError(
            f"groups: expected labels for {sorted(needed)}, got {sorted(groups)}. Add {missing} or leave the "
            f"metrics that need them out of settings.metrics."
        )


def check_text(
    token_text: Sequence[str] | None,
    words: Sequence[str] | None,
    metrics: tuple[MetricMethod, ...],
    n_rows: int,
) -> None:
    """Refuse text that a metric reads and that is missing, or not one a row."""
    given = {
        "token_text": (token_text, [each.name for each in metrics if each.needs_token_text], "token"),
        "words": (words, [each.name for each in metrics if each.needs_words], "word"),
    }
    for name, (text, reading, unit) in given.items():
        if text is None and reading:
            raise ValueError(
                f"{name}: expected each row's {unit} for {', '.join(reading)}, got none. Give them, or leave "
                f"these metrics out of settings.metrics."
            )
        if text is not None and len(text) != n_rows:
            raise ValueError(f"{name}: expected {n_rows} {unit}s, one a row, got {len(text)}.")
