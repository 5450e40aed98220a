"""Registers with Hydra what conf/ builds on: schemas, the groups of the sides, resolvers."""

import copy
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from saeuniv.config import dictionaries, models, settings, text, trained
from saeuniv.config.cell import sweep_name
from saeuniv.config.inspection import inspect
from saeuniv.config.launcher import JOB_STAGES, Launcher

_PACKAGE = Path(__file__).resolve().parent.parent

# In a wheel conf/ lies inside the package; in a checkout and an editable installation beside it.
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())

SOURCES: dict[str, dict[str, type]] = {
    "model": {"hub": models.HubModel, "local": models.LocalModel, "tiny": models.TinyModel},
    "sae": {
        "tiny": trained.TinySae,
        "train": trained.TrainedSae,
        "hub": dictionaries.HubSae,
        "release": dictionaries.ReleaseSae,
        "local": dictionaries.LocalSae,
        "shared": dictionaries.SharedSae,
        "none": dictionaries.NoSae,
        "custom": dictionaries.CustomSae,
    },
    "data": {"stdlib": text.StdlibData, "text": text.TextData, "hub": text.HubData},
}
"""The schemas of each kind of source, under the names conf/ uses."""

ALIASES: dict[str, str] = {"a": "model", "b": "model", "sae_a": "sae", "sae_b": "sae"}
"""Groups without files of their own, and the group whose options they offer.

They exist because `model@a=` neither completes in a shell nor reads well.
"""


def register(
    alignments: Iterable[type[settings.Alignment]],
    metrics: Iterable[type[settings.Metric]],
    conf_dirs: Sequence[Path],
) -> None:
    """Make the schemas (`schema/...`), the groups a, b, sae_a and sae_b, and the resolvers known to Hydra.

    The options of a and b are the model/*.yaml of every folder in `conf_dirs`, those of sae_a and
    sae_b the sae/*.yaml. Calling it again adds what is new.
    """
    options = tuple(
        (alias, name) for alias, group in ALIASES.items() for name in option_names(conf_dirs, group)
    )
    _register(tuple(alignments), tuple(metrics), options)


@cache
def _register(
    alignments: tuple[type[settings.Alignment], ...],
    metrics: tuple[type[settings.Metric], ...],
    aliases: tuple[tuple[str, str], ...],
) -> None:
    """Cached, as Hydra's store is of the process, and takes .1 s to fill."""
    store = ConfigStore.instance().store
    store(group="schema", name="config", node=settings.Config)
    store(group="schema/launcher", name="saeuniv", node=_launcher())
    schemas: dict[str, dict[str, type]] = {
        **SOURCES,
        "alignment": {each.name: each for each in alignments},
        "metrics": {each.name: each for each in metrics},
    }
    for group, options in schemas.items():
        for name, schema in options.items():
            store(group=f"schema/{group}", name=name, node=schema)
    for alias, name in aliases:
        store(group=alias, name=name, node={"defaults": [{f"/{ALIASES[alias]}@_here_": name}]})
    OmegaConf.register_new_resolver("saeuniv.comparison", _comparison, replace=True)
    # Cached by its written arguments: Hydra hands the cache of a sweep to its cells, whose own overrides
    # differ, so that their folder is the sweep's.
    OmegaConf.register_new_resolver("saeuniv.sweep", _sweep, replace=True, use_cache=True)


def site_dir() -> Path | None:
    """The folder that SAEUNIV_CONFIG_DIR names; Hydra finds it through hydra_plugins."""
    site = os.environ.get("SAEUNIV_CONFIG_DIR")
    return Path(site).expanduser() if site else None


def conf_dirs(config_dir: Path | None) -> tuple[Path, ...]:
    """The folders with options: ours, the site's, and `config_dir` (--config-dir)."""
    return tuple(folder for folder in (CONF_DIR, site_dir(), config_dir) if folder is not None)


def option_names(conf_dirs: Sequence[Path], group: str) -> tuple[str, ...]:
    """The options of a group, sorted: the names of its YAML files in `conf_dirs`."""
    return tuple(sorted({file.stem for folder in conf_dirs for file in (folder / group).glob("*.yaml")}))


def _launcher() -> DictConfig:
    node = OmegaConf.structured(Launcher)
    for stage in ("default", *JOB_STAGES):
        # Open to any option of sbatch: hydra.launcher.latents.sbatch.nice=100, without a plus.
        OmegaConf.set_struct(node[stage].sbatch, False)
    return node


def _comparison(*, _root_: DictConfig) -> str:
    # Without Hydra's own node, whose folders are named by this very function.
    own = copy.deepcopy(_root_)
    with open_dict(own):
        own.pop("hydra", None)
    cell = inspect(own).cell
    return cell.comparison if cell else "unknown"


def _sweep(name: str | None, overrides: ListConfig) -> str:
    return sweep_name(name, [str(line) for line in overrides])
