"""`saeuniv report DIR`: tables, figures and pages of a sweep or a comparison, made again from its results."""

import sys
from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.found import RESULTS, comparisons_in, has_results, result_folder
from saeuniv.commands.shell import DONE, FAILED, parser, say
from saeuniv.report.console import console, summary_table
from saeuniv.report.meaning import meaning
from saeuniv.report.page import SWEEP
from saeuniv.report.published import first_line, published_parts, published_table, reproductions
from saeuniv.report.semantic import categories_of, semantic_table
from saeuniv.results import Results, load
from saeuniv.stages.drawn import draw
from saeuniv.stages.stored import stored_comparison
from saeuniv.stages.sweep import TABLE, SummariseSweep
from saeuniv.sweep.control import control_of
from saeuniv.sweep.run import show_pairs


def main(argv: Sequence[str]) -> int:
    """Write heatmaps, matches, pages and the sweep's table; print tables.

    Matches and the text that latents fire on are those that the store still has.

    Raises:
        ConfigError: there are no results.
    """
    arguments = parser(
        "report", "Write figures, pages and tables of a sweep or a comparison again, from its results."
    )
    arguments.add_argument("folder", metavar="DIR", help="of a sweep or a comparison; or the name of a sweep")
    folder = result_folder(arguments.parse_args(argv).folder)
    if has_results(folder):
        return DONE if _report(folder, show=True) else FAILED
    comparisons = comparisons_in(folder)
    found = [_report(each, show=False) for each in comparisons if has_results(each)]
    show_pairs([each for each in found if each is not None])
    SummariseSweep(folder, (), (), 1.0, folder, tuple(comparisons), ())(lambda done, total: None)
    say(f"sweep: {folder / TABLE}")
    say(f"page: {folder / SWEEP}")
    return DONE if all(found) else FAILED


def _report(folder: Path, *, show: bool) -> Results | None:
    """Heatmaps, page, and tables of what is no control, or of anything; None where results cannot be read."""
    try:
        results = load(folder)
        control = control_of(folder, results)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return None
    draw(results, folder / RESULTS, stored_comparison(folder).store, control)
    if show or results.summary.get("job_type") != "control":
        console().print(summary_table(results, control))
        say(meaning(results, control))
        if categories_of(results):
            console().print(semantic_table(results))
        _show_published(results)
        say(f"comparison: {folder / RESULTS}")
    return results


def _show_published(results: Results) -> None:
    """The results beside what was published of these models; nothing where that is nothing."""
    if found := reproductions(results):
        say(first_line(found))
        for part in published_parts(found):
            console().print(published_table(part))
