"""Where the runs of a comparison are in W&B, as its results say."""

from pathlib import Path
from typing import cast

from omegaconf import OmegaConf

from saeuniv.commands.found import has_results
from saeuniv.config import Tracking, TrackingMode
from saeuniv.results import Results


def settings_of(results: Results) -> Tracking:
    """Project and entity as the comparison was asked for; offline, because commands upload themselves."""
    config = cast(dict[str, object], OmegaConf.to_container(OmegaConf.create(results.config)))
    tracking = cast(dict[str, str | None], config.get("tracking") or {})
    project, entity = tracking.get("project") or Tracking.project, tracking.get("entity")
    return Tracking(TrackingMode.offline, project, entity)


def sweep_of(results: Results, folder: Path) -> str:
    """The sweep that runs are grouped by; `folder` is that of the sweep or of the comparison."""
    own = folder.absolute()
    return str(results.summary.get("sweep") or (own.parent if has_results(own) else own).name)


def comparison_of(results: Results) -> str:
    """The name of the comparison's run."""
    return str(results.summary.get("comparison") or results.rows[0].comparison)
