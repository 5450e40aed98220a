"""What the switches of `compat` change in the rest of the configuration: the one place that knows."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from saeuniv.config.settings import Config
from saeuniv.config.sources import LatentKind, Sae

Part = TypeVar("Part")

# What a latent that never fires passes.
_NO_FLOORS: dict[str, Any] = {"min_firings": 0, "max_rate": 1.0, "min_within_share": 0.0}


def switched(config: Config) -> Config:
    """The configuration with its switches carried out; as it is where none is set.

    A switch that is set decides, whatever else is configured; of metrics it concerns those that have an
    option of its name.
    """
    chosen = config.compat.chosen(config.mode)
    if not chosen:
        return config
    eligibility, data = config.eligibility, config.data
    if chosen.get("dead_latents"):
        eligibility = dataclasses.replace(eligibility, **_NO_FLOORS)
    if "padding" in chosen:
        data = dataclasses.replace(data, mask_padding=not chosen["padding"])
    return dataclasses.replace(
        config,
        sae=_read(config.sae, chosen),
        sae_a=config.sae_a and _read(config.sae_a, chosen),
        sae_b=config.sae_b and _read(config.sae_b, chosen),
        eligibility=eligibility,
        data=data,
        metrics={name: _with(metric, chosen) for name, metric in config.metrics.items()},
    )


def _read(sae: Sae, chosen: Mapping[str, bool]) -> Sae:
    """How latents are read."""
    settings: dict[str, Any] = {}
    if "pre_acts" in chosen:
        settings["latent_kind"] = LatentKind.pre_acts if chosen["pre_acts"] else LatentKind.latents
    if "hidden_state_off_by_one" in chosen:
        settings["hidden_state_off_by_one"] = chosen["hidden_state_off_by_one"]
    return dataclasses.replace(sae, **settings)


def _with(part: Part, chosen: Mapping[str, bool]) -> Part:
    """The part with the options that are called like switches."""
    assert dataclasses.is_dataclass(part) and not isinstance(part, type)
    own = {each.name for each in dataclasses.fields(part)}
    return dataclasses.replace(part, **{name: on for name, on in chosen.items() if name in own})
