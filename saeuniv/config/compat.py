"""Faults of the published analysis (arXiv 2410.06981), each of which can be switched on or off alone."""

import dataclasses
from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """All switches of `compat` at once."""

    published = "published"
    """Every fault, as the published numbers were computed."""

    corrected = "corrected"
    """None of them."""


@dataclass
class Compat:
    """Switches; true is as published. Unset: as `mode` says, and without a mode as is configured."""

    pc1: bool | None = None
    """One principal component a side in place of those with 99 % of the variance (published_svcca)."""

    first_seen: bool | None = None
    """Of several latents of B with one partner the first is kept, not the one that correlates most."""

    unfiltered: bool | None = None
    """The non-concept filter is computed and its result thrown away."""

    in_sample: bool | None = None
    """Pairs are chosen and scored on the same rows; else on the two halves of the documents."""

    dead_latents: bool | None = None
    """Latents that never fire are matched and counted: every floor of eligibility is 0."""

    padding: bool | None = None
    """Padded positions are rows like any other."""

    pre_acts: bool | None = None
    """Activations of all latents before the k largest are kept."""

    hidden_state_off_by_one: bool | None = None
    """A dictionary of a block's output is given the block's input."""

    def chosen(self, mode: Mode | None) -> dict[str, bool]:
        """The switches that are set, by the mode or alone; a switch of its own comes first."""
        both = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        everywhere = None if mode is None else mode is Mode.published
        settled = {name: everywhere if own is None else own for name, own in both.items()}
        return {name: switch for name, switch in settled.items() if switch is not None}
