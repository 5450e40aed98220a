"""`saeuniv compare SWEEP SWEEP`: how the comparisons of one sweep differ from those of another."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saeuniv.commands.found import comparisons_in, has_results, result_folder
from saeuniv.commands.shell import DONE, parser, say
from saeuniv.commands.sweeps import MULTIRUN
from saeuniv.commands.tracked import comparison_of, settings_of, sweep_of
from saeuniv.config import ConfigError
from saeuniv.report.differences import (
    DifferenceMap,
    difference_map,
    difference_page,
    difference_sentence,
    difference_tables,
)
from saeuniv.report.drawing import save, style
from saeuniv.stages.differences import Difference, MatchedSweeps, differences, matched
from saeuniv.stages.stored import StoredComparison, stored_comparison
from saeuniv.store.text import write_text
from saeuniv.tracking import no_key
from saeuniv.tracking.comparison_report import ASKED_BY, RunSet, save_report
from saeuniv.tracking.service import default_entity, library

TABLE, PAGE = "differences.csv", "differences.html"


def main(argv: Sequence[str]) -> int:
    """Write a table, maps and one page of the differences; with --wandb save a report of both.

    Raises:
        ConfigError: no results, comparisons that cannot be put in pairs, or no API key.
        ValueError: wandb-workspaces is not installed, or W&B refuses or does not have a project.
    """
    arguments = parser("compare", "How the comparisons of one sweep differ from those of another.")
    arguments.add_argument(
        "one", metavar="SWEEP", help="name or folder of a sweep, or folder of a comparison"
    )
    arguments.add_argument("other", metavar="SWEEP", help="the second, from which the first is subtracted")
    arguments.add_argument("--out", type=Path, help="folder to write to; default: multirun/<first>-<second>")
    arguments.add_argument("--wandb", action="store_true", help="also save a W&B Report with both run sets")
    arguments.add_argument("--entity", help="user or team; unset: as the sweeps say, else the API key's own")
    given = arguments.parse_args(argv)
    if given.wandb:
        _check_report()
    folders = [result_folder(each) for each in (given.one, given.other)]
    found = matched(*(_stored(each) for each in folders))
    names = (folders[0].name, folders[1].name)
    out: Path = given.out or MULTIRUN / f"{names[0]}-{names[1]}"
    maps = _write(found, names, out)
    say(f"differences: {out / PAGE}")
    if given.wandb:
        one, other = (_run_set(found, place, folders[place], given.entity) for place in (0, 1))
        address = save_report(
            (one, other),
            sentence=difference_sentence(names, found.differing),
            tables=difference_tables(names, found.differing, found.unmatched, maps),
            metrics=tuple(dict.fromkeys(each.metric for each in maps)),
        )
        say(f"W&B: {address}")
    return DONE


def _stored(folder: Path) -> list[StoredComparison]:
    """The comparisons of a sweep, its controls left out; or the one that the folder is of."""
    if has_results(folder):
        return [stored_comparison(folder)]
    found = [stored_comparison(each) for each in comparisons_in(folder) if has_results(each)]
    return [each for each in found if each.results.summary.get("job_type") != "control"] or found


def _check_report() -> None:
    """Refuses before any work what could only fail at its end; asks nobody."""
    if fault := no_key():
        raise ConfigError(fault)
    library(ASKED_BY)


def _run_set(found: MatchedSweeps, place: int, folder: Path, entity: str | None) -> RunSet:
    results = found.pairs[0][place].results
    tracking = settings_of(results)
    return RunSet(
        entity or tracking.entity or default_entity(),
        tracking.project,
        sweep_of(results, folder),
        comparison_of(results) if has_results(folder) else None,
    )


def _write(found: MatchedSweeps, names: tuple[str, str], out: Path) -> list[DifferenceMap]:
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Difference] = []
    maps: list[DifferenceMap] = []
    for one, other in found.pairs:
        new = differences(one, other)
        rows += new
        maps += [_map(metric, new, one) for metric in dict.fromkeys(each.metric for each in new)]
    maps = [each for each in maps if not np.isnan(each.difference).all()]
    text = io.StringIO()
    table = csv.DictWriter(text, [each.name for each in dataclasses.fields(Difference)], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: "" if value is None else value for key, value in vars(row).items()})
    write_text(out / TABLE, text.getvalue())
    with style():
        for place, each in enumerate(maps):
            number = f"_{place}" if len(found.pairs) > 1 else ""
            save(difference_map(each), out, f"difference_{each.metric}{number}", ("png",))
    write_text(out / PAGE, difference_page(names, found.differing, found.unmatched, maps))
    return maps


def _map(metric: str, rows: Sequence[Difference], one: StoredComparison) -> DifferenceMap:
    results = one.results
    shape = (len(results.layers_a), len(results.layers_b))
    difference, apart = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    of_metric = [each for each in rows if each.metric == metric]
    values: list[tuple[float, float]] = []
    for row in of_metric:
        place = results.layers_a.index(row.layer_a), results.layers_b.index(row.layer_b)
        if row.difference is not None and row.value is not None and row.other_value is not None:
            difference[place] = row.difference
            values.append((row.value, row.other_value))
        if row.ci_low is not None and row.ci_high is not None:
            apart[place] = row.ci_low > 0 or row.ci_high < 0
    means = np.mean(values, axis=0) if values else np.zeros(2)
    return DifferenceMap(
        metric,
        *(of_metric[0].comparison, of_metric[0].other),
        *(results.layers_a, results.layers_b, difference, apart),
        sum(each.ci_low is not None for each in of_metric),
        (float(means[0]), float(means[1])),
    )
