"""What all dictionary sources share: the base of the schemas of the group sae.

Schemas hold types, units and defaults; a YAML file lists only what it changes. They stay unfrozen
because Hydra merges YAML into them; nothing mutates them later.
"""

from dataclasses import dataclass
from typing import ClassVar

from saeuniv.hookpoints import HookpointKind


@dataclass
class Sae:
    """Base of the dictionary sources of one side."""

    embedded: ClassVar[bool] = False
    may_have_thresholds: ClassVar[bool] = True
    """JumpReLU: each latent has a threshold of its own. Whether those of files have, files tell."""

    hookpoint: HookpointKind = HookpointKind.resid_post
    """The activation that the dictionary reads."""

    max_fvu: float = 0.5
    """A dictionary that leaves more of its input's variance unexplained is refused."""
