"""What all dictionary sources share: the base of the schemas of the group sae.

Schemas hold types, units and defaults; a YAML file lists only what it changes. They stay unfrozen
because Hydra merges YAML into them; nothing mutates them later.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from saeuniv.hookpoints import HookpointKind

UNNAMED_DEFAULT = {"unnamed_default": True}
"""Metadata of a field that is named in keys only where it is not the default: it came later than they did."""

READING = ("latent_kind", "hidden_state_off_by_one")
"""Keys of how latents are read; `sae_b=shared` reads as A does."""


class LatentKind(Enum):
    """Which numbers of a dictionary are compared."""

    latents = "latents"
    """Those that it reconstructs its input from."""

    pre_acts = "pre_acts"
    """relu(encoder x' + encoder_bias) of all latents, before TopK or groupmax choose among them."""


@dataclass
class Sae:
    """Base of the dictionary sources of one side."""

    embedded: ClassVar[bool] = False
    may_have_thresholds: ClassVar[bool] = True
    """JumpReLU: each latent has a threshold of its own. Whether those of files have, files tell."""

    has_pre_acts: ClassVar[bool] = True
    """There is an encoder whose output TopK or ReLU makes latents of. Whether files have one, files tell."""

    hookpoint: HookpointKind = HookpointKind.resid_post
    """The activation that the dictionary reads."""

    max_fvu: float = 0.5
    """A dictionary that leaves more of its input's variance unexplained is refused."""

    latent_kind: LatentKind = field(default=LatentKind.latents, metadata=UNNAMED_DEFAULT)
    """latents, or pre_acts: what earlier code correlated (sparsify's `pre_acts` until March 2025)."""

    hidden_state_off_by_one: bool = field(default=False, metadata=UNNAMED_DEFAULT)
    """A fault of earlier code, on purpose: dictionaries of a block's output are given its input.

    So does whoever gives `hidden_states[l]` of Hugging Face to the dictionary of `layers.l`.
    """

    @property
    def given(self) -> HookpointKind:
        """The activation that the dictionary is given: the one it reads, unless it is to be the wrong one."""
        return HookpointKind.resid_pre if self.hidden_state_off_by_one else self.hookpoint

    @property
    def fvu_bound(self) -> float:
        """`max_fvu`; for dictionaries that are given the wrong activation on purpose, no bound at all."""
        # A number, as JSON has no infinity.
        return sys.float_info.max if self.hidden_state_off_by_one else self.max_fvu


def reading_rules(sae: Sae, key: str) -> Iterator[tuple[str, object, bool, str]]:
    """What must hold of how latents are read, as key, value, whether it does, and what was expected."""
    fits = sae.has_pre_acts or sae.latent_kind is LatentKind.latents
    expected = f"latents: {key}=none and {key}=custom have no TopK, before which something could be read"
    yield f"{key}.latent_kind", sae.latent_kind.value, fits, expected
    is_output = sae.hookpoint is HookpointKind.resid_post
    expected = (
        f"false with {key}.hookpoint={sae.hookpoint.value}: hidden_states are the residual stream between "
        f"blocks, which {key}.hookpoint=resid_post alone reads one later"
    )
    off = sae.hidden_state_off_by_one
    yield f"{key}.hidden_state_off_by_one", str(off).lower(), is_output or not off, expected
