"""`saeuniv figure DIR`: heatmaps, depth curves, layer paths and curves against tokens, for papers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from saeuniv.commands.found import comparisons_in, has_results, result_folder
from saeuniv.commands.shell import DONE, parser, say
from saeuniv.config import ConfigError
from saeuniv.preflight.suggestions import choose
from saeuniv.report.curves import Point, against_tokens, depth_curve, layer_path
from saeuniv.report.drawing import FORMATS, save, style
from saeuniv.report.figures import heatmap
from saeuniv.results import Results, load

_FIGURES = "figures"


def main(argv: Sequence[str]) -> int:
    """Write the figures below DIR/figures; of a sweep those of each comparison, and those of all.

    Raises:
        ConfigError: there are no results, or none of the metrics asked for.
    """
    arguments = parser("figure", "Figures of a sweep or a comparison, as PDF, SVG and PNG, from its results.")
    arguments.add_argument("folder", metavar="DIR", help="of a sweep or a comparison; or the name of a sweep")
    arguments.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    arguments.add_argument("--metric", nargs="+", default=[], metavar="NAME", help="default: all")
    given = arguments.parse_args(argv)
    folder = result_folder(given.folder)
    alone = has_results(folder)
    folders = [folder] if alone else [each for each in comparisons_in(folder) if has_results(each)]
    found = {each: load(each) for each in folders}
    metrics = _metrics(found.values(), given.metric)
    with style():
        for each, results in found.items():
            _of_one(results, each / _FIGURES, metrics, given.format)
        if not alone:
            _of_sweep(found, folder / _FIGURES, metrics, given.format)
    return DONE


def _metrics(found: Iterable[Results], wanted: Sequence[str]) -> list[str]:
    there = list(dict.fromkeys(metric for results in found for metric in results.metrics))
    if unknown := [each for each in wanted if each not in there]:
        raise ConfigError(
            *(
                f"--metric {each}: expected a metric of these results. {choose(each, there)}"
                for each in unknown
            )
        )
    return list(wanted) or there


def _of_one(results: Results, folder: Path, metrics: Sequence[str], formats: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    for metric in (each for each in metrics if each in results.metrics):
        save(heatmap(results, metric), folder, f"heatmap_{metric}", formats)
        save(depth_curve(results, metric), folder, f"depth_{metric}", formats)
        save(layer_path(results, metric), folder, f"path_{metric}", formats)
    say(f"figures: {folder}")


def _of_sweep(
    found: dict[Path, Results], folder: Path, metrics: Sequence[str], formats: Sequence[str]
) -> None:
    """Curves against tokens, where comparisons differ in nothing but data.n_tokens."""
    made = False
    for metric in metrics:
        points = budgets([each for each in found.values() if metric in each.metrics], metric)
        if points:
            folder.mkdir(exist_ok=True)
            save(against_tokens(points, metric), folder, f"tokens_{metric}", formats)
            made = True
    if made:
        say(f"figures: {folder}")
    else:
        say("No curve against tokens: no two comparisons differ in data.n_tokens alone.")


def budgets(found: Iterable[Results], metric: str) -> dict[str, list[Point]]:
    """The points of comparisons that differ in nothing but the number of tokens, by what tells them apart.

    Means are over the layer pairs that are defined at every number of tokens.
    """
    alike: dict[str, list[Results]] = defaultdict(list)
    for results in found:
        settings = OmegaConf.create(results.config)
        settings.data.pop("n_tokens", None)
        alike[OmegaConf.to_yaml(settings, sort_keys=True)].append(results)
    several = [group for group in alike.values() if len({_n_tokens(each) for each in group}) > 1]
    points: dict[str, list[Point]] = {}
    for number, group in enumerate(several, start=1):
        row = group[0].rows[0]
        label = f"{row.model_a} and {row.model_b}" + (f" ({number})" if len(several) > 1 else "")
        points[label] = _points(group, metric)
    return {label: each for label, each in points.items() if each}


def _points(group: Sequence[Results], metric: str) -> list[Point]:
    rows = [
        {(r.layer_a, r.layer_b): r for r in each.rows if r.metric == metric and r.direction == "both"}
        for each in group
    ]
    defined = [{pair for pair, row in each.items() if row.value is not None} for each in rows]
    shared = sorted(set.intersection(*defined))
    points: list[Point] = []
    for results, by_pair in zip(group, rows, strict=True):
        chosen = [by_pair[pair] for pair in shared]
        values = [row.value for row in chosen if row.value is not None]
        nulls = [row.null_mean for row in chosen if row.null_mean is not None]
        if values:
            null = sum(nulls) / len(nulls) if len(nulls) == len(values) else None
            points.append(Point(_n_tokens(results), sum(values) / len(values), null))
    return points


def _n_tokens(results: Results) -> int:
    return max((row.n_tokens or 0 for row in results.rows), default=0)
