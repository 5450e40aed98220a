"""The headline numbers of summary.json."""

import numpy as np

from saeuniv.numerics.statistics import benjamini_hochberg, benjamini_yekutieli
from saeuniv.results import Row

_FALSE_DISCOVERY_RATE = 0.05


def headline(rows: list[Row], metric: str) -> dict[str, object]:
    """Mean and largest value of a metric, the control's mean, and rejections.

    Over the layer pairs where the metric is defined and was computed: `layer_pairs` says how many.
    """
    chosen = [(row, row.value) for row in rows if row.metric == metric and row.value is not None]
    if not chosen:
        return {"layer_pairs": 0}
    best = max(chosen, key=lambda item: item[1])[0]
    control = [row.control for row, _ in chosen if row.control is not None]
    p = np.array([row.p_value for row, _ in chosen if row.p_value is not None], dtype=np.float64)
    return {
        "layer_pairs": len(chosen),
        "mean": float(np.mean([value for _, value in chosen])),
        "max": best.value,
        "max_at": [best.layer_a, best.layer_b],
        "control_mean": float(np.mean(control)) if control else None,
        # Layer pairs depend on one another: Benjamini-Yekutieli holds whatever the dependence.
        "rejected_bh": int((benjamini_hochberg(p) <= _FALSE_DISCOVERY_RATE).sum()),
        "rejected_by": int((benjamini_yekutieli(p) <= _FALSE_DISCOVERY_RATE).sum()),
    }
