"""What all rows of a comparison share: who is compared, and how."""

from typing import NamedTuple

from saeuniv.alignments import AlignmentMethod


class SideDescription(NamedTuple):
    """What a row says of the model and dictionaries of one side."""

    model: str
    revision: str
    hookpoint: str
    """Kind of hookpoint, `resid_post<-resid_pre` where it was given another's; the row adds the layer."""

    sae: str

    def place(self, layer: str) -> str:
        """Where activations were read: `resid_post[3]`, `resid_post[3]<-resid_pre[3]`."""
        return "<-".join(f"{kind}[{layer}]" for kind in self.hookpoint.split("<-"))


class Described(NamedTuple):
    """What all rows of a comparison share."""

    comparison: str
    a: SideDescription
    b: SideDescription
    alignment: AlignmentMethod
    confidence: float
    seed: int
