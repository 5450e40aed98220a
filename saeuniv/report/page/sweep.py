"""What the page of a sweep holds: every comparison small, its headline numbers, and the way to its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from saeuniv.report.console import primary_metric
from saeuniv.report.page.comparison import metric_tree
from saeuniv.report.page.packing import rounded, visible
from saeuniv.results import Results

_LONGEST = 300
_HEADLINE = ("mean", "max", "control_mean")
_COUNTS = ("layer_pairs", "tested", "rejected_bh")


@dataclass(frozen=True)
class Compared:
    """One comparison of a sweep."""

    name: str
    """Of its folder."""
    state: str
    """running, done, failed or none."""
    results: Results | None
    """None where there are none that can be read."""
    link: str
    """Its page, relative to the sweep's; empty where it has none."""


def sweep_tree(compared: Sequence[Compared]) -> dict[str, object]:
    """The JSON of the sweep; of each metric only its values are drawn."""
    found = [each.results for each in compared if each.results]
    return {
        "comparisons": [_comparison(each) for each in compared],
        "metrics": list(dict.fromkeys(metric for results in found for metric in results.metrics)),
        "primary": primary_metric(found[0]) if found else "",
    }


def _comparison(each: Compared) -> dict[str, object]:
    about: dict[str, object] = {"name": each.name, "state": each.state, "link": each.link}
    if each.results is None:
        return about
    results, row = each.results, each.results.rows[0]
    alignments = dict.fromkeys(row.alignment for row in results.rows if row.alignment != "-")
    return about | {
        "job": str(results.summary.get("job_type", "")),
        "models": visible(f"{row.model_a} and {row.model_b}", _LONGEST),
        "width": f"{_width(row.d_sae_a)} and {_width(row.d_sae_b)}",
        "alignment": ", ".join(alignments) or "none",
        "n_tokens": row.n_tokens,
        "layers_a": results.layers_a,
        "layers_b": results.layers_b,
        "metrics": {metric: _metric(results, metric) for metric in results.metrics},
    }


def _metric(results: Results, metric: str) -> dict[str, object]:
    tree = metric_tree(results, metric)
    headline = cast(dict[str, dict[str, Any]], results.summary.get("headline", {})).get(metric, {})
    return {
        "label": tree["label"],
        "value": cast(dict[str, object], tree["views"]).get("value"),
        "max_at": headline.get("max_at"),
        **{name: rounded(headline.get(name)) for name in _HEADLINE},
        **{name: headline.get(name) for name in _COUNTS},
    }


def _width(d_sae: int | None) -> str:
    return "unknown" if d_sae is None else str(d_sae)
