"""`saeuniv workspace SWEEP`: a saved view of a sweep in W&B, and the heatmap over layer pairs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.shell import DONE, say
from saeuniv.commands.sweeps import comparison_folders, sweep_parser
from saeuniv.commands.tracked import settings_of, sweep_of
from saeuniv.config import ConfigError
from saeuniv.results import Results, load
from saeuniv.tracking import no_key
from saeuniv.tracking.service import default_entity
from saeuniv.tracking.workspace import View, as_json, install_chart, save, spec

_INSTALLED = "wandb-charts.json"
_NO_ENTITY = "your-entity"


def main(argv: Sequence[str]) -> int:
    """Save the view, or print it.

    Raises:
        ConfigError: there are no results, or no API key is at hand.
        ValueError: wandb-workspaces is not installed, or W&B refuses.
    """
    arguments = sweep_parser("workspace", "Save a view of a sweep in W&B: heatmaps, scores, quality.")
    arguments.add_argument("--entity", help="user or team; unset: as the sweep says, else the API key's own")
    arguments.add_argument(
        "--install-charts",
        action="store_true",
        help="once for each entity: the heatmap over layer pairs, a facet per comparison",
    )
    arguments.add_argument("--dry-run", action="store_true", help="print what would be saved, as JSON")
    given = arguments.parse_args(argv)
    folder, comparisons = comparison_folders(given.sweep)
    results = [load(each) for each in comparisons]
    tracking = settings_of(results[0])
    if not given.dry_run and (fault := no_key()):
        raise ConfigError(fault)
    entity = given.entity or tracking.entity or (_NO_ENTITY if given.dry_run else default_entity())
    note = folder.absolute().parent / _INSTALLED
    has_chart = given.install_charts or entity in _installed(note)
    view = View(entity, tracking.project, sweep_of(results[0], folder), _metrics(results), has_chart)
    if given.dry_run:
        shown = {"workspace": as_json(view), **({"chart": spec()} if given.install_charts else {})}
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return DONE
    if given.install_charts:
        install_chart(entity)
        # W&B has no way to ask which charts an entity has.
        note.write_text(json.dumps(sorted({*_installed(note), entity})) + "\n", encoding="utf-8")
    elif not has_chart:
        say("Heatmaps are shown as images; --install-charts adds one chart over all comparisons.")
    say(f"W&B: {save(view)}")
    return DONE


def _metrics(results: Sequence[Results]) -> tuple[str, ...]:
    primary = [str(each.summary["primary_metric"]) for each in results if each.summary.get("primary_metric")]
    return tuple(dict.fromkeys([*primary, *(metric for each in results for metric in each.metrics)]))


def _installed(note: Path) -> list[str]:
    """Entities that the chart was installed for from here."""
    try:
        return list(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
