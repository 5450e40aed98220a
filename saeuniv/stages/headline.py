"""The headline numbers of summary.json."""

from collections.abc import Collection

import numpy as np

from saeuniv.numerics.statistics import benjamini_hochberg, benjamini_yekutieli
from saeuniv.results import Row

_FALSE_DISCOVERY_RATE = 0.05


def headline(rows: list[Row], metric: str, *, family: Collection[str] = ()) -> dict[str, object]:
    """Mean and largest value of a metric, the control's mean, rejections and the smallest q-values.

    Over the layer pairs where the metric is defined and was computed: `layer_pairs` says how many, and
    `tested` how many of them have a p. q is taken over these, and over those of the other metrics of its
    `family`. What rests on draws is in `grid_summary`.
    """
    chosen = [(row, row.value) for row in rows if row.metric == metric and row.value is not None]
    if not chosen:
        return {"layer_pairs": 0}
    best = max(chosen, key=lambda item: item[1])[0]
    control = [row.control for row, _ in chosen if row.control is not None]
    # The metric's own first.
    names = (metric, *(each for each in family if each != metric))
    tested = [row.p_value for name in names for row in rows if row.metric == name and row.p_value is not None]
    p, n_own = np.array(tested, dtype=np.float64), sum(row.p_value is not None for row, _ in chosen)
    q_bh, q_by = benjamini_hochberg(p)[:n_own], benjamini_yekutieli(p)[:n_own]
    return {
        "layer_pairs": len(chosen),
        "tested": n_own,
        "mean": float(np.mean([value for _, value in chosen])),
        "max": best.value,
        "max_at": [best.layer_a, best.layer_b],
        "control_mean": float(np.mean(control)) if control else None,
        # Layer pairs depend on one another: Benjamini-Yekutieli holds whatever the dependence.
        "rejected_bh": int((q_bh <= _FALSE_DISCOVERY_RATE).sum()),
        "rejected_by": int((q_by <= _FALSE_DISCOVERY_RATE).sum()),
        "smallest_q_bh": float(q_bh.min()) if n_own else None,
        "smallest_q_by": float(q_by.min()) if n_own else None,
    }
